import { failureOf } from '../../threads/lane';
import type { Failed } from './group-failure';

/** Files as they travel between threads: their names, and a row of numbers for each. An object for each would cost several times as much. */
export interface PackedRows {
  readonly names: readonly string[];
  readonly numbers: BigInt64Array;
}

/** A file to be written. */
export interface WriteRow {
  readonly name: string;
  /** Where its content begins in the shared memory. */
  readonly at: number;
  readonly size: number;
  readonly mode: number;
  readonly mtime: bigint;
  /** Of the entry in its group. */
  readonly number: number;
}

/** A staged file to be read back. */
export interface ReadRow {
  readonly name: string;
  readonly size: number;
  readonly mode: number;
  /** What it is staged under if it is apart from the others, else -1. */
  readonly apart: number;
}

export function packWriteRows(rows: readonly WriteRow[]): PackedRows {
  return pack(rows, ({ at, size, mode, mtime, number }) => [BigInt(at), BigInt(size), BigInt(mode), mtime, BigInt(number)]);
}

export function unpackWriteRows(packed: PackedRows): WriteRow[] {
  return unpack(packed, (name, [at = 0n, size = 0n, mode = 0n, mtime = 0n, number = 0n]) => ({ name, at: Number(at), size: Number(size), mode: Number(mode), mtime, number: Number(number) }));
}

export function packReadRows(rows: readonly ReadRow[]): PackedRows {
  return pack(rows, ({ size, mode, apart }) => [BigInt(size), BigInt(mode), BigInt(apart)]);
}

export function unpackReadRows(packed: PackedRows): ReadRow[] {
  return unpack(packed, (name, [size = 0n, mode = 0n, apart = 0n]) => ({ name, size: Number(size), mode: Number(mode), apart: Number(apart) }));
}

/** All of them, in pieces of `length` and a last one. */
export function slicesOf<T>(all: readonly T[], length: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / length) }, (_, at) => all.slice(at * length, (at + 1) * length));
}

function pack<Row extends { readonly name: string }>(rows: readonly Row[], numbersOf: (row: Row) => readonly bigint[]): PackedRows {
  const columns = rows.slice(0, 1).flatMap(numbersOf).length;
  const numbers = new BigInt64Array(rows.length * columns);
  for (const [at, row] of rows.entries()) numbers.set(numbersOf(row), at * columns);
  return { names: rows.map(({ name }) => name), numbers };
}

function unpack<Row>({ names, numbers }: PackedRows, rowOf: (name: string, numbers: BigInt64Array) => Row): Row[] {
  const columns = numbers.length / names.length;
  return names.map((name, at) => rowOf(name, numbers.subarray(at * columns, (at + 1) * columns)));
}

/** Runs `action` for each row; what it throws is the failure of that row, of which `remove` removes what it left. */
export async function forEachRow<Row>(rows: readonly Row[], action: (row: Row, at: number) => Promise<void> | void, remove?: (row: Row) => void): Promise<(readonly [number, Failed])[]> {
  const failures: (readonly [number, Failed])[] = [];
  for (const [at, row] of rows.entries()) {
    try {
      await action(row, at);
    } catch (error) {
      failures.push([at, failureOf(error)]);
      remove?.(row);
    }
  }
  return failures;
}
