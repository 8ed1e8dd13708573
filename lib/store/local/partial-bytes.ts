import { type FileHandle, rename, rm } from 'node:fs/promises';
import { alignment, type AlignedMemory, type Lease } from '../../threads/aligned-memory';
import type { DigestPool } from '../../digest/digest-pool';
import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests } from '../../progress';
import { pieceSize } from '../../wire/segment';
import { type Given, giveMetadata, modeWith } from './apply-metadata';
import { setFileTime } from '../../threads/system-calls';
import { Arrivals, type ByteRun } from './arrivals';
import type { Directory } from './directory';
import { linkIfFree } from './final-name';
import { ReadBack } from './read-back';
import { diskError } from './disk-error';
import type { BasisFile } from './basis-file';
import { discarded, firstDifference, type Lost, mismatch } from '../store';
import { writeSectors } from './write-sectors';
import { isZero } from '../../wire/zeros';
import { systemPath } from '../../name-bytes';
import { timeReadBack } from './read-back-time';

/**
 * How far the reading back may be behind the writes, in bytes. Let run ahead, the writes would keep the disk busy while
 * the hash waits for it, and later the hash would keep everybody waiting while the disk is idle.
 */
const mostBehind = 64 * 1024 * 1024;
const writesInFlight = 6;

export interface PartialContent {
  readonly name: EntryName;
  /** Bytes; undefined while nobody knows. */
  readonly size: number | undefined;
  /** Permission bits. */
  readonly mode: number;
  /** In ns since 1970; absent: the time at which it is written. */
  readonly mtime?: bigint | undefined;
  readonly given?: Given | undefined;
  /** What will be computed while reading back. */
  readonly algorithm: keyof Digests;
  /** See `StoreUse`. */
  readonly inOrder?: boolean | undefined;
}

export interface PartialBytesTarget {
  readonly path: string;
  readonly handle: FileHandle;
  readonly direct: boolean;
  readonly memory: AlignedMemory;
  readonly pool: DigestPool;
  /** Told when pieces have reached the disk, with the segments that are whole by them. */
  readonly wrote: (segments: readonly number[]) => void;
}

/**
 * The bytes of a file that arrives in pieces, in any order, some of them perhaps twice. They go past the page cache;
 * the reading back follows as far as there is no gap. A piece that is here is not written again: what was read back
 * stays as it was.
 */
export class PartialBytes {
  private readonly inFlight = new Set<Promise<void>>();
  private readonly arrivals: Arrivals;
  private readonly readBack: ReadBack;
  /** What of its metadata could not be given, after `verify`. */
  lost: readonly Lost[] = [];
  private size: number | undefined;
  private failure: TransferError | undefined;
  private wholeNow: () => void = () => undefined;
  /** Resolves when a file in which holes are left is as long as it will be, so that they can be read. */
  private stretched: Promise<void> | undefined;
  private expected: Digests = {};

  constructor(
    private readonly content: PartialContent,
    private readonly target: PartialBytesTarget,
  ) {
    this.size = content.size;
    this.arrivals = new Arrivals(content.size, content.inOrder);
    this.readBack = new ReadBack({ ...target, algorithm: content.algorithm, failed: (error) => void this.fail(error) });
  }

  /** The segments that are here, written, as far as this session has put or kept them there. */
  get segments(): number[] {
    return this.arrivals.segments;
  }

  /** Waits while too many writes are under way, or the reading back is too far behind for the disk to serve both. */
  async room(): Promise<void> {
    const { inFlight, readBack, arrivals } = this;
    while (inFlight.size >= writesInFlight) await Promise.race(inFlight);
    while (readBack.running && arrivals.prefix - readBack.done > mostBehind && !this.failure) await readBack.progress();
    this.throwIfFailed();
  }

  /** Resolves when everything that was put is written. Rejects with what failed. */
  async written(): Promise<void> {
    await Promise.all(this.inFlight);
    this.throwIfFailed();
  }

  /**
   * Takes the `length` bytes of a piece that begins at `offset`, and gives the memory back. Not waited for; `verify`
   * does. False if it was not needed.
   */
  put(lease: Lease, offset: number, length: number): boolean {
    const [run] = this.arrivals.begin(offset, length);
    if (run) this.track(run, () => writeSectors(this.target, lease.bytes, offset, length), lease);
    else lease.release();
    return run !== undefined;
  }

  /**
   * Takes a run of zeros; `fresh` where nothing was ever written there, so that it stays a hole. False if it was not
   * needed.
   */
  zero(offset: number, length: number, fresh: boolean): boolean {
    const runs = this.arrivals.begin(offset, length);
    for (const run of runs) this.track(run, () => (fresh ? this.stretch() : this.writeZeros(run)));
    return runs.length > 0;
  }

  /**
   * Takes a run of pieces that stand in another file, from its byte `from` on; `fresh` as for `zero`. False if it was
   * not needed.
   */
  copy(offset: number, length: number, from: number, basis: BasisFile, fresh: boolean): boolean {
    const runs = this.arrivals.begin(offset, length);
    for (const run of runs) this.track(run, () => this.writeCopy(run, from + run.offset - offset, basis, fresh));
    return runs.length > 0;
  }

  /** These bytes are there already, and are as they should be. */
  keep(offset: number, length: number): void {
    for (const run of this.arrivals.begin(offset, length)) this.arrived(run);
  }

  /** Nothing counts as here any more, until it is kept or put again. */
  forget(): void {
    this.readBack.stop();
    this.arrivals.forget();
  }

  /**
   * Resolves when all of the file is here and written. `size` for a file whose size nobody knew before. Rejects with
   * what failed.
   */
  async whole(size: number): Promise<void> {
    const { arrivals, content } = this;
    while (content.size !== undefined && !this.failure && !arrivals.whole) {
      await new Promise<void>((resolve) => {
        this.wholeNow = resolve;
      });
    }
    await this.seal();
    if (content.size === undefined && arrivals.bytes !== size)
      throw new TransferError(
        'mismatch',
        `${printable(content.name)} does not match: it should be ${String(size)} bytes long, and ${String(arrivals.bytes)} came.`,
      );
    this.size = size;
  }

  /** What `verify` compares with. */
  expect(digests: Digests): void {
    this.expected = digests;
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    const { handle, direct } = this.target;
    const size = this.size ?? 0;
    this.throwIfFailed();
    this.readBack.onProgress = onProgress;
    let actual: Digests;
    try {
      // Holes at the end, and the padding of the last sector.
      if (!direct || size % alignment !== 0 || (await handle.stat()).size !== size) await handle.truncate(size);
      const { mode, mtime, given } = this.content;
      if (given) this.lost = giveMetadata(handle.fd, given);
      await handle.chmod(modeWith(mode, given, this.lost));
      if (mtime !== undefined) setFileTime(handle.fd, given?.time ?? mtime);
      // A failed fsync is final: the kernel forgets which bytes it could not write, and a second one would succeed.
      await handle.sync();
      actual = await timeReadBack(this.readBack.finish(size));
    } catch (error) {
      throw this.fail(error);
    }
    const different = firstDifference(this.expected, actual);
    if (different !== undefined) throw mismatch(this.content.name, different, this.expected, actual);
  }

  /** Takes nothing more until `forget`; resolves when what was put is written. */
  seal(): Promise<void> {
    this.arrivals.seal();
    return this.written();
  }

  /** The digests of these segments, read back from the disk. */
  async digest(segments: readonly number[], segmentSize: number): Promise<readonly string[]> {
    const { handle, pool } = this.target;
    try {
      return await this.readBack.using(
        pool.digestSegments({
          fd: handle.fd,
          size: this.size ?? 0,
          segmentSize,
          segments,
          algorithm: this.content.algorithm,
        }),
      );
    } catch (error) {
      throw this.fail(error);
    }
  }

  /**
   * Makes durable what is written so far. Rejects with an earlier failure: a second fsync would succeed without having
   * written those bytes.
   */
  async flush(): Promise<void> {
    this.throwIfFailed();
    await this.target.handle.sync().catch((error: unknown) => {
      throw this.fail(error);
    });
  }

  appear(directory: Directory, base: string): Promise<boolean> {
    return linkIfFree(this.target.path, directory, base);
  }

  replace(directory: Directory, base: string): Promise<void> {
    return rename(this.target.path, systemPath(directory.at(base)));
  }

  async discard(): Promise<void> {
    await this.release();
    await rm(this.target.path, { force: true });
  }

  /** Closes the file, and leaves it where it is. Whoever still uses it gets `reason`. */
  async release(reason = discarded()): Promise<void> {
    this.fail(reason);
    this.readBack.stop();
    await Promise.allSettled([this.readBack.settled(), ...this.inFlight]);
    await this.target.handle.close();
  }

  private track(run: ByteRun, write: () => Promise<void>, lease?: Lease): void {
    const writing = write()
      .then(() => this.arrived(run))
      .catch((error: unknown) => void this.fail(error))
      .finally(() => {
        lease?.release();
        this.inFlight.delete(writing);
      });
    this.inFlight.add(writing);
  }

  private arrived(run: ByteRun): void {
    const { arrivals, readBack, size = 0 } = this;
    const before = arrivals.prefix;
    this.target.wrote(arrivals.arrived(run));
    if (arrivals.whole) this.wholeNow();
    if (arrivals.prefix > before && arrivals.prefix < size && !this.failure) readBack.follow(arrivals.prefix, size);
  }

  /** Makes the file as long as it will be. Once for all holes: later, it would cut off what is written behind them. */
  private stretch(): Promise<void> {
    if (this.size === undefined) return Promise.resolve();
    this.stretched ??= this.target.handle.truncate(this.size);
    return this.stretched;
  }

  private async writeZeros({ offset, length }: ByteRun): Promise<void> {
    for (let at = 0; at < length; at += pieceSize) {
      const lease = await this.target.memory.lease();
      try {
        lease.bytes.fill(0);
        await writeSectors(this.target, lease.bytes, offset + at, Math.min(pieceSize, length - at));
      } finally {
        lease.release();
      }
    }
  }

  /** Piece by piece, so that the reading back can follow, and zeros are left a hole. */
  private async writeCopy({ offset, length }: ByteRun, from: number, basis: BasisFile, fresh: boolean): Promise<void> {
    for (let at = 0; at < length; at += pieceSize) {
      const lease = await this.target.memory.lease();
      const bytes = lease.bytes.subarray(0, Math.min(pieceSize, length - at));
      try {
        this.throwIfFailed();
        await basis.read(bytes, from + at);
        if (fresh && isZero(bytes)) await this.stretch();
        else await writeSectors(this.target, lease.bytes, offset + at, bytes.length);
      } finally {
        lease.release();
      }
      this.arrived({ offset: offset + at, length: bytes.length });
    }
  }

  private throwIfFailed(): void {
    if (this.failure) throw this.failure;
  }

  private fail(error: unknown): TransferError {
    this.failure ??= diskError(error, this.content);
    this.readBack.wake();
    this.wholeNow();
    return this.failure;
  }
}
