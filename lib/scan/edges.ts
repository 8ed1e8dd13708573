import { createHash } from 'node:crypto';
import { fstatSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { EntryStats } from '../threads/entry-stats';
import { fill, fillSync } from '../threads/fill';

/** Bytes at either end. */
const edge = 4096;
/** How often a file is read that is written to meanwhile. */
export const mostLooks = 4;

/** By what it shows that somebody has written to a file. */
interface FileMoment {
  /** Bytes. */
  readonly size: number | bigint;
  /** Nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/**
 * How a file was, and its edges at that moment; undefined where they could not be read, or it was rewritten meanwhile.
 */
export interface StatsWithEdges {
  readonly stats: EntryStats;
  readonly edges: bigint | undefined;
}

interface Range {
  readonly offset: number;
  readonly length: number;
}

/** What of a file of `size` bytes its edges are: its first and its last 4 KiB, or all of it. */
function edgeRanges(size: number): readonly [first: Range, last: Range] {
  const length = Math.min(size, 2 * edge);
  const first = Math.min(length, edge);
  return [
    { offset: 0, length: first },
    { offset: size - length + first, length: length - first },
  ];
}

/**
 * What tells whether a file that is longer by now was only appended to: 64 bits of a digest of its edges. Of a file of
 * up to 8 KiB that is all of it; of a longer one a rewrite in place is found out unless it leaves both as they were, at
 * the same distance from the start.
 */
export function edgesIn(content: Uint8Array): bigint {
  const digest = createHash('sha256');
  for (const { offset, length } of edgeRanges(content.length)) digest.update(content.subarray(offset, offset + length));
  return digest.digest().readBigUInt64LE();
}

/**
 * Those of the first `size` bytes of a file; undefined where it has fewer. Throws the errors of the operating system.
 */
export function edgesOf(fd: number, size: number): bigint | undefined {
  const [first, last] = edgeRanges(size);
  const bytes = new Uint8Array(first.length + last.length);
  const isWhole =
    fillSync(fd, bytes.subarray(0, first.length), first.offset) &&
    fillSync(fd, bytes.subarray(first.length), last.offset);
  return isWhole ? edgesIn(bytes) : undefined;
}

/** The same without keeping this thread waiting for a disk. */
export async function edgesOfHandle(handle: FileHandle, size: number): Promise<bigint | undefined> {
  const [first, last] = edgeRanges(size);
  const bytes = new Uint8Array(first.length + last.length);
  const isWhole =
    (await fill(handle, bytes.subarray(0, first.length), first.offset)) &&
    (await fill(handle, bytes.subarray(first.length), last.offset));
  return isWhole ? edgesIn(bytes) : undefined;
}

/** A file at one look: how it was before and after its edges were read, and then those of an earlier size of it. */
interface Look extends StatsWithEdges {
  readonly after: EntryStats;
  readonly earlier: bigint | undefined;
}

/**
 * The edges of a file that is open, and how it was when they were read: one that grows is found as far as it goes by
 * then. As it was found, and without edges, where it is another one by now, or is rewritten all the time. Throws the
 * errors of the operating system.
 */
export function lookAtEdges(fd: number, found: EntryStats): StatsWithEdges {
  const looking = looks(found);
  let step = looking.next();
  while (step.done !== true) step = looking.next(lookAt(fd, step.value));
  return step.value;
}

/** The same without keeping this thread waiting for a disk. */
export async function lookAtEdgesOfHandle(handle: FileHandle, found: EntryStats): Promise<StatsWithEdges> {
  const looking = looks(found);
  let step = looking.next();
  while (step.done !== true) step = looking.next(await lookAtHandle(handle, step.value));
  return step.value;
}

/** Asks for looks, each with the size in bytes of which it is to read the edges once more. */
function* looks(found: EntryStats): Generator<number | undefined, StatsWithEdges, Look> {
  let last: StatsWithEdges | undefined;
  for (let look = 0; look < mostLooks; look++) {
    const { stats, edges, after, earlier } = yield last && Number(last.stats.size);
    if (!isSameFile(stats, found)) break;
    // What is only appended to, however often, still has the edges that it had before this look.
    const hasShrunk = last !== undefined && stats.size < last.stats.size;
    const isAppendedTo = last?.edges !== undefined && !hasShrunk && last.edges === earlier;
    if (isUntouched(stats, after) || isAppendedTo) return { stats, edges };
    last = stats.size > 0n ? { stats, edges } : undefined;
  }
  return { stats: found, edges: undefined };
}

function lookAt(fd: number, earlierSize: number | undefined): Look {
  const stats = fstatSync(fd, { bigint: true });
  const edges = edgesOf(fd, Number(stats.size));
  const after = fstatSync(fd, { bigint: true });
  return { stats, edges, after, earlier: earlierSize === undefined ? undefined : edgesOf(fd, earlierSize) };
}

async function lookAtHandle(handle: FileHandle, earlierSize: number | undefined): Promise<Look> {
  const stats = await handle.stat({ bigint: true });
  const edges = await edgesOfHandle(handle, Number(stats.size));
  const after = await handle.stat({ bigint: true });
  const earlier = earlierSize === undefined ? undefined : await edgesOfHandle(handle, earlierSize);
  return { stats, edges, after, earlier };
}

/** Whether what was opened is the regular file that was found. */
function isSameFile(opened: EntryStats, found: EntryStats): boolean {
  return opened.isFile() && opened.dev === found.dev && opened.ino === found.ino;
}

/** Whether nobody has written to a file between two looks at it. */
export function isUntouched<Moment extends FileMoment>(before: Moment, after: Moment): boolean {
  return after.size === before.size && after.mtimeNs === before.mtimeNs && after.ctimeNs === before.ctimeNs;
}
