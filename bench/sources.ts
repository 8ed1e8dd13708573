import { randomFillSync } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';

const piece = 8 * 2 ** 20;

/**
 * A file of random bytes, which no tool can shorten on its way. Left in the page cache, alike for everyone who reads it
 * later.
 */
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
  for (let index = 0; index < count; index++) {
    if (index % 100 === 0) await mkdir(dirname(inTree(path, index)), { recursive: true });
    await makeSmallFile(inTree(path, index), size);
  }
  return path;
}

/** Text that programs are made of, `size` bytes of it at least: what packages of npm below `packages` have of it. */
export async function copySourceTree(packages: string, path: string, size: number): Promise<string> {
  let left = size;
  for (const name of (await readdir(packages, { recursive: true })).sort()) {
    if (left <= 0) break;
    if (!/\.(?:[cm]?[jt]s|json|md)$/.test(name)) continue;
    const found = await stat(join(packages, name));
    if (!found.isFile()) continue;
    await mkdir(dirname(join(path, name)), { recursive: true });
    await copyFile(join(packages, name), join(path, name));
    left -= found.size;
  }
  return path;
}

/**
 * Another hundredth of the files of such a tree for each `round`: new bytes in files that stay as long as they were. A
 * thousandth comes in addition, in a directory of its own.
 */
export async function changeTree(path: string, count: number, size: number, round: number): Promise<void> {
  for (let index = round % 100; index < count; index += 100) await makeSmallFile(inTree(path, index), size);
  const added = join(path, `new-${round}`);
  await mkdir(added);
  for (let index = 0; index < Math.ceil(count / 1000); index++) await makeSmallFile(join(added, `f${index}`), size);
}

/** Other bytes in the middle of a file, which stays as long as it was; they begin at no round figure. */
export async function overwriteMiddle(path: string, size: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { size: whole } = await file.stat();
    await file.write(
      randomFillSync(Buffer.allocUnsafe(size)),
      0,
      size,
      Math.max(0, Math.floor((whole - size) / 2) - 12_345),
    );
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * New bytes, as many as before, in another hundredth of the files for each `round`: whatever lies below `path`, but for
 * files over 1 MiB.
 */
export async function changeHundredth(path: string, round: number): Promise<void> {
  const files: string[] = [];
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) files.push(join(entry.parentPath, entry.name));
  }
  files.sort();
  for (let index = round % 100; index < files.length; index += 100) {
    const file = files[index] ?? '';
    const { size } = await stat(file);
    if (size <= 2 ** 20) await makeSmallFile(file, size);
  }
}

/** Adds bytes in the middle of a file: a new file with its name, as most programs that change something write it. */
export async function insertMiddle(path: string, size: number): Promise<void> {
  const { size: whole } = await stat(path);
  const middle = Math.floor(whole / 2) - 12_345;
  const fresh = createWriteStream(`${path}.new`, { flags: 'wx', mode: 0o600, flush: true });
  await pipeline(async function* () {
    yield* createReadStream(path, { end: middle - 1 });
    yield randomFillSync(Buffer.allocUnsafe(size));
    yield* createReadStream(path, { start: middle });
  }, fresh);
  await rename(`${path}.new`, path);
}

function inTree(path: string, index: number): string {
  return join(path, `d${String(Math.floor(index / 100)).padStart(4, '0')}`, `f${String(index % 100).padStart(2, '0')}`);
}

async function makeSmallFile(path: string, size: number): Promise<void> {
  await writeFile(path, randomFillSync(Buffer.allocUnsafe(size)));
  await readFile(path);
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
