import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { AlignedMemory, alignment, type Lease } from '../../threads/aligned-memory';
import type { DigestPool, FileDigest } from '../../digest/digest-pool';
import type { TransferError } from '../../errors';
import type { Digests } from '../../progress';
import { pieceSize } from '../../wire/segment';
import type { Directory } from './directory';
import { takeFreeName } from './final-name';
import { checkDigests, discarded, diskError, incomplete, type StagedBytes } from './staged-bytes';
import { algorithmsOf, type NewFile } from '../store';
import { systemPath } from '../../name-bytes';
import { ignored } from '../../trace';
import { timeReadBack } from './read-back-time';

const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants as typeof constants & {
  readonly O_DIRECT?: number;
};

/**
 * How far the reading back may be behind the writes, in bytes. Let run ahead, the writes would keep the disk busy while
 * the hash
 * waits for it, and later the hash would keep everybody waiting while the disk is idle.
 */
const mostBehind = 64 * 1024 * 1024;
/** What counts as no time, in ms. */
const quickFill = 50;
/** Writes that may be on their way to the disk at once, for one file. */
const writesInFlight = 4;

/**
 * The memory through which the large files of one store go to its disk. Long pieces are for senders that fill them in
 * no
 * time: each write costs a thread's waking and a request to the device, whatever its length. Everybody else shares the
 * short ones.
 */
export class LargeMemory {
  readonly short = new AlignedMemory(1024 * 1024, 16);
  readonly long = new AlignedMemory(4 * 1024 * 1024, 5);
  /** For the pieces of sessions. */
  readonly pieces = new AlignedMemory(pieceSize, 24);
}

export interface LargePlace {
  /** The path of the staged file; it must not exist yet. */
  readonly path: string;
  /** Whether the disk takes O_DIRECT. */
  readonly direct: boolean;
  /** Told of bytes that have reached the disk, and so are no longer free there. */
  readonly wrote: (bytes: number) => void;
  /** The permissions of the final file. */
  readonly mode: number;
  readonly memory: LargeMemory;
  readonly pool: DigestPool;
}

/**
 * The bytes of one file on their way to the disk: written past the page cache from aligned memory, read back by the
 * same
 * descriptor while later bytes still arrive.
 */
export class LargeBytes implements StagedBytes {
  private received = 0;
  /** The sender filled the last piece in no time. */
  private quick = false;
  private written = 0;
  /** Bytes behind the last aligned offset, kept until more of them make a whole sector. */
  private carry: Uint8Array = new Uint8Array(0);
  private readonly inFlight = new Set<Promise<void>>();
  private inOrder: Promise<void> = Promise.resolve();
  private failure: TransferError | undefined;
  private reading: FileDigest | undefined;
  /** Bytes read back so far. */
  private verified = 0;
  private caughtUp: () => void = () => undefined;
  private readBackProgress: ((done: number) => void) | undefined;

  private constructor(
    private readonly file: NewFile,
    private readonly place: LargePlace,
    private readonly handle: FileHandle,
  ) {}

  static async create(file: NewFile, place: LargePlace): Promise<LargeBytes> {
    const direct = place.direct ? (O_DIRECT ?? 0) : 0;
    const handle = await open(place.path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | direct, 0o600).catch(
      (error: unknown) => {
        throw diskError(error, file);
      },
    );
    return new LargeBytes(file, place, handle);
  }

  /** See `StagedFile.write`. */
  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    const { memory } = this.place;
    await this.diskCaughtUp();
    const lease = (this.quick ? memory.long.tryLease() : undefined) ?? (await memory.short.lease());
    let kept = false;
    try {
      this.throwIfFailed();
      lease.bytes.set(this.carry);
      const room = Math.min(lease.bytes.length - this.carry.length, this.file.size - this.received);
      const began = performance.now();
      const count = await fill(
        lease.bytes.subarray(this.carry.length, this.carry.length + room),
        () => memory.short.contended,
      );
      this.quick = count === room && performance.now() - began < quickFill;
      this.throwIfFailed();
      kept = this.accept(lease, count);
      return count;
    } finally {
      if (!kept) lease.release();
    }
  }

  /** Makes the bytes durable, reads them all back and compares; see `StagedFile.verify`. */
  async verify(onProgress?: (done: number) => void): Promise<void> {
    const { file, handle } = this;
    this.throwIfFailed();
    if (this.received !== file.size) throw incomplete(file, this.received);
    this.readBackProgress = onProgress;
    await this.inOrder;
    this.throwIfFailed();
    let actual: Digests;
    try {
      if (this.place.direct && file.size % alignment !== 0) await handle.truncate(file.size);
      await handle.chmod(this.place.mode);
      // A failed fsync is final: the kernel forgets which bytes it could not write, and a second one would succeed.
      await handle.sync();
      actual = await timeReadBack(this.readBack());
    } catch (error) {
      throw this.fail(error);
    }
    try {
      checkDigests(file, actual);
    } catch (error) {
      throw this.fail(error);
    }
  }

  async appear(directory: Directory, base: string): Promise<boolean> {
    return takeFreeName(this.place.path, directory, base);
  }

  async replace(directory: Directory, base: string): Promise<void> {
    await rename(this.place.path, systemPath(directory.at(base)));
  }

  /** The descriptor is closed only when no thread uses it any more: its number could be another file's by then. */
  async discard(): Promise<void> {
    this.fail(discarded());
    this.reading?.cancel();
    await this.reading?.digests.catch(ignored('verify tells'));
    await Promise.allSettled(this.inFlight);
    try {
      await this.handle.close();
    } finally {
      // After a rename it is gone already.
      await rm(this.place.path, { force: true });
    }
  }

  /** Sends what `lease` holds towards the disk; false when it is all carried over instead. */
  private accept(lease: Lease, count: number): boolean {
    this.received += count;
    const have = this.carry.length + count;
    const last = this.received === this.file.size;
    const length = last || !this.place.direct ? have : have - (have % alignment);
    this.carry = lease.bytes.slice(length, have);
    if (length === 0) return false;
    const offset = this.written;
    this.written += length;
    const writing = this.writeOut(lease, length, offset)
      .then(() => this.place.wrote(length))
      .catch((error: unknown) => void this.fail(error))
      .finally(() => {
        lease.release();
        this.inFlight.delete(writing);
      });
    this.inFlight.add(writing);
    this.inOrder = this.inOrder.then(() => writing).then(() => this.trail(offset + length));
    return true;
  }

  /** O_DIRECT writes whole sectors; the end of the file is cut to size before it is flushed. */
  private async writeOut(lease: Lease, length: number, offset: number): Promise<void> {
    const padded = this.place.direct ? Math.ceil(length / alignment) * alignment : length;
    lease.bytes.fill(0, length, padded);
    for (let at = 0; at < padded;) {
      // On a full disk the count is short and no error comes with it; that comes with the next try.
      const { bytesWritten } = await this.handle.write(lease.bytes, at, padded - at, offset + at);
      const taken = this.place.direct ? bytesWritten - (bytesWritten % alignment) : bytesWritten;
      if (taken === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
      at += taken;
    }
  }

  /**
   * Lets the reading back follow the writes, so that only a short piece is left to be read when the last byte arrives.
   */
  private trail(upTo: number): void {
    const { size } = this.file;
    if (this.failure || upTo >= size) return;
    if (this.reading) this.reading.advance(upTo);
    else this.reading = this.startReading(upTo);
  }

  private startReading(upTo: number): FileDigest {
    const { file, handle, place } = this;
    const reading = place.pool.digestFile({
      fd: handle.fd,
      size: file.size,
      upTo,
      algorithms: algorithmsOf(file.digests),
      onProgress: (done) => this.readBackTo(done),
    });
    reading.digests.catch((error: unknown) => void this.fail(error));
    return reading;
  }

  /** Waits while too many writes are under way, or the reading back is too far behind for the disk to serve both. */
  private async diskCaughtUp(): Promise<void> {
    while (this.inFlight.size >= writesInFlight) await Promise.race(this.inFlight);
    while (this.written - this.verified > mostBehind && !this.failure) {
      await new Promise<void>((resolve) => {
        this.caughtUp = resolve;
      });
    }
  }

  private readBackTo(done: number): void {
    this.verified = done;
    this.caughtUp();
    this.readBackProgress?.(done);
  }

  private readBack(): Promise<Digests> {
    this.reading ??= this.startReading(0);
    this.reading.advance(this.file.size);
    return this.reading.digests;
  }

  private throwIfFailed(): void {
    if (this.failure) throw this.failure;
  }

  private fail(error: unknown): TransferError {
    this.failure ??= diskError(error, this.file);
    this.caughtUp();
    return this.failure;
  }
}
