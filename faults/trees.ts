import { createCipheriv, createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { Random } from './random';

/** What a file is, by each of the digests that receipts carry here. */
export interface Content {
  readonly size: number;
  readonly md5: string;
  readonly sha256: string;
}

/** Files by their names as the receiver has them. */
export type Contents = ReadonlyMap<string, Content>;

/** Bytes that look random, and are the same for the same random numbers. */
export function noise(random: Random, size: number): Buffer {
  return createCipheriv('aes-128-ctr', random.bytes(16), Buffer.alloc(16)).update(Buffer.alloc(size));
}

export function contentOf(bytes: Uint8Array): Content {
  const digest = (algorithm: string): string => createHash(algorithm).update(bytes).digest('hex');
  return { size: bytes.length, md5: digest('md5'), sha256: digest('sha256') };
}

export const isSame = (one: Content | undefined, other: Content | undefined): boolean =>
  one !== undefined && one.sha256 === other?.sha256;

/** Writes files of random bytes, with these names and sizes, below `place`. */
export function makeTree(place: string, sizes: Readonly<Record<string, number>>, random: Random): Contents {
  const contents = new Map<string, Content>();
  for (const [name, size] of Object.entries(sizes)) {
    const bytes = noise(random, size);
    mkdirSync(dirname(join(place, name)), { recursive: true });
    writeFileSync(join(place, name), bytes);
    contents.set(name, contentOf(bytes));
  }
  return contents;
}

/**
 * All regular files below a directory, except what is below one of the names of `without`. Symbolic links are not
 * followed.
 */
export function readTree(place: string, without: readonly string[] = []): Contents {
  const contents = new Map<string, Content>();
  for (const entry of readdirSync(place, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(place, path);
    if (entry.isFile() && !without.includes(name.split('/')[0] ?? ''))
      contents.set(name, contentOf(readFileSync(path)));
  }
  return contents;
}
