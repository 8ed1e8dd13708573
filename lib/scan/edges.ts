import { createHash } from 'node:crypto';
import { type BigIntStats, constants, readSync } from 'node:fs';

/** Bytes at either end. */
const edge = 4096;
/** How often the edges of a file are read that is written to meanwhile. */
export const mostLooks = 4;
// A named pipe without a writer is not waited for.
export const readFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** How a file was when its edges were read; undefined where they could not be. */
export interface StatsWithEdges {
  readonly stats: BigIntStats;
  readonly edges: bigint | undefined;
}

interface Range {
  readonly offset: number;
  readonly length: number;
}

/** What of a file of `size` bytes its edges are: its first and its last 4 KiB, or all of it. */
export function edgeRanges(size: number): readonly [first: Range, last: Range] {
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
    readInto(fd, bytes.subarray(0, first.length), first.offset) &&
    readInto(fd, bytes.subarray(first.length), last.offset);
  return isWhole ? edgesIn(bytes) : undefined;
}

/** Whether what was opened is the regular file that was found. */
export function isSameFile(opened: BigIntStats, found: BigIntStats): boolean {
  return opened.isFile() && opened.dev === found.dev && opened.ino === found.ino;
}

/** Whether nobody has written to a file between two looks at it. */
export function isUntouched(before: BigIntStats, after: BigIntStats): boolean {
  return after.size === before.size && after.mtimeNs === before.mtimeNs && after.ctimeNs === before.ctimeNs;
}

function readInto(fd: number, into: Uint8Array, offset: number): boolean {
  for (let done = 0; done < into.length;) {
    const count = readSync(fd, into, done, into.length - done, offset + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}
