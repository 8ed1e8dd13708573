import type { AlignedMemory, Lease } from '../../threads/aligned-memory';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import { ignored, trace } from '../../trace';
import type { Digests } from '../../progress';
import { segmentSizeOf } from '../../wire/segment';
import type { BasisSegment } from '../../wire/basis';
import { rm } from 'node:fs/promises';
import type { Given } from './apply-metadata';
import { JournalEnd, writeJournal } from './journal';
import { publishPartial, type PublishRoot, type VerifiedFile } from './publish-partial';
import type { PartialBytes } from './partial-bytes';
import type { Receipts } from './receipts';
import type { BasisFile } from './basis-file';
import { settledAs } from './settled-as';
import { diskError } from './disk-error';
import type { OfferedFile, PartialFile, SegmentDigest } from '../session-store';
import { type Committed, discarded, type IfExists, type Lost } from '../store';

/** A file that is offered to be received in pieces. */
export interface PartialOffer extends OfferedFile {
  /** The id of the key that sends it. What one peer left unfinished, no other can go on with. */
  readonly peer: string;
  readonly algorithm: keyof Digests;
  readonly ifExists: IfExists;
  /** See `StoreUse`. */
  readonly inOrder?: boolean | undefined;
  /** Permission bits that it gets here, where they are others than those offered. */
  readonly modeOnDisk?: number | undefined;
  readonly given?: Given | undefined;
  /** The parts of its metadata that are not allowed here. */
  readonly denied?: readonly Lost[] | undefined;
}

export interface PartialState {
  readonly path: string;
  readonly journalPath: string;
  /** Segments that are there from before, by the journal. */
  readonly segments: readonly number[];
  /** A file that may be alike in part; closed when this ends. */
  readonly basis: BasisFile | undefined;
  readonly bytes: PartialBytes;
  readonly root: PublishRoot;
  readonly memory: AlignedMemory;
  /** Keeps the receipt of what was committed. */
  readonly receipts: Receipts;
  /** Called once, when it was committed, discarded or suspended. */
  readonly ended: (file: LocalPartialFile) => void;
}

const journalEvery = 2_000;
/** Pieces of 1 MiB since the last fsync of the journal from which the next one is worth it. */
const journalAfter = 64;
/** Pieces of 1 MiB from which there is a journal at all: a file of a few MiB is sent again sooner than one is made. */
const journalFrom = 16;

/**
 * `PartialFile` on a local disk; see the contract for each method. What is written survives the end of the process by a
 * journal beside it: `wrote` keeps that, `suspend` makes it durable.
 */
export class LocalPartialFile implements PartialFile {
  private segments: readonly number[];
  /** The segments that `held` has returned: only those can be kept. */
  private announced: ReadonlySet<number> = new Set();
  /** Bytes of the basis that were announced: only those can be copied. */
  private reach = 0;
  private pieces = 0;
  private piecesSince = 0;
  private journaledAt = Date.now();
  /** Whole since the journal was added to last. */
  private added: number[] = [];
  private journal: JournalEnd | undefined;
  private adding: Promise<void> | undefined;
  private syncing: Promise<void> | undefined;
  /** From when all of it is here: a journal is of no use any more. */
  private verifying = false;
  /** Once `verify` has compared all of it. */
  private verifiedFile: VerifiedFile | undefined;
  private end: Promise<void> | undefined;
  /** Whether bytes may stand where nothing was put in this session. */
  private used: boolean;

  constructor(
    readonly offer: PartialOffer,
    private readonly state: PartialState,
  ) {
    this.segments = state.segments;
    this.used = state.segments.length > 0;
  }

  get memory(): AlignedMemory {
    return this.state.memory;
  }

  /** Those of the journal, too: what it names is read back before it is believed. */
  async held(): Promise<SegmentDigest[]> {
    const { size = 0 } = this.offer;
    const { bytes } = this.state;
    await bytes.seal();
    const segments = [...new Set([...this.segments, ...bytes.segments])].sort((a, b) => a - b);
    const digests = segments.length > 0 ? await bytes.digest(segments, segmentSizeOf(size)) : [];
    bytes.forget();
    this.reach = 0;
    if (segments.length === 0) return [];
    this.segments = segments;
    this.announced = new Set(segments);
    this.used = true;
    return segments.map((segment, at) => ({ segment, digest: digests[at] ?? '' }));
  }

  async basis(): Promise<readonly BasisSegment[]> {
    const { size, algorithm } = this.offer;
    const segments = (size === undefined ? undefined : await this.state.basis?.segments(size, algorithm)) ?? [];
    this.reach = segments.reduce((most, segment) => Math.max(most, segment.offset + segment.size), 0);
    return segments;
  }

  room(): Promise<void> {
    return this.state.bytes.room();
  }

  put(lease: Lease, offset: number, length: number): boolean {
    return this.state.bytes.put(lease, offset, length);
  }

  zero(offset: number, length: number): boolean {
    return this.state.bytes.zero(offset, length, !this.used);
  }

  copy(offset: number, length: number, from: number): boolean {
    const { bytes, basis } = this.state;
    if (!basis || from + length > this.reach)
      throw new TransferError(
        'bad-header',
        `There are no ${String(length)} bytes at ${String(from)} in what is to be copied for ${printable(this.offer.name)}.`,
      );
    return bytes.copy(offset, length, from, basis, !this.used);
  }

  keep(first: number, count: number): void {
    const { size = 0 } = this.offer;
    for (let segment = first; segment < first + count; segment++) {
      if (!this.announced.has(segment))
        throw new TransferError(
          'bad-header',
          `The segment ${String(segment)} of ${printable(this.offer.name)} is not here.`,
        );
    }
    const offset = first * segmentSizeOf(size);
    this.state.bytes.keep(offset, Math.min(size - offset, count * segmentSizeOf(size)));
  }

  /**
   * Called for each piece that was written, with the segments that are whole by it. The journal names them at once, so
   * that they are found after a kill; now and then it becomes durable together with its data, so that they are found
   * after a power cut.
   */
  wrote(segments: readonly number[]): void {
    this.pieces++;
    this.piecesSince++;
    this.added.push(...segments);
    if (this.pieces < journalFrom || this.end || this.verifying || !this.resumes) return;
    this.adding ??= this.addToJournal()
      .catch(journalFailed)
      .finally(() => {
        this.adding = undefined;
      });
    if (this.piecesSince < journalAfter || Date.now() - this.journaledAt < journalEvery) return;
    this.syncing ??= this.syncJournal()
      .catch(journalFailed)
      .finally(() => {
        this.syncing = undefined;
      });
  }

  whole(size: number): Promise<void> {
    return this.state.bytes.whole(size);
  }

  async verify(size: number, digests: Digests, onProgress?: (done: number) => void): Promise<void> {
    const { bytes } = this.state;
    const { name, ifExists } = this.offer;
    await this.whole(size);
    this.verifying = true;
    await this.journaled();
    bytes.expect(digests);
    await bytes.verify(onProgress);
    this.verifiedFile = { name, size, digests, ifExists };
  }

  /** Nothing suspends it then, and a receipt of it is kept. */
  async commit(): Promise<Committed> {
    const { verifiedFile: file, state, offer } = this;
    if (this.end) throw discarded();
    if (!file) throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    const publishing = publishPartial(file, state.bytes, state.root).catch((error: unknown) => {
      throw diskError(error, file);
    });
    // A staged name that stays is removed at the next start, and does not change how the file ended.
    this.end = this.finishWith(async () => {
      await publishing.catch(ignored('whoever commits is told'));
      await this.remove().catch(ignored('what is wrong with the disk is told already'));
    });
    const [published] = await Promise.all([publishing, this.end]);
    const committed = { ...published, verified: state.root.verified };
    const stat = offer.inOrder ? undefined : await state.receipts.keep(offer, committed.path, file.digests);
    const lost = [...state.bytes.lost, ...(offer.denied ?? [])];
    return committed.outcome === 'identical' ? committed : settledAs(committed, offer, stat, lost);
  }

  discard(): Promise<void> {
    this.end ??= this.finishWith(() => this.remove());
    return this.end;
  }

  /**
   * One that cannot be told from others later, or could not be made durable, is discarded. Other users of it get
   * `reason`.
   */
  suspend(reason?: TransferError): Promise<void> {
    if (!this.resumes) return this.discard();
    this.end ??= this.finishWith(async () => {
      const { bytes } = this.state;
      try {
        await bytes.written();
        const kept = await this.writeJournal();
        await bytes.release(reason);
        if (kept > 0) return;
      } catch (error) {
        // After a failed fsync nothing is kept: discard, receive again.
        trace('%s is not kept for later: %o', this.offer.name, error);
      }
      await this.remove();
    });
    return this.end;
  }

  /** Whether an offer of the same file can be told from others later. */
  private get resumes(): boolean {
    return this.offer.size !== undefined && this.offer.mtime !== undefined;
  }

  private async remove(): Promise<void> {
    try {
      await this.state.bytes.discard();
    } finally {
      // Removes directories that were made for it and are empty.
      if (this.verifiedFile) await this.state.root.tree.prune(this.offer.name);
    }
    await this.forgetJournal();
  }

  private async addToJournal(): Promise<void> {
    const { state } = this;
    while (this.added.length > 0 && !this.end) {
      const added = this.added.splice(0);
      if (this.journal) {
        await this.journal.add(added);
      } else {
        await writeJournal(state.journalPath, this.written(), false);
        this.journal = await JournalEnd.of(state.journalPath);
      }
    }
  }

  private async syncJournal(): Promise<void> {
    this.piecesSince = 0;
    await this.state.bytes.flush();
    await this.journal?.sync();
    this.journaledAt = Date.now();
  }

  /** Resolves when nothing is written to the journal any more. */
  private async journaled(): Promise<void> {
    await Promise.all([this.adding, this.syncing]);
  }

  /** What a journal says now. */
  private written(): Parameters<typeof writeJournal>[1] {
    const { peer, name, size = 0, mtime = 0n } = this.offer;
    const segments = [...new Set([...this.segments, ...this.state.bytes.segments])].sort((a, b) => a - b);
    return { peer, name, size, mtime, segments };
  }

  private forgetJournal(): Promise<void> {
    return rm(this.state.journalPath, { force: true });
  }

  private async finishWith(work: () => Promise<void>): Promise<void> {
    await this.journaled();
    try {
      await work();
    } finally {
      this.state.ended(this);
      await this.journal?.close();
      await this.state.basis?.close();
    }
  }

  /** Makes durable what is here, and then a journal of it. Resolves with how many segments it tells of. */
  private async writeJournal(): Promise<number> {
    const journal = this.written();
    await this.state.bytes.flush();
    await writeJournal(this.state.journalPath, journal);
    return journal.segments.length;
  }
}

/** Without a journal more of it is sent again. */
const journalFailed = ignored('the file itself fails by its next write or by verify');
