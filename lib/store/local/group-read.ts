import { type BigIntStats, closeSync, constants, fchmodSync, fstatSync, fsyncSync, openSync, readSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { alignment, AlignedMemory } from '../../threads/aligned-memory';
import { createDigest, type DigestAlgorithm } from '../../digest/digest';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import type { OpenDirectories } from './group-directories';
import type { Failed } from './group-failure';
import { ownerReads, stagedApart, stagedTogether } from './group-home';
import { forEachRow, type ReadRow } from './group-rows';
import { mismatch } from './staged-bytes';

/** What tells whether a file of ours is still as it was when it was committed. Times are ns since 1970. */
export interface FileStat {
  readonly ino: bigint;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/** What a regular file reads as. */
export interface Content {
  readonly digest: string;
  readonly stat: FileStat;
}

export interface ReadGround {
  readonly algorithm: DigestAlgorithm;
  /** Read past the page cache. */
  readonly direct: boolean;
  /** Whether each file is flushed by itself, since the disk is not synced as a whole. */
  readonly syncEach: boolean;
}

const memorySize = 512 * 1024;
const { buffer } = new AlignedMemory(memorySize, 1);
const memory = new Uint8Array(buffer, 0, memorySize);
const { O_DIRECT = 0, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };

/** Reads staged files back and compares. `numbers`: inode, mtime and ctime of each. Those that fail are removed. */
export async function readFilesBack(rows: readonly ReadRow[], digests: readonly string[], home: string, ground: ReadGround): Promise<{ readonly failures: readonly (readonly [number, Failed])[]; readonly numbers: BigInt64Array }> {
  const numbers = new BigInt64Array(rows.length * 3);
  const staged = ({ name, apart }: ReadRow): string => (apart < 0 ? stagedTogether(home, name) : stagedApart(home, apart));
  const failures = await forEachRow(
    rows,
    async (row, at) => {
      const fd = openSync(staged(row), O_RDONLY | O_NOFOLLOW | (ground.direct ? O_DIRECT : 0));
      try {
        let stats = fstatSync(fd, { bigint: true });
        await compare(fd, Number(stats.size), row, digests[at] ?? '', ground.algorithm);
        // What its owner may not read can be read back only before it is so.
        if ((row.mode & ownerReads) === 0) {
          fchmodSync(fd, row.mode);
          if (ground.syncEach) fsyncSync(fd);
          stats = fstatSync(fd, { bigint: true });
        }
        numbers.set([stats.ino, stats.mtimeNs, stats.ctimeNs], at * 3);
      } finally {
        closeSync(fd);
      }
    },
    (row) => unlinkSync(staged(row)),
  );
  return { failures, numbers };
}

/** What the regular files under these names read as; undefined for anything else, and for what cannot be read. Durable together with the group that is committed next. */
export async function readStanding(names: readonly string[], directories: OpenDirectories, ground: ReadGround): Promise<(Content | undefined)[]> {
  const contents: (Content | undefined)[] = names.map(() => undefined);
  // What cannot be read has to be sent; what stands in its way is met when it is stored.
  await forEachRow(names, async (name, at) => {
    const directory = path.posix.dirname(name);
    contents[at] = await readContent(directories.at(directory, path.posix.basename(name), false), undefined, ground);
    if (ground.syncEach && contents[at]) fsyncSync(directories.descriptor(directory));
  });
  return contents;
}

/** Digest and state of a regular file, of `size` bytes if that is said; undefined if it is none. Throws what `open` and `read` throw. */
export async function readContent(at: string, size: number | undefined, { algorithm, direct, syncEach }: ReadGround): Promise<Content | undefined> {
  const fd = openSync(at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (direct ? O_DIRECT : 0));
  try {
    const stats = fstatSync(fd, { bigint: true });
    if (!stats.isFile() || (size !== undefined && stats.size !== BigInt(size))) return undefined;
    // Someone else may have written it a moment ago; a receipt for it needs it on the disk as well.
    if (syncEach) fsyncSync(fd);
    const digest = await digestOf(fd, Number(stats.size), algorithm);
    return digest === undefined ? undefined : { digest, stat: fileStat(stats) };
  } finally {
    closeSync(fd);
  }
}

export function fileStat({ ino, size, mtimeNs, ctimeNs }: BigIntStats): FileStat {
  return { ino, size: Number(size), mtimeNs, ctimeNs };
}

async function compare(fd: number, actual: number, { name, size }: ReadRow, digest: string, algorithm: DigestAlgorithm): Promise<void> {
  if (actual !== size) throw new TransferError('mismatch', `${printable(name)} does not match: it should be ${String(size)} bytes long, and is ${String(actual)} on the disk.`);
  const found = await digestOf(fd, size, algorithm);
  if (found !== digest) throw mismatch(name, algorithm, { [algorithm]: digest }, { [algorithm]: found ?? 'that of fewer bytes' });
}

/** The digest of the first `size` bytes behind a descriptor, which may be one of O_DIRECT; undefined if there are fewer. */
async function digestOf(fd: number, size: number, algorithm: DigestAlgorithm): Promise<string | undefined> {
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
