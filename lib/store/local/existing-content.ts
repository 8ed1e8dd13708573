// What is at a name already, read from where a receipt says that it was read.
import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { createDigest, createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { alignment, AlignedMemory } from '../../threads/aligned-memory';
import { type FileCalls, fileStat, type FileStat } from '../../threads/file-calls';
import { OpenDirectories } from './open-directories';
import { largestRead, type ManyReader } from './many-reader';
import { systemPath } from '../../name-bytes';

/** What a regular file reads as. */
export interface DiskContent {
  readonly digest: string;
  readonly stat: FileStat;
}

/** The contents of many files, in their order; undefined for anything else, and for what cannot be read. */
export interface ReadExisting {
  readonly contents: readonly (DiskContent | undefined)[];
}

export interface ReadGround {
  readonly algorithm: DigestAlgorithm;
  /** Read past the page cache. */
  readonly direct: boolean;
  /** Whether each file is flushed by itself, since the disk is not synced as a whole. */
  readonly syncEach: boolean;
}

interface ReadExistingGround {
  readonly calls: FileCalls;
  readonly reader: ManyReader;
  /** The path of the receive directory. */
  readonly root: string;
  readonly algorithm: DigestAlgorithm;
  readonly syncEach: boolean;
}

const memorySize = 512 * 1024;
let memory: Uint8Array | undefined;
const readTogether = 256;
const {
  O_DIRECT = 0,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
} = constants as typeof constants & { readonly O_DIRECT?: number };

/**
 * Reads the regular files at these names, many at once, without following symbolic links. Durable together with the
 * batch that is committed next.
 */
export async function readExisting(names: readonly string[], ground: ReadExistingGround): Promise<ReadExisting> {
  const { reader, root, algorithm } = ground;
  const contents: (DiskContent | undefined)[] = names.map(() => undefined);
  const digestOf = await createDigestOf(algorithm);
  const directories = new OpenDirectories(root, false);
  try {
    for (let first = 0; first < names.length; first += readTogether) {
      const opened: { readonly at: number; readonly fd: number; readonly stat: FileStat }[] = [];
      try {
        for (const [index, name] of names.slice(first, first + readTogether).entries()) {
          const file = openExisting(name, directories, ground);
          if (file) opened.push({ at: first + index, ...file });
        }
        const digests = reader.digests(
          Int32Array.from(opened, ({ fd }) => fd),
          Float64Array.from(opened, ({ stat }) => stat.size),
          opened.length,
          digestOf,
        );
        for (const [index, { at, stat }] of opened.entries()) {
          const digest = digests[index];
          // A file that cannot be read has to be sent; an obstacle is reported when the file is stored.
          if (typeof digest === 'string') contents[at] = { digest, stat };
        }
      } finally {
        for (const { fd } of opened) closeSync(fd);
      }
    }
  } finally {
    directories.close();
  }
  return { contents };
}

function openExisting(
  name: string,
  directories: OpenDirectories,
  { reader, syncEach }: ReadExistingGround,
): { readonly fd: number; readonly stat: FileStat } | undefined {
  const directory = path.posix.dirname(name);
  let fd: number | undefined;
  try {
    fd = openSync(
      systemPath(directories.at(directory, path.posix.basename(name), false)),
      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (reader.direct ? O_DIRECT : 0),
    );
    const stats = fstatSync(fd, { bigint: true });
    if (stats.isFile() && stats.size <= BigInt(largestRead)) {
      // Another program may have written it a moment ago; a receipt needs it on the disk.
      if (syncEach) {
        fsyncSync(fd);
        fsyncSync(directories.descriptor(directory));
      }
      return { fd, stat: fileStat(stats) };
    }
  } catch {
    // As above: it counts as not there.
  }
  if (fd !== undefined) closeSync(fd);
  return undefined;
}

/**
 * Digest and state of a regular file, of `size` bytes if that is said; undefined if it is none. Throws what `open` and
 * `read` throw.
 */
export async function readContent(
  at: string,
  size: number | undefined,
  { algorithm, direct, syncEach }: ReadGround,
): Promise<DiskContent | undefined> {
  const fd = openSync(systemPath(at), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (direct ? O_DIRECT : 0));
  try {
    const stats = fstatSync(fd, { bigint: true });
    if (!stats.isFile() || (size !== undefined && stats.size !== BigInt(size))) return undefined;
    // Another program may have written it a moment ago; a receipt needs it on the disk.
    if (syncEach) fsyncSync(fd);
    const digest = await digestOf(fd, Number(stats.size), algorithm);
    return digest === undefined ? undefined : { digest, stat: fileStat(stats) };
  } finally {
    closeSync(fd);
  }
}

/**
 * The digest of the first `size` bytes behind a descriptor, which may be one of O_DIRECT; undefined if there are fewer.
 */
async function digestOf(fd: number, size: number, algorithm: DigestAlgorithm): Promise<string | undefined> {
  const digest = await createDigest(algorithm);
  memory ??= new Uint8Array(new AlignedMemory(memorySize, 1).buffer, 0, memorySize);
  // Nothing is awaited from here on: the memory is the whole thread's.
  for (let at = 0; at < size;) {
    const count = readSync(fd, memory, 0, Math.min(memorySize, Math.ceil((size - at) / alignment) * alignment), at);
    if (count === 0) return undefined;
    digest.update(memory.subarray(0, Math.min(count, size - at)));
    at += count;
  }
  return digest.digest();
}
