import { randomBytes } from 'node:crypto';
import { asTransferError, TransferError } from '../errors';
import { type EntryName, printable } from '../name';
import type { FileReceived } from '../progress';
import { Coverage, pieceSize, segmentSizeOf } from '../wire/segment';
import type { FileEntry } from '../wire/session-list';
import { LargeFile, type LargeEnd } from './large-file';
import { payloadOf, type PayloadSource } from './payload';
import { receivedOf } from './receiving';
import type { AdmittedUpload, UploadOffer, UploadVisit } from './upload-visit';

/** What became of an upload: it is stored, or why not. */
export type UploadEnd = FileReceived | TransferError;

/** A run of slices: the first, and how many. */
export type SliceRun = readonly [first: number, count: number];

/** The length of a slice, but the last, in bytes; more where a file has segments that are longer. */
export const usualSlice = 8 * 1024 * 1024;

/**
 * `open` for slices, `closed` once all of them were sent, and `answered` with what became of it; `over` where it was
 * given up.
 */
type UploadState =
  | { readonly state: 'open' }
  | { readonly state: 'closed' | 'answered'; readonly digest: string; readonly end: Promise<UploadEnd> }
  | { readonly state: 'over'; readonly why: TransferError };

/**
 * A file that is uploaded in slices, into a partial file of the store like a large file of a session (`LargeFile`).
 * Bytes of an earlier upload are believed until the whole file is compared with its digest; if that fails, none are
 * kept.
 */
export class Upload {
  /** Not to be guessed. */
  readonly id = randomBytes(16).toString('hex');
  readonly sliceSize: number;
  readonly entry: FileEntry & { readonly size: number };
  private state: UploadState = { state: 'open' };
  private readonly coverage: Coverage;
  /** Slices that are being taken. */
  private taking = 0;
  private touchedAt = performance.now();

  private constructor(
    readonly visit: UploadVisit,
    private readonly admitted: AdmittedUpload,
    private readonly file: LargeFile,
    /** Who brings it. */
    public page: string,
  ) {
    const { entry } = admitted;
    const { size = 0 } = entry;
    this.entry = { ...entry, size };
    this.sliceSize = Math.max(usualSlice, segmentSizeOf(size));
    this.coverage = new Coverage(size);
  }

  /** Opens what is here of it already. Rejects with what is final for this file, which has given back its room. */
  static async open(visit: UploadVisit, admitted: AdmittedUpload, page: string): Promise<Upload> {
    const { entry, room, wanted } = admitted;
    try {
      const partial = await visit.store.partial(entry, undefined);
      const offer = { entry, room, unlessSame: wanted.unlessSame, link: undefined };
      const file = new LargeFile(offer, partial, visit.on, visit.waits, visit.flow);
      const upload = new Upload(visit, admitted, file, page);
      await upload.keep();
      return upload;
    } catch (error) {
      room.settle(false);
      throw asTransferError(error, 'disk', 'The file could not be staged');
    }
  }

  get name(): EntryName {
    return this.entry.name;
  }

  /** All of its slices are here. */
  get isWhole(): boolean {
    return this.coverage.whole;
  }

  /** Slices may still come. */
  get isOpen(): boolean {
    return this.state.state === 'open';
  }

  /** Nothing of it happens any more. */
  get hasEnded(): boolean {
    return this.state.state === 'answered' || this.state.state === 'over';
  }

  /** Ms since it was last used. */
  get idleFor(): number {
    return this.taking > 0 ? 0 : performance.now() - this.touchedAt;
  }

  /** Whether this is the same file, as far as can be told before all of it is here. */
  isOf({ size, mtime }: Pick<UploadOffer, 'size' | 'mtime'>): boolean {
    return this.entry.size === size && this.entry.mtime === mtime;
  }

  /** The slices that need not be sent. */
  held(): SliceRun[] {
    this.touchedAt = performance.now();
    const runs: [number, number][] = [];
    for (let slice = 0; slice * this.sliceSize < this.entry.size; slice++) {
      if (!this.has(slice)) continue;
      const last = runs.at(-1);
      if (last && last[0] + last[1] === slice) last[1]++;
      else runs.push([slice, 1]);
    }
    return runs;
  }

  /** How long a slice is, in bytes. Throws `bad-header` where there is none of this number. */
  lengthOf(slice: number): number {
    const offset = slice * this.sliceSize;
    if (slice < 0 || offset >= this.entry.size)
      throw new TransferError('bad-header', `${printable(this.name)} has no slice ${String(slice)}.`);
    return Math.min(this.sliceSize, this.entry.size - offset);
  }

  /**
   * Takes a slice, which is all of `body`; what came of one that is cut off is kept as far as it is whole pieces.
   * Rejects like `body`, with `connection-lost` where this is over, and with what is final for this file.
   */
  async take(slice: number, body: PayloadSource): Promise<void> {
    const length = this.lengthOf(slice);
    const begin = slice * this.sliceSize;
    this.taking++;
    try {
      for (let taken = 0; taken < length; taken += pieceSize)
        await this.piece(begin + taken, Math.min(pieceSize, length - taken), body);
    } finally {
      this.taking--;
      this.touchedAt = performance.now();
    }
  }

  /**
   * Reads the whole file back and stores it. A second call gets the same outcome. Throws `bad-header` where a slice is
   * missing, and `connection-lost` where the upload is over.
   */
  close(digest: string): Promise<UploadEnd> {
    const { state } = this;
    if (state.state === 'over') throw state.why;
    if (state.state !== 'open') return state.digest === digest ? state.end : Promise.resolve(this.mismatch());
    if (!this.coverage.whole)
      throw new TransferError('bad-header', `${printable(this.name)} was closed, and slices of it lack.`);
    const end = this.visit
      .during(() => this.finish(digest))
      .finally(() => {
        this.state = { state: 'answered', digest, end };
      });
    this.state = { state: 'closed', digest, end };
    return end;
  }

  /** Gives it up; nothing of it is kept. */
  discard(): void {
    if (this.state.state !== 'open') return;
    this.state = { state: 'over', why: gone() };
    this.file.discard();
    this.admitted.room.settle(false);
    this.visit.tell(new TransferError('stopped', `${printable(this.name)} was given up.`, { hint: '' }), this.name);
  }

  /** Keeps what has arrived for the next upload of the same file. One that was closed is finished. */
  async suspend(why = leftAlone(this.name)): Promise<void> {
    if (this.state.state === 'closed') await this.state.end;
    if (this.state.state !== 'open') return;
    this.state = { state: 'over', why: gone() };
    await this.file.suspend();
    this.admitted.room.suspend();
    this.visit.tell(why, this.name);
  }

  private has(slice: number): boolean {
    const first = (slice * this.sliceSize) / pieceSize;
    const end = Math.ceil((slice * this.sliceSize + this.lengthOf(slice)) / pieceSize);
    for (let piece = first; piece < end; piece++) if (!this.coverage.has(piece)) return false;
    return true;
  }

  /** Believes what is held: the digest of the whole file tells whether that was right. */
  private async keep(): Promise<void> {
    const { size } = this.entry;
    const segmentSize = segmentSizeOf(size);
    const question = await this.file.ask();
    for (const { segment } of question?.held ?? []) {
      this.file.keep({ type: 'keep', file: this.entry.file, first: segment, count: 1 });
      this.coverage.add(segment * segmentSize, Math.min(segmentSize, size - segment * segmentSize));
    }
  }

  private async piece(offset: number, size: number, body: PayloadSource): Promise<void> {
    if (this.state.state === 'over') throw this.state.why;
    await this.visit.pace.next();
    const { file } = this.entry;
    const segment = { type: 'segment', file, offset, size, zero: false } as const;
    const failure = await this.file.segment(segment, payloadOf(body, { size }, this.visit.waits));
    if (failure) throw this.refuse(failure);
    // It may have been given up meanwhile.
    if (this.isOver) throw gone();
    this.coverage.add(offset, size);
  }

  private get isOver(): boolean {
    return this.state.state === 'over';
  }

  /** The end of this file, once. */
  private refuse(failure: TransferError): TransferError {
    if (this.state.state === 'over') return this.state.why;
    this.file.discard();
    this.admitted.room.settle(false);
    const reported = this.visit.tell(failure, this.name);
    this.state = { state: 'over', why: reported };
    return reported;
  }

  private async finish(digest: string): Promise<UploadEnd> {
    const { file, size } = this.entry;
    const { room } = this.admitted;
    const close = { type: 'close', file, size, digests: { blake3: digest } } as const;
    const end = await this.ending(close);
    if (end.end === 'stored') {
      const { path, verified, outcome } = end.committed;
      room.settle(outcome !== 'identical');
      const done = receivedOf(this.admitted, path, verified, end.digests, size - this.file.keptBytes);
      const { keptBytes } = this.file;
      return this.visit.tell(
        {
          ...done,
          ...(keptBytes > 0 ? { kept: keptBytes } : {}),
          ...(outcome === 'identical' ? { verified_at: new Date().toISOString() } : {}),
        },
        this.name,
      );
    }
    this.file.discard();
    room.settle(false);
    return this.visit.tell(
      end.end === 'refused' ? end.error : end.end === 'damaged' ? this.mismatch() : gone(),
      this.name,
    );
  }

  private ending(close: Parameters<LargeFile['close']>[0]): Promise<LargeEnd> {
    return this.file
      .close(close, 'blake3', () => undefined)
      .catch((error: unknown) => ({ end: 'refused', error: asTransferError(error, 'disk', 'It could not be stored') }));
  }

  private mismatch(): TransferError {
    return new TransferError('mismatch', `${printable(this.name)} does not match its digest; nothing of it was kept.`);
  }
}

/** The error for a slice of an upload that has ended. */
function gone(): TransferError {
  return new TransferError('connection-lost', 'This upload is not open any more.', { hint: 'Begin it again.' });
}

function leftAlone(name: string): TransferError {
  return new TransferError('connection-lost', `Nobody goes on with ${printable(name)}; what came of it is kept.`, {
    hint: '',
  });
}
