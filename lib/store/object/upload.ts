import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import { ignored } from '../../trace';
import { pieceSize, segmentSizeOf } from '../../wire/segment';
import type { SegmentDigest } from '../session-store';
import { type Bucket, mostParts, type UploadedPart } from './bucket';
import { FreshBytes } from './condemned';
import { type ContentOwner, newContentKey } from './contents';
import { type PartMemory, usualPartSize } from './part-memory';
import type { PartDigests, PartialRecord, UploadRecord } from './partial-record';
import { objectError } from './requests';

const largestPart = 64 * 1024 * 1024;
/** Where nobody knows how many bytes there will be. */
const streamPartSize = 16 * 1024 * 1024;
/** The largest file that fits into an upload, in bytes: 625 GiB. */
export const largestObject = mostParts * largestPart;

/** What of a file the store has from an earlier try. */
export interface EarlierUpload {
  readonly upload: UploadRecord;
  readonly parts: ReadonlyMap<number, UploadedPart>;
  readonly digests: PartDigests;
  /** Whether the parts were made an object already. */
  readonly completed: boolean;
}

/** A part of which some pieces are here. */
interface OpenPart {
  readonly memory: Uint8Array;
  /** In bytes. */
  filled: number;
}

export interface UploadOptions {
  readonly name: string;
  /** In bytes; undefined while nobody knows. */
  readonly size: number | undefined;
  readonly algorithm: DigestAlgorithm;
  readonly bucket: Bucket;
  readonly memory: PartMemory;
  readonly contents: ContentOwner;
  /** Absent for what nobody can go on with. */
  readonly record: PartialRecord | undefined;
}

/** `open` for pieces, `complete` once it is one object, `over` after its end. */
type ObjectUploadState = 'open' | 'complete' | 'over';

/**
 * The bytes of one large file that becomes an object: pieces in any order become parts, each of which is sent as soon
 * as it is whole. What is final for the file is `disk`, `space`, `size`, or `interrupted` once it was stopped.
 */
export class ObjectUpload {
  readonly key: string;
  /** Absent for bytes of an earlier try: nobody knows since when those are there. */
  readonly fresh: FreshBytes | undefined;
  private readonly partSize: number;
  private size: number | undefined;
  private state: ObjectUploadState = 'open';
  /** One bit for each piece that is here. */
  private pieces = new Uint8Array(64);
  private covered = 0;
  private readonly open = new Map<number, OpenPart>();
  /** Bytes of parts of the earlier try that are as they should be. */
  private readonly kept = new Map<number, number>();
  private readonly done = new Map<number, UploadedPart>();
  private readonly shipping = new Set<Promise<void>>();
  private zeroing: Promise<void> = Promise.resolve();
  private upload: Promise<string> | undefined;
  private failure: TransferError | undefined;
  /** A part of the earlier try turned out to be another one: it cannot be read, so that nothing of it can be used. */
  private spoilt = false;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly options: UploadOptions,
    private readonly earlier?: EarlierUpload,
  ) {
    this.size = options.size;
    this.key = earlier?.upload.key ?? newContentKey(options.contents);
    this.fresh = earlier ? undefined : new FreshBytes();
    this.partSize = earlier?.upload.partSize ?? partSizeOf(options.size);
    if (earlier) this.upload = Promise.resolve(earlier.upload.upload);
  }

  /** The segments that the store has from an earlier try. */
  get held(): SegmentDigest[] {
    const { earlier, perPart } = this;
    const inOrder = [...(earlier?.digests ?? [])].sort(([one], [other]) => one - other);
    return inOrder.flatMap(([number, digests]) =>
      earlier?.completed || earlier?.parts.has(number)
        ? digests.map((digest, at) => ({ segment: (number - 1) * perPart + at, digest }))
        : [],
    );
  }

  /** Waits until a piece may come. Rejects with what is final for this file. */
  async room(): Promise<void> {
    await this.options.memory.room();
    this.throwIfFailed();
  }

  /** Copies a piece. False if it is here already, or nothing is taken any more. */
  put(bytes: Uint8Array, offset: number): boolean {
    if (this.mark(offset, bytes.length).length === 0) return false;
    this.fill(offset, bytes.length, (memory, at) => memory.set(bytes, at));
    return true;
  }

  /** The same for a run of zeros. */
  zero(offset: number, length: number): boolean {
    const fresh = this.mark(offset, length);
    this.zeroing = this.zeroing.then(async () => {
      for (const at of fresh) {
        await this.options.memory.room();
        if (this.isOver || this.failure) return;
        const size = Math.min(pieceSize, offset + length - at);
        this.fill(at, size, (memory, from) => memory.fill(0, from, from + size));
      }
    });
    return fresh.length > 0;
  }

  /** These bytes of the earlier try are as they should be. */
  keep(offset: number, length: number): void {
    for (const at of this.mark(offset, length)) {
      const number = this.partAt(at);
      this.kept.set(number, (this.kept.get(number) ?? 0) + Math.min(pieceSize, offset + length - at));
    }
    for (const [number, bytes] of this.kept) {
      const part = this.earlier?.parts.get(number);
      if (part && bytes === this.lengthOf(number)) this.done.set(number, part);
    }
    this.wake();
  }

  /** Resolves once all `size` bytes are in the store. Rejects with what is final for this file. */
  async whole(size: number): Promise<void> {
    this.size ??= size;
    if (size > largestObject) throw tooLarge(this.options.name);
    for (const number of this.open.keys()) this.shipIfWhole(number);
    for (;;) {
      this.throwIfFailed();
      if (this.covered >= size && this.shipping.size === 0 && this.open.size === 0) return;
      if (this.covered >= size && this.shipping.size > 0) await Promise.race(this.shipping);
      else if (this.covered >= size && this.spoilt) return;
      else await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  /** After `whole`: makes it one object. Rejects with `mismatch` where what came does not fit what was kept. */
  async complete(): Promise<void> {
    if (this.spoilt)
      throw new TransferError('mismatch', `${printable(this.options.name)} does not go on where an earlier try ended.`);
    const upload = await this.upload;
    if (upload !== undefined && this.earlier?.completed !== true)
      await this.options.bucket.completeUpload(
        this.key,
        upload,
        [...this.done.values()].sort((a, b) => a.number - b.number),
        this.size ?? 0,
      );
    this.state = 'complete';
  }

  /** Takes nothing more; resolves once nothing is on its way. */
  async stop(reason = discarded()): Promise<void> {
    this.failure ??= reason;
    this.state = 'over';
    this.wake();
    await this.zeroing;
    await Promise.all(this.shipping);
    for (const { memory } of this.open.values()) this.options.memory.giveBack(memory);
    this.open.clear();
  }

  /**
   * Removes from the store what nobody else can count on. Where others can go on with it, at another receiver, one of
   * them may have made an object of it and given that a name: it stays, and is collected if nothing needs it.
   */
  async remove(): Promise<void> {
    const { bucket, record } = this.options;
    await this.stop();
    const upload = await this.upload?.catch(ignored('an upload that did not begin leaves nothing'));
    if (typeof upload === 'string') await bucket.abortUpload(this.key, upload);
    if (record === undefined) await bucket.delete(this.key);
  }

  private get isOver(): boolean {
    return this.state === 'over';
  }

  /** Segments of a part. */
  private get perPart(): number {
    return this.partSize / segmentSizeOf(this.options.size ?? 0);
  }

  private partAt(offset: number): number {
    return Math.floor(offset / this.partSize) + 1;
  }

  /** How long a part is in the end; undefined while nobody knows. */
  private lengthOf(number: number): number | undefined {
    return this.size === undefined ? undefined : Math.min(this.partSize, this.size - (number - 1) * this.partSize);
  }

  /** Counts pieces as here. Gives the offsets of those that were not; none where nothing is taken any more. */
  private mark(offset: number, length: number): number[] {
    if (this.state !== 'open' || this.failure) return [];
    const [first, end] = [Math.floor(offset / pieceSize), Math.ceil((offset + length) / pieceSize)];
    if (end > this.pieces.length * 8) {
      const more = new Uint8Array(Math.max(Math.ceil(end / 8), this.pieces.length * 2));
      more.set(this.pieces);
      this.pieces = more;
    }
    const fresh: number[] = [];
    for (let piece = first; piece < end; piece++) {
      const bit = 1 << (piece & 7);
      if (((this.pieces[piece >> 3] ?? 0) & bit) !== 0) continue;
      this.pieces[piece >> 3] = (this.pieces[piece >> 3] ?? 0) | bit;
      this.covered += Math.min(pieceSize, offset + length - piece * pieceSize);
      fresh.push(piece * pieceSize);
    }
    return fresh;
  }

  private fill(offset: number, length: number, write: (memory: Uint8Array, at: number) => void): void {
    const number = this.partAt(offset);
    if (number > mostParts) {
      this.fail(tooLarge(this.options.name));
      return;
    }
    // What was kept of a part cannot be read yet, and a part is sent as a whole.
    if (this.kept.has(number) || this.earlier?.completed) this.spoilt = true;
    const part = this.open.get(number) ?? { memory: this.options.memory.take(this.partSize), filled: 0 };
    this.open.set(number, part);
    write(part.memory, offset - (number - 1) * this.partSize);
    part.filled += length;
    this.shipIfWhole(number);
    this.wake();
  }

  private shipIfWhole(number: number): void {
    const part = this.open.get(number);
    const length = this.lengthOf(number);
    const { memory } = this.options;
    if (part === undefined || (part.filled !== (length ?? this.partSize) && !this.spoilt)) return;
    this.open.delete(number);
    if (this.spoilt) {
      memory.giveBack(part.memory);
      return;
    }
    const bytes = part.memory.subarray(0, part.filled);
    memory.leave(bytes.length);
    const shipping = this.ship(number, bytes)
      .catch((error: unknown) => this.fail(objectError(error, `${printable(this.options.name)} could not be stored`)))
      .finally(() => {
        memory.arrived(bytes.length);
        memory.giveBack(part.memory);
        this.shipping.delete(shipping);
        this.wake();
      });
    this.shipping.add(shipping);
  }

  private async ship(number: number, bytes: Uint8Array): Promise<void> {
    const { bucket, record, size, algorithm } = this.options;
    const alone = this.size !== undefined && this.size <= this.partSize;
    if (alone && this.upload === undefined) {
      await bucket.put(this.key, bytes);
      return;
    }
    const upload = await (this.upload ??= this.begin());
    this.done.set(number, await bucket.putPart(this.key, upload, number, bytes));
    if (record === undefined || size === undefined) return;
    const digestOf = await createDigestOf(algorithm);
    const segmentSize = segmentSizeOf(size);
    const digests: string[] = [];
    for (let at = 0; at < bytes.length; at += segmentSize) digests.push(digestOf(bytes.subarray(at, at + segmentSize)));
    await record.add({ key: this.key }, number, digests);
  }

  private async begin(): Promise<string> {
    const { bucket, record } = this.options;
    const upload = await bucket.beginUpload(this.key);
    await record?.begin({ key: this.key, upload, partSize: this.partSize });
    return upload;
  }

  private fail(error: TransferError): void {
    this.failure ??= error;
    this.wake();
  }

  private throwIfFailed(): void {
    if (this.failure) throw this.failure;
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

/** Whole segments of a file, so that what is held can be told by them. */
function partSizeOf(size: number | undefined): number {
  if (size === undefined) return streamPartSize;
  const segment = segmentSizeOf(size);
  const least = Math.ceil(size / mostParts / segment) * segment;
  return Math.max(usualPartSize, segment, least);
}

function tooLarge(name: string): TransferError {
  return new TransferError('size', `${printable(name)} is larger than an object store takes from here: 625 GiB.`);
}

function discarded(): TransferError {
  return new TransferError('interrupted', 'The file was discarded.');
}
