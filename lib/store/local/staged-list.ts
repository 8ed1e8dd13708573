// What a staged batch is made of, and what is done with a single one of its files and directories.
import { closeSync, constants, fchmodSync, fsyncSync, openSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../../errors';
import type { FileCalls, FileStat, NameBytes } from '../../threads/file-calls';
import { type Given, giveMetadata, modeWith } from './apply-metadata';
import { column, columns, type FileList, numberOf } from './batch-list';
import { ownerReads } from './staged-names';
import type { Lost } from '../store';
import type { Branch } from './batch-tree';
import { privateMode } from './directory';
import type { Failed } from './batch-failure';
import type { Placed, PlacingGround } from './publish';
import { notADirectory } from '../store';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
/**
 * Of all descriptors that the process may have, a worker keeps at most this share for files that wait to be read back.
 */
const shareOfDescriptors = 6;
const mostKept = 4_096;

/** How an entry of a batch ended. */
export const ending = { none: 0, stored: 1, identical: 2, elsewhere: 3, failed: 4 } as const;

/** What became of a batch, by the numbers of its entries. */
export interface BatchAnswer {
  /** One of `ending` for each. */
  readonly endings: Uint8Array;
  /** Inode, mtime, ctime and mode of each regular file that ended as `stored`. */
  readonly stats: BigInt64Array;
  /** Those that ended as `elsewhere`: not simply under their own names. */
  readonly placed: readonly (readonly [number, Placed])[];
  readonly failures: readonly (readonly [number, Failed])[];
  /** What of the metadata of files could not be given, where that is any. */
  readonly lost: ReadonlyMap<number, readonly Lost[]>;
}

/** What becomes of it, while that comes about. */
export interface Ends extends Pick<BatchAnswer, 'endings' | 'stats'> {
  readonly placed: (readonly [number, Placed])[];
}

/** One bundle, and how far its files are. */
export interface StagedList {
  readonly list: FileList;
  /** The descriptors that are kept open, or -1. */
  readonly fds: Int32Array;
  /** 1 for files that failed. */
  readonly failed: Uint8Array;
  /** One of `made` for each. */
  readonly made: Uint8Array;
  /** The directories of those that are staged under their names. */
  readonly branches: (Branch | undefined)[];
}

/** How a file is staged: not at all, under its name, or under its number. */
export const made = { none: 0, together: 1, apart: 2 } as const;

/** Descriptors that this worker keeps, of all of its batches. */
export const kept = { now: 0, most: Math.min(mostKept, Math.floor(descriptorLimit() / shareOfDescriptors)) };

export function apartName(number: number): NameBytes {
  return { bytes: Buffer.from(`${String(number)}\0`) };
}

/** How many numbers `stats` has of each entry. */
export const statColumns = 4;

export function setStat(
  stats: BigInt64Array,
  number: number,
  { ino, mtimeNs, ctimeNs, mode }: Omit<FileStat, 'size'>,
): void {
  const at = number * statColumns;
  stats[at] = ino;
  stats[at + 1] = mtimeNs;
  stats[at + 2] = ctimeNs;
  stats[at + 3] = BigInt(mode);
}

/** What `stats` has of the entry `number`, a file of `size` bytes; undefined for a directory, which has none. */
export function statOf(stats: BigInt64Array, number: number, size: number): FileStat | undefined {
  const at = number * statColumns;
  const ino = stats[at] ?? 0n;
  if (ino === 0n) return undefined;
  return {
    ino: BigInt.asUintN(64, ino),
    mode: Number(stats[at + 3]),
    size,
    mtimeNs: stats[at + 1] ?? 0n,
    ctimeNs: stats[at + 2] ?? 0n,
  };
}

export function writeAll(calls: FileCalls, fd: number, memory: Uint8Array, from: number, size: number): void {
  for (let done = 0; done < size;) {
    // On a full disk the count is short and no error comes with it; that comes with the next try.
    const count = calls.write(fd, memory, from + done, size - done, done);
    if (count === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
    done += count;
  }
}

/**
 * Gives a staged file what it has beside mode and time; the mode comes after the owner, which takes bits of it away.
 * What could not be given goes into `lostOf`, by the number of its entry.
 */
export function giveRow(
  list: FileList,
  row: number,
  fd: number,
  given: Given,
  calls: FileCalls,
  lostOf: Map<number, readonly Lost[]>,
): void {
  const lost = giveMetadata(fd, given);
  if (lost.length > 0) lostOf.set(list.first + row, lost);
  const mode = modeWith(numberOf(list, row, column.mode), given, lost);
  list.numbers[row * columns + column.mode] = mode;
  calls.setMode(fd, mode | ownerReads);
}

/** Makes a directory under its final name. */
export function reach(name: string, { directories }: PlacingGround): Placed {
  try {
    directories.descriptor(name);
    return { outcome: 'identical', path: name };
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ELOOP' || code === 'ENOTDIR') throw notADirectory(name, error);
    if (code !== 'ENOENT') throw error;
    directories.at(name, '.', true);
    return { outcome: 'stored', path: name };
  }
}

export function removeEmpty(staged: string): void {
  try {
    rmdirSync(staged);
  } catch (error) {
    // Where nothing was written, there may be none, or a file that was in its way.
    if (!['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'EINVAL'].includes(errnoOf(error) ?? '')) throw error;
  }
}

/** Makes directories durable; their files were flushed by whoever wrote them. */
export function syncBelow(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) syncBelow(path.join(directory, entry.name));
  const fd = openSync(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** How many descriptors this process may have; a small number where nobody says. */
function descriptorLimit(): number {
  const small = 256;
  if (process.platform !== 'linux') return small;
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return soft === undefined ? small : Number(soft);
}

/**
 * Rejects where the disk takes no changes any more; see `Directory.confirm`. `disk`: a descriptor of our private
 * directory.
 */
export function confirmDisk(disk: number): void {
  for (let times = 0; times < 2; times++) fchmodSync(disk, privateMode);
}
