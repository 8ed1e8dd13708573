import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { find } from '../bench/command';

const blockSize = 4096;

/** What this machine lacks for flipping bits below a file system, as a sentence. */
export function missingForFlips(): string | undefined {
  return find('filefrag') === undefined ? 'There is no filefrag.' : undefined;
}

/**
 * Flips one bit of the byte at `offset` of `file` on its device, whose image is `image`: the page cache of the file system, and the
 * file's times, stay as they are. What the file has there must have reached the device. @throws Error if the byte lies nowhere there.
 */
export function flipBelow(image: string, file: string, offset: number, bit: number): void {
  const at = placeOf(file, offset);
  const device = openSync(image, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(device, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ (1 << bit);
    writeSync(device, byte, 0, 1, at);
  } finally {
    closeSync(device);
  }
}

/** Where on the device a byte of a file is, by what the file system says of its extents. */
function placeOf(file: string, offset: number): number {
  const block = Math.floor(offset / blockSize);
  const lines = execFileSync(find('filefrag') ?? 'filefrag', ['-v', `-b${blockSize}`, file], { encoding: 'utf8' }).split('\n');
  for (const line of lines) {
    const [, first, last, from] = /^\s*\d+:\s+(\d+)\.\.\s*(\d+):\s+(\d+)\.\./.exec(line) ?? [];
    if (first === undefined || block < Number(first) || block > Number(last)) continue;
    return (Number(from) + block - Number(first)) * blockSize + (offset % blockSize);
  }
  throw new Error(`The byte ${offset} of ${file} is nowhere on its device:\n${lines.join('\n')}`);
}
