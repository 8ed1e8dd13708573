import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { AlignedMemory, Lease } from '../aligned-memory';
import { alignment } from '../aligned-memory';
import { createDigest } from '../digest';
import type { DigestPool, FileDigest } from '../digest-pool';
import { errnoOf, TransferError } from '../errors';
import { printable } from '../name';
import type { Digests } from '../progress';
import { algorithmsOf, firstDifference, type NewFile } from './store';

const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants as typeof constants & { readonly O_DIRECT?: number };

/** Files up to this size are read back and hashed on the spot: a thread would cost more than the hash. */
export const smallFile = 64 * 1024;
/** Writes that may be on their way to the disk at once, for one file. */
const writesInFlight = 4;

/** What the staged files of one store share. */
export interface StageMemory {
  readonly small: AlignedMemory;
  readonly large: AlignedMemory;
}

export interface StagingPlace {
  /** The path of the staged file; it must not exist yet. */
  readonly path: string;
  /** Whether the disk takes O_DIRECT. */
  readonly direct: boolean;
  readonly memory: StageMemory;
  readonly pool: DigestPool;
}

/**
 * The bytes of one file on their way to the disk: written past the page cache from aligned memory, read back by the same
 * descriptor while later bytes still arrive.
 */
export class StagedBytes {
  private received = 0;
  private written = 0;
  /** Bytes behind the last aligned offset, kept until more of them make a whole sector. */
  private carry: Uint8Array = new Uint8Array(0);
  private readonly inFlight = new Set<Promise<void>>();
  private inOrder: Promise<void> = Promise.resolve();
  private failure: TransferError | undefined;
  private reading: FileDigest | undefined;
  private readBackProgress: ((done: number) => void) | undefined;

  private constructor(
    private readonly file: NewFile,
    private readonly place: StagingPlace,
    private readonly handle: FileHandle,
  ) {}

  static async create(file: NewFile, place: StagingPlace): Promise<StagedBytes> {
    const direct = place.direct ? (O_DIRECT ?? 0) : 0;
    const handle = await open(place.path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | direct, 0o600).catch((error: unknown) => {
      throw diskError(error, file);
    });
    return new StagedBytes(file, place, handle);
  }

  /** See `StagedFile.write`. */
  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    const memory = this.file.size <= smallFile ? this.place.memory.small : this.place.memory.large;
    while (this.inFlight.size >= writesInFlight) await Promise.race(this.inFlight);
    const lease = await memory.lease();
    let kept = false;
    try {
      if (this.failure) throw this.failure;
      lease.bytes.set(this.carry);
      const room = Math.min(lease.bytes.length - this.carry.length, this.file.size - this.received);
      const count = await fill(lease.bytes.subarray(this.carry.length, this.carry.length + room), () => memory.contended);
      if (this.failure) throw this.failure;
      kept = this.accept(lease, count);
      return count;
    } finally {
      if (!kept) lease.release();
    }
  }

  /** Makes the bytes durable, reads them all back and compares; see `StagedFile.verify`. */
  async verify(onProgress?: (done: number) => void): Promise<void> {
    const { file, handle } = this;
    if (this.received !== file.size) throw new TransferError('unexpected', `${String(file.size - this.received)} bytes of ${printable(file.name)} were never written.`);
    this.readBackProgress = onProgress;
    await this.inOrder;
    if (this.failure) throw this.failure;
    let actual: Digests;
    try {
      if (this.place.direct && file.size % alignment !== 0) await handle.truncate(file.size);
      await handle.chmod(0o666 & ~process.umask());
      // A failed fsync is final: the kernel forgets which bytes it could not write, and a second one would succeed.
      await handle.sync();
      actual = await this.readBack();
    } catch (error) {
      throw this.fail(error);
    }
    const different = firstDifference(file.digests, actual);
    if (different !== undefined) {
      throw this.fail(
        new TransferError('mismatch', `${printable(file.name)} does not match: its ${different} should be ${file.digests[different] ?? ''}, and is ${actual[different] ?? ''} on the disk.`),
      );
    }
  }

  /** Closes the file once nothing uses its descriptor any more. */
  async close(): Promise<void> {
    this.failure ??= new TransferError('interrupted', 'The file was discarded.');
    this.reading?.cancel();
    await this.reading?.digests.catch(() => undefined);
    await Promise.allSettled(this.inFlight);
    await handleClosed(this.handle);
  }

  stat(): Promise<BigIntStats> {
    return this.handle.stat({ bigint: true });
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
    for (let at = 0; at < padded; ) {
      // On a full disk the count is short and no error comes with it; that comes with the next try.
      const { bytesWritten } = await this.handle.write(lease.bytes, at, padded - at, offset + at);
      const taken = this.place.direct ? bytesWritten - (bytesWritten % alignment) : bytesWritten;
      if (taken === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
      at += taken;
    }
  }

  /** Lets the reading back follow the writes, so that only a short piece is left to be read when the last byte arrives. */
  private trail(upTo: number): void {
    const { size } = this.file;
    if (this.failure || size <= smallFile || upTo >= size) return;
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
      onProgress: (done) => this.readBackProgress?.(done),
    });
    reading.digests.catch(() => undefined);
    return reading;
  }

  private async readBack(): Promise<Digests> {
    const { file } = this;
    if (file.size > smallFile) {
      this.reading ??= this.startReading(0);
      this.reading.advance(file.size);
      return this.reading.digests;
    }
    const lease = await this.place.memory.small.lease();
    try {
      for (let at = 0; at < file.size; ) {
        const { bytesRead } = await this.handle.read(lease.bytes, at, lease.bytes.length - at, at);
        if (bytesRead === 0) throw new Error('the file is shorter than what was written');
        at += bytesRead;
      }
      const algorithms = algorithmsOf(file.digests);
      const digests = await Promise.all(algorithms.map((algorithm) => createDigest(algorithm)));
      for (const digest of digests) digest.update(lease.bytes.subarray(0, file.size));
      return Object.fromEntries(digests.map((digest, at) => [algorithms[at], digest.digest()]));
    } finally {
      lease.release();
    }
  }

  private fail(error: unknown): TransferError {
    this.failure ??= diskError(error, this.file);
    return this.failure;
  }
}

/** What a failure of the disk means for the file that was on its way there. */
export function diskError(error: unknown, file: { readonly name: string }): TransferError {
  if (error instanceof TransferError) return error;
  const name = printable(file.name);
  const cause = { cause: error };
  switch (errnoOf(error)) {
    case 'ENOSPC':
      return new TransferError('space', `The receiver's disk is full; ${name} was not stored.`, cause);
    case 'EDQUOT':
      return new TransferError('space', `The disk quota of the receiver is used up; ${name} was not stored.`, cause);
    case 'ENAMETOOLONG':
      return new TransferError('name', `${name} is too long a name for the receiver's disk.`, cause);
    default:
      return new TransferError('disk', `The receiver's disk failed; ${name} was not stored: ${error instanceof Error ? error.message : String(error)}.`, cause);
  }
}

async function handleClosed(handle: FileHandle): Promise<void> {
  if (handle.fd >= 0) await handle.close();
}
