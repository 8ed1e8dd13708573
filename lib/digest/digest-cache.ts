import { createHash, randomBytes } from 'node:crypto';
import { open, opendir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { isOnlyOurs, userCache } from '../user-directory';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { makePath } from '../make-path';
import type { DigestAlgorithm } from './digest';

/** Which file, and which state of it: as `fs.BigIntStats` says it. */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export interface RememberedDigests {
  /** The digest of exactly this state of the file, lower-case hex; undefined where it is not known. */
  lookup(id: FileIdentity, algorithm: DigestAlgorithm): Promise<string | undefined>;
  /** `id` is the file's state both before and after hashing; `hashingBegan` is the `Date.now()` of before. */
  remember(id: FileIdentity, algorithm: DigestAlgorithm, digest: string, hashingBegan: number): Promise<void>;
}

/** Remembers nothing. */
export const noDigestCache: RememberedDigests = {
  lookup: () => Promise.resolve(undefined),
  remember: () => Promise.resolve(),
};

const day = 24 * 60 * 60 * 1000;
const smallestFile = 1n << 20n; // a smaller one costs less to hash than to look up
const coarsestTimestamp = 2_000_000_000n; // ns: FAT's; within it, a later write may leave the same mtime
const unusedFor = 90 * day;
const sweepMark = 'swept';
const ownNames = /^\d+-\d+(?:\.[0-9a-f]{16}\.new)?$/;

/**
 * The digests of files of at least 1 MiB, on disk: one small file for each inode, holding the whole identity, a digest
 * for each algorithm and a checksum of itself. It never makes a transfer fail: whatever is damaged, or does not work,
 * counts as not known. A directory that belongs to someone else, or that others may write to, is not used. Entries that
 * nobody asked for in 90 days are removed in the background.
 */
export class DigestCache implements RememberedDigests {
  readonly #wanted: string | undefined;
  #opened: Promise<string | undefined> | undefined;

  /** `directory` defaults to `sendall/digests` in the user's cache directory; it is made on first use. */
  constructor(directory?: string) {
    this.#wanted = directory;
  }

  async lookup(id: FileIdentity, algorithm: DigestAlgorithm): Promise<string | undefined> {
    if (id.size < smallestFile) return undefined;
    const directory = await this.#open();
    if (directory === undefined) return undefined;
    return (await readEntry(join(directory, entryName(id)), id)).get(algorithm);
  }

  async remember(id: FileIdentity, algorithm: DigestAlgorithm, digest: string, hashingBegan: number): Promise<void> {
    if (id.size < smallestFile || isRacilyClean(id, hashingBegan)) return;
    const directory = await this.#open();
    if (directory === undefined) return;
    const path = join(directory, entryName(id));
    const digests = await readEntry(path, id);
    await writeEntry(path, id, digests.set(algorithm, digest));
  }

  #open(): Promise<string | undefined> {
    this.#opened ??= attempt(async () => {
      const directory = this.#wanted ?? cacheDirectory();
      await makePath(directory, 0o700);
      if (!isOnlyOurs(await stat(directory))) return undefined;
      void attempt(() => sweep(directory)); // in the background: no transfer waits for it
      return directory;
    });
    return this.#opened;
  }
}

/** Where the digests are, unless somebody wants them elsewhere; see `userCache`. */
export function cacheDirectory(env?: NodeJS.ProcessEnv, platform?: NodeJS.Platform): string {
  return join(userCache(env, platform), 'digests');
}

/** Git's word: a file so fresh that a write after hashing could leave every timestamp as it is. */
function isRacilyClean(id: FileIdentity, hashingBegan: number): boolean {
  const began = BigInt(Math.floor(hashingBegan)) * 1_000_000n;
  return began - id.mtimeNs < coarsestTimestamp || began - id.ctimeNs < coarsestTimestamp;
}

/** One name for each inode: when its file changes, the new entry takes the old one's place. */
function entryName(id: FileIdentity): string {
  return `${id.dev}-${id.ino}`;
}

function identityLine(id: FileIdentity): string {
  return `digests 1 dev=${id.dev} ino=${id.ino} size=${id.size} mtime_ns=${id.mtimeNs} ctime_ns=${id.ctimeNs}`;
}

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The first line is the identity, the last one the checksum of all before it; empty if anything does not fit. */
async function readEntry(path: string, id: FileIdentity): Promise<Map<DigestAlgorithm, string>> {
  const digests = new Map<DigestAlgorithm, string>();
  const text = await attempt(() => readAndMark(path));
  const [, body, sum] = /^([^]*\n)check ([0-9a-f]{64})\n$/.exec(text ?? '') ?? [];
  if (body === undefined || sum !== checksum(body) || !body.startsWith(`${identityLine(id)}\n`)) return digests;
  for (const [, algorithm, digest] of body.matchAll(/^(md5|sha256|blake3) ([0-9a-f]+)$/gm)) {
    digests.set(algorithm as DigestAlgorithm, digest as string);
  }
  return digests;
}

/** The entry's own mtime says when it was last used, to the day. */
async function readAndMark(path: string): Promise<string> {
  const file = await open(path);
  try {
    const text = await file.readFile('utf8');
    const now = new Date();
    if ((await file.stat()).mtimeMs < now.getTime() - day) await attempt(() => file.utimes(now, now));
    return text;
  } finally {
    await file.close();
  }
}

async function writeEntry(
  path: string,
  id: FileIdentity,
  digests: ReadonlyMap<DigestAlgorithm, string>,
): Promise<void> {
  const lines = [identityLine(id), ...[...digests].map(([algorithm, digest]) => `${algorithm} ${digest}`)];
  const body = `${lines.join('\n')}\n`;
  const temporary = `${path}.${randomBytes(8).toString('hex')}.new`;
  const written = await attempt(async () => {
    await writeFile(temporary, `${body}check ${checksum(body)}\n`, { flag: 'wx', mode: 0o600 });
    await rename(temporary, path);
    return true;
  });
  if (written !== true) await attempt(() => rm(temporary, { force: true }));
}

/** At most once a day. It never keeps the process alive: what it does not reach today is left for another day. */
async function sweep(directory: string): Promise<void> {
  const mark = join(directory, sweepMark);
  const now = Date.now();
  const last = await attempt(async () => (await stat(mark)).mtimeMs);
  if (last !== undefined && Math.abs(now - last) < day) return;
  await writeFile(mark, '', { mode: 0o600 });
  await utimes(mark, now / 1000, now / 1000);
  for await (const { name } of await opendir(directory)) {
    if (!ownNames.test(name)) continue;
    await attempt(async () => {
      if ((await stat(join(directory, name))).mtimeMs < now - unusedFor) await rm(join(directory, name));
    });
    await pause(1, undefined, { ref: false });
  }
}

/**
 * Whatever goes wrong in here only means that a digest is computed instead of looked up, which is not worth a word to
 * anyone.
 */
async function attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch {
    // The digest is computed instead.
    return undefined;
  }
}
