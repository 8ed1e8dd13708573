import { type BigIntStats, readSync } from 'node:fs';
import { alignment, AlignedMemory } from '../aligned-memory';
import { createDigest, type DigestAlgorithm } from '../digest';

/** What tells whether a file of ours is still as it was when it was committed. Times are ns since 1970. */
export interface FileStat {
  readonly ino: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

const memorySize = 512 * 1024;
const { buffer } = new AlignedMemory(memorySize, 1);
const memory = new Uint8Array(buffer, 0, memorySize);

/** The digest of the first `size` bytes behind a descriptor, which may be one of O_DIRECT; undefined if there are fewer. */
export async function digestOf(fd: number, size: number, algorithm: DigestAlgorithm): Promise<string | undefined> {
  const digest = await createDigest(algorithm);
  // Nothing is awaited from here on: the memory is the whole thread's.
  for (let at = 0; at < size; ) {
    const count = readSync(fd, memory, 0, Math.min(memorySize, Math.ceil((size - at) / alignment) * alignment), at);
    if (count === 0) return undefined;
    digest.update(memory.subarray(0, Math.min(count, size - at)));
    at += count;
  }
  return digest.digest();
}

export function fileStat({ ino, size, mtimeNs, ctimeNs }: BigIntStats): FileStat {
  return { ino, size: Number(size), mtimeNs, ctimeNs };
}
