import { randomFillSync } from 'node:crypto';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const piece = 8 * 2 ** 20;

/** A file of random bytes, which no tool can shorten on its way. Left in the page cache, alike for everyone who reads it later. */
export async function makeFile(path: string, size: number): Promise<string> {
  const bytes = Buffer.allocUnsafe(Math.min(piece, size));
  const file = await open(path, 'wx', 0o600);
  try {
    for (let left = size; left > 0; left -= piece) {
      await file.writeFile(randomFillSync(bytes).subarray(0, Math.min(left, piece)));
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await readOnce(path);
  return path;
}

/** A file of zeros that takes no space: any size, at once. */
export async function makeSparseFile(path: string, size: number): Promise<string> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(size);
  } finally {
    await file.close();
  }
  return path;
}

/** `count` files of `size` random bytes, a hundred in a directory. */
export async function makeTree(path: string, count: number, size: number): Promise<string> {
  const bytes = Buffer.allocUnsafe(size);
  for (let index = 0; index < count; index++) {
    const directory = join(path, `d${String(Math.floor(index / 100)).padStart(4, '0')}`);
    if (index % 100 === 0) await mkdir(directory, { recursive: true });
    const file = join(directory, `f${String(index % 100).padStart(2, '0')}`);
    await writeFile(file, randomFillSync(bytes));
    await readFile(file);
  }
  return path;
}

async function readOnce(path: string): Promise<void> {
  const bytes = Buffer.allocUnsafe(piece);
  const file = await open(path);
  try {
    while ((await file.read(bytes, 0, piece)).bytesRead > 0);
  } finally {
    await file.close();
  }
}
