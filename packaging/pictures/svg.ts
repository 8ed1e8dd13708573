// Screens as an SVG: windows one below the other, in colours that read well on light and on dark pages.
import type { Shot, StyledText } from './shell';

const cell = { width: 8.4, height: 19 };
const margin = 16;
const bar = 34;
const gap = 14;

const ground = '#1b1f27';
const frame = '#2b313c';
const usual = '#d7dae0';
/** The sixteen of a terminal: black, red, green, yellow, blue, magenta, cyan, white, and the same brighter. */
const palette = [
  ...['#3b4252', '#e06c75', '#98c379', '#e5c07b', '#61afef', '#c678dd', '#56b6c2', '#d7dae0'],
  ...['#5c6370', '#ff7b86', '#b5e890', '#ffd68a', '#7cc4ff', '#dd92f2', '#6fd3de', '#ffffff'],
];

export function svgOf(shots: readonly Shot[]): string {
  const width = Math.ceil(Math.max(...shots.map(({ columns }) => columns)) * cell.width + 2 * margin);
  let top = 0;
  const windows = shots.map((shot) => {
    const height = bar + shot.lines.length * cell.height + margin;
    const drawn = windowOf(shot, top, width, height);
    top += height + gap;
    return drawn;
  });
  const height = Math.ceil(top - gap);
  const font = `ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${String(width)}" height="${String(height)}" viewBox="0 0 ${String(width)} ${String(height)}" font-family="${font}" font-size="14">
${windows.join('\n')}
</svg>
`;
}

function windowOf({ title, lines }: Shot, top: number, width: number, height: number): string {
  const rows = lines.map((line, at) => {
    const y = number(top + bar + (at + 0.75) * cell.height);
    return line.map((each) => textOf(each, y)).join('');
  });
  const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
    (color, at) => `<circle cx="${String(margin + 6 + at * 20)}" cy="${number(top + 16)}" r="6" fill="${color}"/>`,
  );
  return [
    `<rect y="${number(top)}" width="${String(width)}" height="${number(height)}" rx="8" fill="${ground}" stroke="${frame}"/>`,
    dots.join(''),
    `<text x="${String(width / 2)}" y="${number(top + 21)}" fill="#8b93a1" font-size="13" text-anchor="middle">${escaped(title)}</text>`,
    ...rows.filter((row) => row !== ''),
  ].join('\n');
}

/** Pieces begin at their columns and are as wide as their cells, whatever font a reader has. */
function textOf({ column, text, bold, dim, color }: StyledText, y: string): string {
  const kept = text.trimEnd();
  const begins = kept.length - kept.trimStart().length;
  const shown = kept.trimStart();
  if (shown === '') return '';
  const look = [
    `fill="${color === undefined ? usual : (palette[color] ?? usual)}"`,
    ...(bold ? ['font-weight="bold"'] : []),
    ...(dim ? ['opacity="0.6"'] : []),
  ].join(' ');
  const x = number(margin + (column + begins) * cell.width);
  const length = number([...shown].length * cell.width);
  return `<text x="${x}" y="${y}" textLength="${length}" xml:space="preserve" ${look}>${escaped(shown)}</text>`;
}

function number(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
