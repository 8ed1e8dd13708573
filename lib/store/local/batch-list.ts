// Small files as they travel to a worker: flat arrays, since an object, a text and a BigInt for each would cost more
// than storing it.
import type { EntryName } from '../../name';
import { bytesOfName, isWellFormed, nameOfBytes } from '../../name-bytes';
import { nameAt } from '../../threads/file-calls';
import type { Given } from './apply-metadata';
import type { IfExists } from '../store';

/** A small file whose content is in memory. */
export interface SmallFileInMemory {
  readonly name: EntryName;
  /** In bytes. */
  readonly size: number;
  /** Of the batch's algorithm, lower-case hex. */
  readonly digest: string;
  /** Permission bits, 0 to 0o777. */
  readonly mode: number;
  /** In ns since 1970. */
  readonly mtime: bigint;
  readonly given?: Given | undefined;
}

/** The files of one bundle, in the order of their contents. */
export interface FileList {
  readonly count: number;
  /** The number of the first in its batch. */
  readonly first: number;
  /** The names, each ended by NUL. */
  readonly names: Uint8Array;
  /**
   * For each file where its name begins, where it ends, where its content begins in the memory of the batch, its size
   * and its mode.
   */
  readonly numbers: Float64Array;
  readonly mtimes: BigInt64Array;
  /** The digests one after another, of one length. */
  readonly digests: string;
  readonly ifExists: IfExists;
  /** What those of these rows get beside mode and mtime. */
  readonly given: ReadonlyMap<number, Given>;
}

/** What `FileList.numbers` has of each file. */
export const column = { name: 0, nameEnd: 1, content: 2, size: 3, mode: 4 } as const;
export const columns = 5;

const slash = 0x2f;
/** Most bytes of UTF-8 of one UTF-16 unit. */
const bytesOfUnit = 3;

/** Packs files whose contents follow one another from `content` on. */
export function packFiles(
  files: readonly SmallFileInMemory[],
  first: number,
  content: number,
  ifExists: IfExists,
): FileList {
  const count = files.length;
  let most = 0;
  for (const { name } of files) most += name.length * bytesOfUnit + 1;
  const bytes = Buffer.allocUnsafeSlow(most);
  const numbers = new Float64Array(count * columns);
  const mtimes = new BigInt64Array(count);
  const given = new Map<number, Given>();
  let digests = '';
  let used = 0;
  for (let at = 0, from = content; at < count; at++) {
    const file = files[at];
    if (!file) continue;
    const begin = used;
    used += isWellFormed(file.name) ? bytes.write(file.name, used) : bytesOfName(file.name).copy(bytes, used);
    const row = at * columns;
    numbers[row] = begin;
    numbers[row + column.nameEnd] = used;
    numbers[row + column.content] = from;
    numbers[row + column.size] = file.size;
    numbers[row + column.mode] = file.mode;
    bytes[used++] = 0;
    mtimes[at] = file.mtime;
    if (file.given) given.set(at, file.given);
    digests += file.digest;
    from += file.size;
  }
  return {
    count,
    first,
    names: new Uint8Array(bytes.buffer.slice(0, used)),
    numbers,
    mtimes,
    digests,
    ifExists,
    given,
  };
}

/** The digest of the file at `row`. */
export function digestAt({ digests, count }: FileList, row: number): string {
  const length = digests.length / count;
  return digests.slice(row * length, (row + 1) * length);
}

/** What `numbers` has of the file at `row`. */
export function numberOf({ numbers }: FileList, row: number, which: number): number {
  return numbers[row * columns + which] ?? 0;
}

export function nameOf(list: FileList, row: number): string {
  return nameOfBytes(nameAt({ bytes: list.names }, numberOf(list, row, column.name)));
}

/** Where in `names` the last component of a name begins. */
export function baseAt(list: FileList, row: number): number {
  const from = numberOf(list, row, column.name);
  let at = numberOf(list, row, column.nameEnd);
  while (at > from && list.names[at - 1] !== slash) at--;
  return at;
}
