/** A document in Markdown as the body of a manual page: headings, paragraphs, lists, tables and blocks of code. */
export function roffOf(markdown: string): string {
  return markdown
    .replace(/^# .*\n/, '')
    .split(/\n{2,}/)
    .map(blockOf)
    .join('');
}

function blockOf(block: string): string {
  const text = block.trim();
  if (text === '') return '';
  const [first = '', ...rest] = text.split('\n');
  if (first.startsWith('## ')) return `.SH ${inline(first.slice(3)).toUpperCase()}\n${blockOf(rest.join('\n'))}`;
  if (first.startsWith('```')) return `.PP\n.nf\n${rest.slice(0, -1).map(literal).join('\n')}\n.fi\n`;
  if (first.startsWith('|')) return rest.slice(1).map(rowOf).join('');
  if (/^(?:-|\d+\.) /.test(first))
    return text
      .split(/\n(?=(?:-|\d+\.) )/)
      .map((item) => `.IP \\(bu 2\n${inline(item.replace(/^(?:-|\d+\.) /, ''))}\n`)
      .join('');
  return `.PP\n${inline(text)}\n`;
}

function rowOf(row: string): string {
  const [, key = '', ...cells] = row.split(/(?<!\\)\|/).map((each) => each.trim().replaceAll('\\|', '|'));
  const about = cells.filter((each) => each !== '').join('. ');
  return `.TP\n.B ${inline(key)}\n${inline(about)}\n`;
}

/** Lines joined and wrapped by the reader; marks of Markdown taken away. */
function inline(text: string): string {
  return literal(
    text
      .replace(/\s*\n\s*/g, ' ')
      .replace(/\[([^\]]+)\]\([^)]*\)/g, '$1')
      .replaceAll('**', '')
      .replaceAll('`', ''),
  );
}

function literal(line: string): string {
  return line
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(
      /[^\0-\x7f]/gu,
      (letter) => `\\[u${(letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replace(/^([.'])/, '\\&$1');
}
