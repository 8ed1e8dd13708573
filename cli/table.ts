import { printable } from '../lib/internal';
import { columnsOf } from './bar-line';
import type { Piece } from './terminal';

/** One cell; numbers stand to the right. */
export type Cell = string | { readonly right: string };

const gap = '  ';

/** How a text looks where it is shown, whose columns count. */
type Shown = (text: string) => string;

/**
 * Rows of cells as lines whose columns stand below one another, once they are `shown`. Text in the last column of a row
 * may be as long as it likes.
 */
export function alignedLines(rows: readonly (readonly Cell[])[], shown: Shown = printable): string[] {
  const widths: number[] = [];
  const widthOf = (cell: Cell): number => columnsOf(shown(typeof cell === 'string' ? cell : cell.right));
  const padded = (cell: Cell, width: number): string => {
    const space = ' '.repeat(Math.max(0, width - widthOf(cell)));
    return typeof cell === 'string' ? cell + space : space + cell.right;
  };
  const endsLine = (row: readonly Cell[], column: number): boolean =>
    column === row.length - 1 && typeof row[column] === 'string';
  for (const row of rows) {
    row.forEach(
      (cell, column) => (widths[column] = Math.max(widths[column] ?? 0, endsLine(row, column) ? 0 : widthOf(cell))),
    );
  }
  return rows.map((row) =>
    row.map((cell, column) => padded(cell, endsLine(row, column) ? 0 : (widths[column] ?? 0))).join(gap),
  );
}

/** The lines of a table as what a terminal takes, the heading dimmed. */
export function tableLines(
  heading: readonly Cell[],
  rows: readonly (readonly Cell[])[],
  shown: Shown = printable,
): Piece[] {
  return alignedLines([heading, ...rows], shown).map((text, line) => (line === 0 ? { style: 'dim', text } : text));
}
