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
  /** Who sends it: the id of a key. What one peer left unfinished, no other can go on with. */
  readonly peer: string;
  readonly algorithm: keyof Digests;
  readonly ifExists: IfExists;
  /** See `StoreUse`. */
  readonly inOrder?: boolean | undefined;
  /** Permission bits that it gets here, where they are others than those offered. */
  readonly modeOnDisk?: number | undefined;
  readonly given?: Given | undefined;
  /** What of its metadata nobody allows here. */
  readonly denied?: readonly Lost[] | undefined;
}

export interface PartialState {
  readonly path: string;
  readonly journalPath: string;
  /** Segments that are there from before, by the journal. */
  readonly segments: readonly number[];
  /** What may be alike in part; closed when this ends. */
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
 * A file on its way into a store, piece by piece; what is here survives the end of the process. One of `commit`,
 * `discard` and `suspend` ends it.
 */
export class LocalPartialFile implements PartialFile {
  private segments: readonly number[];
  /** What `held` told of: only that can be kept. */
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

  /** Page-aligned memory for pieces: a fixed number of them for all files of the store. */
  get memory(): AlignedMemory {
    return this.state.memory;
  }

  /**
   * The segments that are here, read back from the disk; from now on nothing counts as here until it is kept or put
   * again.
   */
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

  /**
   * What may be alike in part reads as this; until `held` is asked again, it can be copied. Nothing where nothing
   * stands there.
   */
  async basis(): Promise<readonly BasisSegment[]> {
    const { size, algorithm } = this.offer;
    const segments = (size === undefined ? undefined : await this.state.basis?.segments(size, algorithm)) ?? [];
    this.reach = segments.reduce((most, segment) => Math.max(most, segment.offset + segment.size), 0);
    return segments;
  }

  /** Waits until the disk can take a piece. Rejects with `disk`, `space` or because it has ended. */
  room(): Promise<void> {
    return this.state.bytes.room();
  }

  /**
   * Takes a piece; gives the memory back when it is written. False if it was not needed: it is here, or the file is
   * being read back.
   */
  put(lease: Lease, offset: number, length: number): boolean {
    return this.state.bytes.put(lease, offset, length);
  }

  /** As `put`, for a run of zeros. */
  zero(offset: number, length: number): boolean {
    return this.state.bytes.zero(offset, length, !this.used);
  }

  /**
   * As `put`, for `length` bytes at `from` in the basis. Throws `bad-header` for bytes that the basis does not have.
   */
  copy(offset: number, length: number, from: number): boolean {
    const { bytes, basis } = this.state;
    if (!basis || from + length > this.reach)
      throw new TransferError(
        'bad-header',
        `There are no ${String(length)} bytes at ${String(from)} in what is to be copied for ${printable(this.offer.name)}.`,
      );
    return bytes.copy(offset, length, from, basis, !this.used);
  }

  /** These segments of `held` are as they should be. Throws `bad-header` for others. */
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
   * Told by the bytes of what was written, with the segments that are whole by it. The journal names them at once, so
   * that they are found where this process is killed; now and then it becomes durable together with its data, so that
   * they are found after a power cut.
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

  /**
   * When the sender has sent everything: resolves when it is here, and written. Rejects with what is final for this
   * file.
   */
  whole(size: number): Promise<void> {
    return this.state.bytes.whole(size);
  }

  /**
   * Waits until it is whole, makes it durable, reads all of it back and compares. Rejects with `mismatch`, after which
   * `held` tells what is here, and with everything that is final for this file.
   */
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

  /**
   * After `verify`: puts the file under its final name, durably. Rejects with `exists`, `name` or `disk`. Nothing
   * suspends it then.
   */
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

  /** Throws away all of it. */
  discard(): Promise<void> {
    this.end ??= this.finishWith(() => this.remove());
    return this.end;
  }

  /**
   * Ends it for now: what is durable is kept, and `held` will tell of it when the same file is offered again. Whoever
   * still uses it gets `reason`.
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
