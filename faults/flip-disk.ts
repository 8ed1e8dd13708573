import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { find } from '../bench/command';
import type { Loans } from './loans';
import type { Random } from './random';
import { type FileSystem, makeVolume, missingForVolumes, mountVolume, smallestXfs } from './volume';

/** What a damaged file is asked for again in, as long as it has no more than some gigabytes. */
export const segmentSize = 2 ** 20;
/** A divisor of the block size of every file system, in bytes. */
const blockSize = 512;
const mostSegments = 3;

/** What this machine lacks for disks whose bits flip, as a sentence. */
export function missingForFlips(): string | undefined {
  return missingForVolumes() ?? (find('filefrag') === undefined ? 'There is no filefrag.' : undefined);
}

/**
 * A disk whose bits flip: a file system in an image, mounted. What flips flips in the image, where neither the page
 * cache nor the times of a file tell of it.
 */
export class FlipDisk {
  /** Bits that were flipped. */
  flips = 0;
  /** Where it is mounted. */
  readonly place: string;
  private readonly image: string;
  private unmount: () => void;

  /** An empty one, whose image and mount are in `directory`, which is made. */
  constructor(
    private readonly directory: string,
    private readonly kind: FileSystem,
    private readonly loans: Loans,
  ) {
    mkdirSync(directory);
    this.image = join(directory, 'image');
    this.place = join(directory, 'disk');
    makeVolume(this.image, kind, smallestXfs);
    this.unmount = mountVolume(this.image, this.place, kind, loans);
    mkdirSync(join(this.place, 'in'));
  }

  /**
   * Flips a bit in one to three of the segments of a file of `size` bytes, all of which have reached the device. The
   * page cache has them as they were. @returns how many segments.
   */
  flip(file: string, size: number, random: Random): number {
    readFileSync(file);
    const count = Math.ceil(size / segmentSize);
    const segments = new Set(
      Array.from({ length: random.between(1, mostSegments) }, () => random.between(0, count - 1)),
    );
    for (const segment of segments) {
      const offset = random.between(segment * segmentSize, Math.min(size, (segment + 1) * segmentSize) - 1);
      this.flipAt(placeOf(file, offset), random.between(0, 7));
    }
    return segments.size;
  }

  /** From now on everything comes from the device. */
  remount(): void {
    this.unmount();
    this.unmount = mountVolume(this.image, this.place, this.kind, this.loans);
  }

  close(): void {
    this.unmount();
    rmSync(this.directory, { recursive: true });
  }

  private flipAt(at: number, bit: number): void {
    const device = openSync(this.image, 'r+');
    try {
      const byte = Buffer.alloc(1);
      readSync(device, byte, 0, 1, at);
      byte[0] = (byte[0] ?? 0) ^ (1 << bit);
      writeSync(device, byte, 0, 1, at);
      this.flips++;
    } finally {
      closeSync(device);
    }
  }
}

/**
 * Where on its device a byte of a file is, by what the file system says of its extents. @throws Error if it is nowhere.
 */
function placeOf(file: string, offset: number): number {
  const block = Math.floor(offset / blockSize);
  const lines = execFileSync(find('filefrag') ?? 'filefrag', ['-v', `-b${blockSize}`, file], {
    encoding: 'utf8',
  }).split('\n');
  for (const line of lines) {
    const [, first, last, from] = /^\s*\d+:\s+(\d+)\.\.\s*(\d+):\s+(\d+)\.\./.exec(line) ?? [];
    if (first === undefined || block < Number(first) || block > Number(last)) continue;
    return (Number(from) + block - Number(first)) * blockSize + (offset % blockSize);
  }
  throw new Error(`The byte ${offset} of ${file} is nowhere on its device:\n${lines.join('\n')}`);
}
