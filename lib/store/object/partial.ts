import { TransferError } from '../../errors';
import { printable } from '../../name';
import type { Digests } from '../../progress';
import type { AlignedMemory, Lease } from '../../threads/aligned-memory';
import { ignored, trace } from '../../trace';
import { segmentSizeOf, smallFile } from '../../wire/segment';
import type { BasisSegment } from '../../wire/basis';
import type { OfferedFile, PartialFile, SegmentDigest, StoreUse } from '../session-store';
import type { Committed } from '../store';
import { refuseIfCondemned } from './condemned';
import { digestContent } from './contents';
import type { ObjectGround } from './ground';
import { PartialRecord, type ResumableFile } from './partial-record';
import { usualPartSize } from './part-memory';
import { fileRecord, metadataLost, neverPublished, sameContent } from './publish-file';
import { objectError } from './requests';
import { type EarlierUpload, ObjectUpload } from './upload';

/**
 * `PartialFile` in an object store: an upload in parts, which another receiver can go on with. See the contract for
 * each method; failures of the store are `disk` or `space`, and `size` what does not fit into an upload.
 */
export class ObjectPartial implements PartialFile {
  private upload: ObjectUpload;
  private verified: { readonly size: number; readonly digests: Digests } | undefined;
  private end: Promise<void> | undefined;

  private constructor(
    private readonly offer: OfferedFile,
    private readonly use: StoreUse,
    private readonly ground: ObjectGround,
    private readonly record: PartialRecord | undefined,
    earlier: EarlierUpload | undefined,
    private readonly ended: () => void,
  ) {
    this.upload = this.newUpload(earlier);
  }

  /** The unfinished file of this offer, or a new one. `ended` is called once, at the end of what this resolves with. */
  static async open(
    offer: OfferedFile,
    use: StoreUse,
    ground: ObjectGround,
    ended: () => void,
  ): Promise<ObjectPartial> {
    const resumable = resumableFile(offer, use);
    const record = resumable && new PartialRecord(ground.bucket, resumable);
    try {
      return new ObjectPartial(
        offer,
        use,
        ground,
        record,
        record && (await earlierUpload(record, offer, ground)),
        ended,
      );
    } catch (error) {
      throw objectError(error, `${printable(offer.name)} could not be staged`);
    }
  }

  get memory(): AlignedMemory {
    return this.ground.pieces;
  }

  /** What does not match is begun anew, since a part is never read again by itself. */
  held(): Promise<readonly SegmentDigest[]> {
    const { held } = this.upload;
    if (this.verified === undefined) return Promise.resolve(held);
    this.verified = undefined;
    this.upload = this.newUpload(undefined);
    return Promise.resolve([]);
  }

  /** What is there is an object by itself, and none is made of a part of it. */
  basis(): Promise<readonly BasisSegment[]> {
    return Promise.resolve([]);
  }

  room(): Promise<void> {
    return this.upload.room();
  }

  put(lease: Lease, offset: number, length: number): boolean {
    const taken = this.upload.put(lease.bytes.subarray(0, length), offset);
    lease.release();
    return taken;
  }

  zero(offset: number, length: number): boolean {
    return this.upload.zero(offset, length);
  }

  copy(): boolean {
    throw new TransferError('bad-header', `There is nothing to be copied for ${printable(this.offer.name)}.`);
  }

  keep(first: number, count: number): void {
    const { size = 0, name } = this.offer;
    const known = new Set(this.upload.held.map(({ segment }) => segment));
    for (let segment = first; segment < first + count; segment++)
      if (!known.has(segment))
        throw new TransferError('bad-header', `The segment ${String(segment)} of ${printable(name)} is not here.`);
    const offset = first * segmentSizeOf(size);
    this.upload.keep(offset, Math.min(size - offset, count * segmentSizeOf(size)));
  }

  whole(size: number): Promise<void> {
    return this.upload.whole(size);
  }

  async verify(size: number, digests: Digests, onProgress?: (done: number) => void): Promise<void> {
    const { name } = this.offer;
    const { algorithm } = this.use;
    await this.whole(size);
    this.verified = { size, digests };
    try {
      await this.upload.complete();
      if (this.ground.trusts) return;
      const content = size === 0 ? undefined : { key: this.upload.key, offset: 0 };
      const read = await digestContent(this.ground.bucket, { size, content }, algorithm, onProgress);
      const expected = digests[algorithm] ?? '';
      if (read !== expected)
        throw new TransferError(
          'mismatch',
          `${printable(name)} does not match: its ${algorithm} should be ${expected}, and is ${read}.`,
        );
    } catch (error) {
      if (error instanceof TransferError && error.code === 'mismatch') await this.removeAll();
      throw objectError(error, `${printable(name)} could not be read back`);
    }
  }

  async commit(): Promise<Committed> {
    const { verified } = this;
    if (!verified) throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    if (this.end) throw new TransferError('interrupted', 'The file was discarded.');
    const publishing = this.publish(verified);
    this.end = this.finishWith(async () => {
      const unused = await publishing.then(({ outcome }) => outcome === 'identical', neverPublished);
      await this.upload.stop();
      // Where nobody knows whether they got their name, the bytes are left; so they are where `remove` would leave
      // them.
      if (unused && this.record === undefined) await this.ground.bucket.delete(this.upload.key);
      await this.record?.forget();
    }).catch(ignored('what is left is collected later'));
    const committed = await publishing.catch((error: unknown) => {
      throw objectError(error, `${printable(this.offer.name)} could not be stored`);
    });
    await this.end;
    return committed;
  }

  discard(): Promise<void> {
    this.end ??= this.finishWith(() => this.removeAll());
    return this.end;
  }

  suspend(): Promise<void> {
    if (this.record === undefined) return this.discard();
    this.end ??= this.finishWith(() => this.upload.stop());
    return this.end;
  }

  private async publish({ size, digests }: { readonly size: number; readonly digests: Digests }): Promise<Committed> {
    const { offer, use, ground, upload } = this;
    const content = size === 0 ? undefined : { key: upload.key, offset: 0 };
    const record = fileRecord({ ...offer, size }, use, digests, content, ground);
    if (ground.contents === 'names') await refuseIfCondemned(ground.bucket, upload.key, upload.fresh);
    const { path, outcome } = await ground.names.publish(offer.name, record, use.ifExists, (existing) =>
      sameContent(existing, { size, digests }, use, ground),
    );
    const lost = outcome === 'identical' ? [] : metadataLost(offer, use);
    return { path, outcome, verified: ground.verified, ...(lost.length > 0 ? { lost } : {}) };
  }

  private newUpload(earlier: EarlierUpload | undefined): ObjectUpload {
    const { bucket, contents, parts } = this.ground;
    const { name, size } = this.offer;
    const { algorithm } = this.use;
    return new ObjectUpload({ name, size, algorithm, bucket, memory: parts, contents, record: this.record }, earlier);
  }

  private async removeAll(): Promise<void> {
    await this.upload.remove().catch(ignored('what is left is collected later'));
    await this.record?.forget();
  }

  private async finishWith(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } finally {
      this.ended();
    }
  }
}

/** A file of more than one part, which can be told from others when it is offered again. */
function resumableFile({ name, size, mtime }: OfferedFile, { peer, algorithm }: StoreUse): ResumableFile | undefined {
  if (size === undefined || mtime === undefined || size <= Math.max(smallFile, usualPartSize)) return undefined;
  return { peer, name, size, mtime, algorithm };
}

/** What the store has of an earlier try, whoever received it. */
async function earlierUpload(
  record: PartialRecord,
  { size }: OfferedFile,
  { bucket }: ObjectGround,
): Promise<EarlierUpload | undefined> {
  const upload = await record.find();
  if (upload === undefined) return undefined;
  const [parts, digests] = await Promise.all([bucket.partsOf(upload.key, upload.upload), record.parts(upload)]);
  const completed = parts === undefined && (await bucket.sizeOf(upload.key)) === size;
  if (parts === undefined && !completed) {
    trace('the store has lost the upload %s', upload.key);
    return undefined;
  }
  return { upload, digests, completed, parts: new Map((parts ?? []).map((part) => [part.number, part])) };
}
