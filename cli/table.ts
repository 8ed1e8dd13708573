import { printable } from '../lib/internal';
import { columnsOf } from './bar-line';
import type { Piece } from './terminal';

/** One cell; numbers stand to the right. */
export type Cell = string | { readonly right: string };

const gap = '  ';

/**
 * Rows of cells as lines whose columns stand below one another. Text in the last column of a row may be as long as it
 * likes.
 */
export function alignedLines(rows: readonly (readonly Cell[])[]): string[] {
  const widths: number[] = [];
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
export function tableLines(heading: readonly Cell[], rows: readonly (readonly Cell[])[]): Piece[] {
  return alignedLines([heading, ...rows]).map((text, line) => (line === 0 ? { style: 'dim', text } : text));
}

function padded(cell: Cell, width: number): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(cell)));
  return typeof cell === 'string' ? cell + space : space + cell.right;
}

function widthOf(cell: Cell): number {
  return columnsOf(printable(typeof cell === 'string' ? cell : cell.right));
}
