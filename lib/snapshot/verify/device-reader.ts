import { constants, fstatSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { AlignedMemory } from '../../threads/aligned-memory';
import type { DigestAlgorithm } from '../../digest/digest';
import { DigestPool } from '../../digest/digest-pool';
import { asTransferError, errnoOf } from '../../errors';
import { OrderWorker } from '../../threads/order-worker';
import { openLocated } from '../../threads/walker';
import { parseEntryName, printable } from '../../name';
import type { Verified } from '../../progress';
import { Directory } from '../../store/local/directory';
import { DirectoryTree } from '../../store/local/directory-tree';
import { answersFromDevice } from '../../store/local/local-probe';
import { mayLackModes } from './held-modes';
import { type FoundOnDisk, foundIn, type Survey } from './survey';
import { largestSmall, type SmallRead, type VerifyAnswer, type VerifySetup, type VerifyOrder } from './verify-order';
import { systemPath } from '../../name-bytes';

const { O_DIRECT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };
const pieceSize = 1024 * 1024;
/** More than there are cores: while some wait for the disk, others hash. */
const workers = 3;

/** A file that is to be read back. Its name is relative to the receive directory. */
export interface FileToVerify {
  readonly name: string;
  readonly size: number;
  readonly inode: bigint;
}

export interface VerifyReading {
  readonly signal: AbortSignal;
  /** Called now and then with the bytes read of a large file. */
  readonly onProgress: (done: number) => void;
}

/**
 * Reads what stands in a receive directory back from the device, where the disk lets us past the page cache. Everything
 * is reached one directory at a time without following symbolic links, and nothing is written. Many files are to be
 * asked for at once.
 */
export class DeviceReader {
  private readonly pool = new DigestPool();
  private readonly tree: DirectoryTree;
  private readonly workers: readonly OrderWorker<VerifyOrder, VerifyAnswer>[];
  private readonly memory = new AlignedMemory(pieceSize, 1);
  private readonly direct: boolean;

  private constructor(
    private readonly root: Directory,
    setup: VerifySetup,
    /** Whether its disk is of a kind that may have no modes. */
    readonly mayLackModes: boolean,
  ) {
    this.tree = new DirectoryTree(root, false);
    this.workers = Array.from(
      { length: workers },
      () => new OrderWorker<VerifyOrder, VerifyAnswer>(path.join(__dirname, 'verify.worker'), setup),
    );
    this.direct = setup.direct;
    // The first is up by the time that a manifest was read; the others start once it is busy.
    this.workers[0]?.warm();
  }

  /** `pathname` is the path of the receive directory, `sample` the name of a file in it. Rejects with `directory`. */
  static async open(pathname: string, sample: string | undefined): Promise<DeviceReader> {
    const root = await Directory.open(pathname, true).catch((error: unknown) => {
      throw asTransferError(error, 'directory', `${printable(pathname)} cannot be read`);
    });
    const setup = { root: path.resolve(pathname), direct: await takesDirect(pathname, sample) };
    return new DeviceReader(root, setup, await mayLackModes(pathname));
  }

  /** How far reading back goes. */
  get verified(): Verified {
    return this.direct ? 'device' : 'cache';
  }

  /** What stands in a directory, by name. Rejects with the operating system's errors. */
  async survey(directory: string): Promise<Map<string, FoundOnDisk>> {
    return foundIn((await this.idlest().ask({ order: 'survey', directory })) as Survey);
  }

  /** Whether a file is one for `digest`; otherwise it is one of several for `digests`. */
  isLarge({ size }: Pick<FileToVerify, 'size'>): boolean {
    return size > largestSmall;
  }

  /**
   * The digest of all of a large file; undefined where it is not the same file any more. Rejects with the operating
   * system's errors, and when it is given up.
   */
  async digest(
    { name, size, inode }: FileToVerify,
    algorithm: DigestAlgorithm,
    reading: VerifyReading,
  ): Promise<string | undefined> {
    return this.opened(name, async (handle) => {
      const stats = await handle.stat({ bigint: true });
      if (!stats.isFile() || stats.ino !== inode || stats.size !== BigInt(size)) return undefined;
      return this.digestLarge(handle.fd, size, algorithm, reading);
    });
  }

  /**
   * The same for small files, in their order; with what each of them failed instead of rejecting. Those that follow one
   * another are best in one directory.
   */
  async digests(files: readonly FileToVerify[], algorithm: DigestAlgorithm): Promise<(string | Error | undefined)[]> {
    const numbers = new BigInt64Array(files.flatMap(({ size, inode }) => [BigInt(size), inode]));
    const answer = await this.idlest().ask({ order: 'read', names: files.map(({ name }) => name), numbers, algorithm });
    const { digests, failures } = answer as SmallRead;
    const found: (string | Error | undefined)[] = [...digests];
    for (const [at, failure] of failures) found[at] = Object.assign(new Error(failure.message), failure);
    return found;
  }

  /**
   * All of a file of at most `most` bytes, which is worth having in memory. Rejects with the operating system's errors.
   */
  async bytes(name: string, most: number): Promise<Uint8Array> {
    return this.opened(name, async (handle) => {
      const stats = await handle.stat();
      if (!stats.isFile()) throw Object.assign(new Error('not a regular file'), { code: 'EINVAL' });
      if (stats.size > most) throw Object.assign(new Error('larger than it can be'), { code: 'EFBIG' });
      const bytes = new Uint8Array(stats.size);
      const lease = await this.memory.lease();
      try {
        for (let at = 0; at < bytes.length;) {
          // With O_DIRECT whole sectors are asked for, and the end of the file cuts the last read short.
          const { bytesRead } = await handle.read(lease.bytes, 0, pieceSize, at);
          if (bytesRead === 0) throw Object.assign(new Error('it became shorter while it was read'), { code: 'EIO' });
          bytes.set(lease.bytes.subarray(0, Math.min(bytesRead, bytes.length - at)), at);
          at += bytesRead;
        }
      } finally {
        lease.release();
      }
      return bytes;
    });
  }

  async close(): Promise<void> {
    this.tree.close();
    await Promise.all([this.pool.close(), ...this.workers.map((worker) => worker.close()), this.root.close()]);
  }

  private async digestLarge(
    fd: number,
    size: number,
    algorithm: DigestAlgorithm,
    { signal, onProgress }: VerifyReading,
  ): Promise<string | undefined> {
    const reading = this.pool.digestFile({ fd, size, algorithms: [algorithm], onProgress });
    const cancel = (): void => reading.cancel();
    signal.addEventListener('abort', cancel);
    try {
      if (signal.aborted) cancel();
      return (await reading.digests)[algorithm];
    } catch (error) {
      signal.throwIfAborted();
      if (errnoOf(error) === undefined && fstatSync(fd).size < size) return undefined;
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  private async opened<T>(name: string, action: (handle: FileHandle) => Promise<T>): Promise<T> {
    const reached = await this.tree.find(parseEntryName(name, { allowHidden: true, names: 'any' }));
    if (!reached) throw Object.assign(new Error(`no such file: ${name}`), { code: 'ENOENT' });
    try {
      const handle = await open(
        systemPath(reached.directory.at(path.posix.basename(name))),
        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (this.direct ? (O_DIRECT ?? 0) : 0),
      );
      return await action(handle).finally(() => handle.close());
    } finally {
      reached.release();
    }
  }

  private idlest(): OrderWorker<VerifyOrder, VerifyAnswer> {
    return this.workers.reduce((best, worker) => (worker.load < best.load ? worker : best));
  }
}

/** Whether `sample` can be read past the page cache, from a device. What cannot be read at all decides nothing. */
async function takesDirect(pathname: string, sample: string | undefined): Promise<boolean> {
  if (sample === undefined || !(await answersFromDevice(pathname))) return false;
  const { bytes } = await new AlignedMemory(4096, 1).lease();
  try {
    const handle = await openLocated({ path: pathname, below: sample }, O_RDONLY | O_NONBLOCK | (O_DIRECT ?? 0));
    await handle.read(bytes, 0, bytes.length, 0).finally(() => handle.close());
    return true;
  } catch (error) {
    return errnoOf(error) !== 'EINVAL';
  }
}
