import { columnsOf } from './bar-line';
import type { Piece } from './piece';

const indent = 4; // of the rows after the first

interface Word {
  readonly parts: readonly Piece[];
  readonly width: number;
  /** Spaces before it. */
  readonly gap: number;
}

/**
 * A line as rows of at most `columns`, broken between its fields, which two spaces part, or where a field is too long
 * for a row, between words. What is longer than a row itself stays whole; so does a line that begins with a space:
 * those are commands, to be copied.
 */
export function rowsOf(pieces: readonly Piece[], columns: number): Piece[][] {
  const [first] = pieces;
  if (first === undefined || textOf(first).startsWith(' ') || widthOf(pieces) <= columns) return [[...pieces]];
  const rows: Piece[][] = [[]];
  let used = 0;
  const addRow = (words: readonly Word[]): void => {
    const width = fieldWidth(words);
    let gap = words[0]?.gap ?? 0;
    if (used > 0 && used + gap + width > columns) {
      rows.push([' '.repeat(indent)]);
      used = indent;
      gap = 0;
    }
    words.forEach((word, at) => rows.at(-1)?.push(' '.repeat(at === 0 ? gap : word.gap), ...word.parts));
    used += gap + width;
  };
  for (const field of fieldsOf(wordsIn(pieces))) {
    if (fieldWidth(field) <= columns - indent) addRow(field);
    else for (const word of field) addRow([word]);
  }
  return rows;
}

/**
 * The same text, where paragraphs with a line of more than `columns` are filled anew. What is indented stays as it is:
 * those are commands and tables.
 */
export function filled(text: string, columns: number): string {
  const isProse = (line: string): boolean => /^\S/.test(line);
  const shown: string[] = [];
  let prose: string[] = [];
  const end = (): void => {
    if (prose.some((line) => columnsOf(line) > columns)) prose = brokenAt(prose.join(' ').split(' '), columns);
    shown.push(...prose);
    prose = [];
  };
  for (const line of text.split('\n')) {
    if (isProse(line)) prose.push(line);
    else {
      end();
      shown.push(line);
    }
  }
  end();
  return shown.join('\n');
}

function brokenAt(words: readonly string[], columns: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && columnsOf(last) + 1 + columnsOf(word) <= columns)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function fieldWidth(words: readonly Word[]): number {
  return words.reduce((sum, { width, gap }, at) => sum + width + (at === 0 ? 0 : gap), 0);
}

function fieldsOf(words: readonly Word[]): Word[][] {
  const fields: Word[][] = [];
  for (const word of words) {
    if (word.gap >= 2 || fields.length === 0) fields.push([word]);
    else fields.at(-1)?.push(word);
  }
  return fields;
}

function wordsIn(pieces: readonly Piece[]): Word[] {
  const words: Word[] = [];
  let gap = 0;
  let isOpen = false;
  for (const piece of pieces) {
    for (const text of textOf(piece).split(/( +)/)) {
      if (text === '') continue;
      if (text.startsWith(' ')) {
        gap = isOpen ? text.length : gap + text.length;
        isOpen = false;
        continue;
      }
      const part = typeof piece === 'string' ? text : { ...piece, text };
      const last = words.at(-1);
      if (isOpen && last)
        words[words.length - 1] = { ...last, parts: [...last.parts, part], width: last.width + columnsOf(text) };
      else words.push({ parts: [part], width: columnsOf(text), gap });
      isOpen = true;
    }
  }
  return words;
}

function textOf(piece: Piece): string {
  return typeof piece === 'string' ? piece : piece.text;
}

function widthOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + columnsOf(textOf(piece)), 0);
}
