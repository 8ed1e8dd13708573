import { rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { alignment, type AlignedMemory, type Lease } from '../aligned-memory';
import type { DigestPool, FileDigest } from '../digest-pool';
import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import type { Digests } from '../progress';
import { Coverage, pieceSize } from '../protocol/segment';
import { setFileTime } from '../system-calls';
import type { Directory } from './directory';
import { takeFreeName } from './final-name';
import { discarded, diskError, incomplete, mismatch, type StagedBytes } from './staged-bytes';
import { firstDifference } from './store';

/** As for a file that arrives in order; see `LargeBytes`. */
const mostBehind = 64 * 1024 * 1024;
const writesInFlight = 6;
const zeros = new Uint8Array(pieceSize);

export interface PartialContent {
  readonly name: EntryName;
  /** Bytes; undefined while nobody knows. */
  readonly size: number | undefined;
  readonly mode: number;
  readonly mtime: bigint;
  /** What will be computed while reading back. */
  readonly algorithm: keyof Digests;
}

export interface PartialBytesPlace {
  readonly path: string;
  readonly handle: FileHandle;
  readonly direct: boolean;
  readonly memory: AlignedMemory;
  readonly pool: DigestPool;
  /** Told of pieces that have reached the disk. */
  readonly wrote: () => void;
}

/**
 * The bytes of a file that arrives in pieces, in any order, some of them perhaps twice. They go past the page cache; the
 * reading back follows as far as there is no gap.
 */
export class PartialBytes implements StagedBytes {
  private readonly inFlight = new Set<Promise<void>>();
  private coverage: Coverage | undefined;
  private size: number | undefined;
  /** Bytes so far, where the size is not known. */
  private streamed = 0;
  private failure: TransferError | undefined;
  private reading: FileDigest | undefined;
  /** Readings whose threads may still use the descriptor. */
  private readonly readings = new Set<Promise<unknown>>();
  private verified = 0;
  private caughtUp: () => void = () => undefined;
  private wholeNow: () => void = () => undefined;
  private readBackProgress: ((done: number) => void) | undefined;
  private expected: Digests = {};

  constructor(
    private readonly content: PartialContent,
    private readonly place: PartialBytesPlace,
  ) {
    this.size = content.size;
    if (content.size !== undefined) this.coverage = new Coverage(content.size);
  }

  /** The segments that are here, written, as far as this session has put or kept them there. */
  get segments(): number[] {
    return this.coverage?.segments() ?? [];
  }

  /** Waits while too many writes are under way, or the reading back is too far behind for the disk to serve both. */
  async room(): Promise<void> {
    while (this.inFlight.size >= writesInFlight) await Promise.race(this.inFlight);
    while (this.reading && this.prefix - this.verified > mostBehind && !this.failure) {
      await new Promise<void>((resolve) => {
        this.caughtUp = resolve;
      });
    }
    this.throwIfFailed();
  }

  /** Takes the `length` bytes of a piece that begins at `offset`, and gives the memory back. Not waited for; `verify` does. */
  put(lease: Lease, offset: number, length: number): void {
    this.track(offset, length, () => this.writeOut(lease.bytes, offset, length), lease);
  }

  /** Takes a run of zeros; `fresh` where nothing was ever written there, so that it stays a hole. */
  zero(offset: number, length: number, fresh: boolean): void {
    this.track(offset, length, async () => {
      if (fresh) return;
      for (let at = 0; at < length; at += pieceSize) await this.writeZeros(offset + at, Math.min(pieceSize, length - at));
    });
  }

  /** These bytes are there already, and are as they should be. */
  keep(offset: number, length: number): void {
    this.arrived(offset, length);
  }

  /** Nothing counts as here any more, until it is kept or put again. */
  forget(): void {
    this.stopReading();
    if (this.size !== undefined) this.coverage = new Coverage(this.size);
  }

  /** Resolves when all of the file is here and written. `size` for a file whose size nobody knew before. Rejects with what failed. */
  async whole(size: number): Promise<void> {
    if (this.coverage === undefined) {
      await Promise.all(this.inFlight);
      this.throwIfFailed();
      if (this.streamed !== size) throw incomplete({ name: this.content.name, size }, this.streamed);
      this.size = size;
      this.coverage = new Coverage(size);
      this.coverage.add(0, size);
    }
    while (!this.failure && !this.coverage.whole) {
      await new Promise<void>((resolve) => {
        this.wholeNow = resolve;
      });
    }
    await Promise.all(this.inFlight);
    this.throwIfFailed();
  }

  /** What `verify` compares with. */
  expect(digests: Digests): void {
    this.expected = digests;
  }

  write(): Promise<number> {
    return Promise.reject(incomplete(this.content, 0));
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    const { handle, direct } = this.place;
    const size = this.size ?? 0;
    this.throwIfFailed();
    this.readBackProgress = onProgress;
    let actual: Digests;
    try {
      // Holes at the end, and the padding of the last sector.
      if (!direct || size % alignment !== 0 || (await handle.stat()).size !== size) await handle.truncate(size);
      await handle.chmod(this.content.mode);
      setFileTime(handle.fd, this.content.mtime);
      // A failed fsync is final: the kernel forgets which bytes it could not write, and a second one would succeed.
      await handle.sync();
      this.reading ??= this.startReading(0, size);
      this.reading.advance(size);
      actual = await this.reading.digests;
    } catch (error) {
      throw this.fail(error);
    }
    this.stopReading();
    const different = firstDifference(this.expected, actual);
    if (different !== undefined) throw mismatch(this.content.name, different, this.expected, actual);
  }

  /** The digests of these segments, read back from the disk. */
  async digest(segments: readonly number[], segmentSize: number): Promise<readonly string[]> {
    await Promise.all(this.inFlight);
    const { handle, pool } = this.place;
    try {
      const reading = pool.digestSegments({ fd: handle.fd, size: this.size ?? 0, segmentSize, segments, algorithm: this.content.algorithm });
      this.readings.add(reading);
      return await reading.finally(() => this.readings.delete(reading));
    } catch (error) {
      throw this.fail(error);
    }
  }

  /** Makes durable what is written by now. */
  async flush(): Promise<void> {
    try {
      await this.place.handle.sync();
    } catch (error) {
      throw this.fail(error);
    }
  }

  appear(directory: Directory, base: string): Promise<boolean> {
    return takeFreeName(this.place.path, directory, base);
  }

  replace(directory: Directory, base: string): Promise<void> {
    return rename(this.place.path, directory.at(base));
  }

  async discard(): Promise<void> {
    await this.release();
    await rm(this.place.path, { force: true });
  }

  /** Closes the file, and leaves it where it is. */
  async release(): Promise<void> {
    this.fail(discarded());
    this.stopReading();
    await Promise.allSettled([...this.readings, ...this.inFlight]);
    await this.place.handle.close();
  }

  private track(offset: number, length: number, write: () => Promise<void>, lease?: Lease): void {
    const writing = write()
      .then(() => this.arrived(offset, length))
      .catch((error: unknown) => void this.fail(error))
      .finally(() => {
        lease?.release();
        this.inFlight.delete(writing);
      });
    this.inFlight.add(writing);
  }

  private arrived(offset: number, length: number): void {
    if (this.coverage === undefined) {
      this.streamed += length;
      return;
    }
    const before = this.coverage.prefix;
    this.coverage.add(offset, length);
    this.place.wrote();
    if (this.coverage.whole) this.wholeNow();
    const { prefix } = this.coverage;
    if (prefix === before || this.failure || prefix === this.size) return;
    if (this.reading) this.reading.advance(prefix);
    else this.reading = this.startReading(prefix, this.size ?? 0);
  }

  private startReading(upTo: number, size: number): FileDigest {
    const { handle, pool } = this.place;
    this.verified = 0;
    const reading = pool.digestFile({
      fd: handle.fd,
      size,
      upTo,
      algorithms: [this.content.algorithm],
      onProgress: (done) => {
        this.verified = done;
        this.caughtUp();
        this.readBackProgress?.(done);
      },
    });
    const settled = reading.digests
      .catch((error: unknown) => {
        if (this.reading === reading) this.fail(error);
      })
      .finally(() => this.readings.delete(settled));
    this.readings.add(settled);
    return reading;
  }

  private stopReading(): void {
    this.reading?.cancel();
    this.reading = undefined;
    this.caughtUp();
  }

  /** O_DIRECT writes whole sectors; the end of the file is cut to size before it is flushed. */
  private async writeOut(bytes: Uint8Array, offset: number, length: number): Promise<void> {
    const { direct, handle } = this.place;
    const padded = direct ? Math.ceil(length / alignment) * alignment : length;
    bytes.fill(0, length, padded);
    for (let at = 0; at < padded; ) {
      // On a full disk the count is short and no error comes with it; that comes with the next try.
      const { bytesWritten } = await handle.write(bytes, at, padded - at, offset + at);
      const taken = direct ? bytesWritten - (bytesWritten % alignment) : bytesWritten;
      if (taken === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
      at += taken;
    }
  }

  private async writeZeros(offset: number, length: number): Promise<void> {
    const lease = await this.place.memory.lease();
    try {
      lease.bytes.set(zeros);
      await this.writeOut(lease.bytes, offset, length);
    } finally {
      lease.release();
    }
  }

  private get prefix(): number {
    return this.coverage?.prefix ?? 0;
  }

  private throwIfFailed(): void {
    if (this.failure) throw this.failure;
  }

  private fail(error: unknown): TransferError {
    this.failure ??= diskError(error, this.content);
    this.caughtUp();
    this.wholeNow();
    return this.failure;
  }
}
