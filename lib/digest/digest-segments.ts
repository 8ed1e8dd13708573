import { read } from 'node:fs';
import { AlignedMemory } from '../threads/aligned-memory';
import { createDigest, type DigestAlgorithm } from './digest';
import { ignored } from '../trace';

/** Segments of a file to be read and hashed one by one. */
export interface SegmentReading {
  readonly fd: number;
  /** Of the file. */
  readonly size: number;
  readonly segmentSize: number;
  /** Their numbers. */
  readonly segments: readonly number[];
  readonly algorithm: DigestAlgorithm;
}

const readSize = 1024 * 1024;
const ahead = 4;

/** The digest of each segment, in the order of their numbers. Rejects with the operating system's errors. */
export async function digestSegments({
  fd,
  size,
  segmentSize,
  segments,
  algorithm,
}: SegmentReading): Promise<string[]> {
  const memory = new AlignedMemory(readSize, ahead);
  const pieces = segments.flatMap((segment) => {
    const end = Math.min(size, (segment + 1) * segmentSize);
    const starts: { offset: number; length: number; last: boolean }[] = [];
    for (let offset = segment * segmentSize; offset < end; offset += readSize) {
      starts.push({ offset, length: Math.min(readSize, end - offset), last: offset + readSize >= end });
    }
    return starts;
  });
  const digests: string[] = [];
  const reading: ReturnType<typeof readPiece>[] = [];
  let asked = 0;
  let hashing = await createDigest(algorithm);
  for (const { length, last } of pieces) {
    for (; asked < pieces.length && reading.length < ahead; asked++) {
      const next = pieces[asked];
      if (next) reading.push(readPiece(memory, fd, next.offset, next.length));
      reading.at(-1)?.catch(ignored('whether it failed is asked when its turn comes'));
    }
    const lease = await (reading.shift() as ReturnType<typeof readPiece>);
    hashing.update(lease.bytes.subarray(0, length));
    lease.release();
    if (!last) continue;
    digests.push(hashing.digest());
    hashing = await createDigest(algorithm);
  }
  return digests;
}

async function readPiece(
  memory: AlignedMemory,
  fd: number,
  offset: number,
  length: number,
): ReturnType<AlignedMemory['lease']> {
  const lease = await memory.lease();
  // With O_DIRECT whole sectors are asked for, and the end of the file cuts the last read short.
  for (let at = 0; at < length;) {
    const count = await new Promise<number>((resolve, reject) => {
      read(fd, lease.bytes, at, lease.bytes.length - at, offset + at, (error, read) =>
        error ? reject(error) : resolve(read),
      );
    });
    if (count === 0) throw new Error(`the file ends at byte ${String(offset + at)}`);
    at += count;
  }
  return lease;
}
