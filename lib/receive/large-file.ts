import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import { type Digests, type Listener, Meter, type Waits } from '../progress';
import type { EarlierFile, PartialFile, Room, SegmentDigest } from '../store/session-store';
import type { Committed } from '../store/store';
import { ignored, trace } from '../trace';
import { pieceSize, segmentCountOf, segmentSizeOf } from '../wire/segment';
import type { FileEntry } from '../wire/session-list';
import type { Close, Copy, Keep, Segment } from '../wire/session-message';
import type { BasisSegment } from '../wire/basis';
import type { ContentFlow } from './content-flow';
import { mostRepairs } from './limits';
import type { Payload } from './payload';

/** What a large file arrives with. */
export interface LargeOffer {
  readonly entry: FileEntry;
  readonly room: Room;
  /** Why it is taken only if it is the same as what is at its name. */
  readonly unlessSame: TransferError | undefined;
  /** An earlier file of which it becomes one more name, where its content turns out to be this digest. */
  readonly link: { readonly file: EarlierFile; readonly digest: string } | undefined;
}

/** What the sender is told and asked: which segments are here, what may be copied. PROTOCOL.md 14.6, 14.11. */
export interface LargeFileQuestion {
  readonly held: readonly SegmentDigest[];
  readonly basis: readonly BasisSegment[];
}

/** What became of a file that its sender has closed. */
export type LargeEnd =
  | {
      readonly end: 'stored';
      readonly committed: Committed;
      readonly digests: Digests;
      readonly size: number;
      readonly repaired: number;
    }
  /** It is the same as the earlier file that it may be one more name of; nothing is kept of what came. */
  | { readonly end: 'same'; readonly link: NonNullable<LargeOffer['link']> }
  /** It does not match: the sender is to be asked for what is damaged. */
  | { readonly end: 'damaged' }
  | { readonly end: 'refused'; readonly error: TransferError }
  /** It was given up meanwhile. */
  | { readonly end: 'over' };

/**
 * `asking` until the sender is told what is here, then `open` for segments, `closed` once they were all sent, `over`
 * after its end.
 */
type LargeFileState = 'asking' | 'open' | 'closed' | 'over';

/**
 * One file that arrives in segments (PROTOCOL.md 14): what is held and what is like it is told, then come segments,
 * keeps and copies, then the reading back; and the same again with what was found damaged. One way for fresh, resumed,
 * repaired, repeated and updated transfers.
 */
export class LargeFile {
  readonly entry: FileEntry;
  /** Payload and headers of its segments, in bytes. */
  bytesOnWire = 0;
  private state: LargeFileState = 'asking';
  private readonly meter: Meter;
  private received = 0;
  private kept = 0;
  private repairs = 0;
  /** The segments that were sent again because they were found damaged. */
  private readonly damaged = new Set<number>();

  constructor(
    private readonly offer: LargeOffer,
    private readonly partial: PartialFile,
    private readonly on: Listener,
    private readonly waits: Waits,
    private readonly flow: ContentFlow,
  ) {
    const { entry } = offer;
    this.entry = entry;
    on({ event: 'started', file_name: entry.name, file_size: entry.size ?? 0 });
    this.meter = new Meter(
      on,
      entry.name,
      'receive',
      entry.size ?? 0,
      () => Math.min(this.received + this.kept, entry.size ?? this.received),
      () => this.kept,
    );
  }

  /** Whether the sender was asked for it: before that it has nothing to say about it. PROTOCOL.md 17.1. */
  get asked(): boolean {
    return this.state !== 'asking' || this.repairs > 0;
  }

  /** Bytes that were here before, of an earlier try or of something alike. */
  get keptBytes(): number {
    return this.kept;
  }

  /**
   * What the sender is to be told before it is asked; undefined where the file is over. Rejects with what is final for
   * this file.
   */
  async ask(): Promise<LargeFileQuestion | undefined> {
    const held = await this.partial.held();
    // Not where all is here: what was copied and turned out damaged is not copied again.
    const basis = held.length < segmentCountOf(this.entry.size ?? 0) ? await this.partial.basis() : [];
    if (this.state === 'over') return undefined;
    this.state = 'open';
    return { held, basis };
  }

  /**
   * Takes a segment off its connection. Resolves with why the file cannot be stored, if that is so: its payload is
   * thrown away then. Rejects with what ends the connection. PROTOCOL.md 14.1 to 14.4.
   */
  async segment(segment: Segment, payload: Payload): Promise<TransferError | undefined> {
    const { entry, offer, partial } = this;
    checkPiece(entry, segment);
    const { offset, size, zero } = segment;
    const failure = offer.unlessSame ?? (await this.roomFor(entry.size === undefined ? offset + size : undefined));
    if (failure || this.state === 'over') {
      if (!zero) await payload.skip();
      return failure;
    }
    const lease = zero ? undefined : await payload.take(partial.memory);
    if (this.isOver) {
      lease?.release();
      return undefined;
    }
    const taken = lease ? partial.put(lease, offset, size) : partial.zero(offset, size);
    return taken ? this.took(offset, size, lease !== undefined) : undefined;
  }

  /**
   * These segments are as they should be. Throws `bad-header` for those that the sender was not told of, or not in this
   * round. PROTOCOL.md 14.7.
   */
  keep({ first, count }: Keep): void {
    if (this.state === 'over') return;
    this.checkOpen('kept');
    this.partial.keep(first, count);
    if (this.repairs > 0) return;
    const { size = 0 } = this.entry;
    const segmentSize = segmentSizeOf(size);
    this.kept += Math.max(0, Math.min(size, (first + count) * segmentSize) - first * segmentSize);
  }

  /**
   * These bytes are in the basis. Resolves like `segment`; rejects with `bad-header` for what the sender was not told
   * of. PROTOCOL.md 14.13.
   */
  async copy({ offset, size, from }: Copy): Promise<TransferError | undefined> {
    if (this.state === 'over') return undefined;
    this.checkOpen('copied');
    checkPiece(this.entry, { offset, size, zero: true });
    const { unlessSame } = this.offer;
    const failure = (from === offset ? undefined : unlessSame) ?? (await this.roomFor(undefined));
    if (failure || this.isOver) return failure;
    return this.partial.copy(offset, size, from) ? this.took(offset, size, true, false) : undefined;
  }

  /**
   * The sender has sent everything: reads it back and stores it. Throws `bad-header` for what is not as it was offered.
   * `onProgress` gets the bytes read back, four times a second. PROTOCOL.md 14.8, 14.9.
   */
  close({ size, digests }: Close, algorithm: keyof Digests, onProgress: (done: number) => void): Promise<LargeEnd> {
    const { entry } = this;
    const expected = digests[algorithm];
    if (this.state === 'over') return Promise.resolve({ end: 'over' });
    if (entry.size !== undefined && entry.size !== size)
      throw new TransferError(
        'bad-header',
        `A file was offered with ${String(entry.size)} bytes, and closed with ${String(size)}.`,
      );
    if (expected === undefined) throw new TransferError('bad-header', `A file was closed without its ${algorithm}.`);
    this.checkOpen('closed');
    this.state = 'closed';
    return this.finish(size, { [algorithm]: expected }, expected, onProgress).catch((error: unknown) =>
      this.refused(error),
    );
  }

  /** Nothing of it is kept. False if it is over already. */
  discard(): boolean {
    if (this.isOver) return false;
    this.end();
    this.partial.discard().catch(ignored('what is wrong with the disk is the reason, and is told already'));
    return true;
  }

  /** The conversation ends before this file: what is here is kept for the next one. */
  async suspend(): Promise<void> {
    this.end();
    await this.partial.suspend();
  }

  private async finish(
    size: number,
    digests: Digests,
    expected: string,
    onProgress: (done: number) => void,
  ): Promise<LargeEnd> {
    const { link } = this.offer;
    if (link?.digest === expected) {
      this.end();
      await this.partial.discard();
      return { end: 'same', link };
    }
    // Pieces of a closed file may still be on their way.
    await this.flow.waitFor(this.partial.whole(size));
    try {
      await this.waits.on('verify', this.verify(size, digests, onProgress));
    } catch (error) {
      if (
        !(error instanceof TransferError) ||
        error.code !== 'mismatch' ||
        this.entry.size === undefined ||
        ++this.repairs > mostRepairs
      )
        throw error;
      trace('%s is damaged, and asked for again: %s', this.entry.name, error.message);
      this.state = 'asking';
      return { end: 'damaged' };
    }
    if (this.isOver) return { end: 'over' };
    // Pieces that arrive from here on are duplicates, and are discarded.
    this.end();
    try {
      return { end: 'stored', committed: await this.partial.commit(), digests, size, repaired: this.damaged.size };
    } catch (error) {
      return { end: 'refused', error: storingError(error) };
    }
  }

  /** A failure after the file was given up is a consequence of that, and is not reported. */
  private refused(error: unknown): LargeEnd {
    const failure = storingError(error);
    return this.discard() ? { end: 'refused', error: failure } : { end: 'over' };
  }

  private async verify(size: number, digests: Digests, onProgress: (done: number) => void): Promise<void> {
    let done = 0;
    const tell: Listener = (event) => {
      this.on(event);
      onProgress(done);
    };
    const meter = new Meter(tell, this.entry.name, 'verify', size, () => done);
    try {
      await this.partial.verify(size, digests, (now) => {
        done = now;
      });
    } finally {
      meter.stop();
    }
  }

  /**
   * Waits until the disk takes more; `grown` is how long a file of unknown size is by now. Resolves with why it does
   * not.
   */
  private async roomFor(grown: number | undefined): Promise<TransferError | undefined> {
    try {
      if (grown !== undefined) await this.offer.room.grow(grown);
      await this.waits.on('write', this.partial.room());
      return undefined;
    } catch (error) {
      return storingError(error);
    }
  }

  /** Returns why it cannot be stored, where it is more than may be kept. */
  private took(offset: number, size: number, written: boolean, sent = true): TransferError | undefined {
    try {
      if (written) this.offer.room.wrote(size);
    } catch (error) {
      return storingError(error);
    }
    if (sent) this.received += size;
    else this.kept += size;
    if (!sent || this.repairs === 0) return undefined;
    const segmentSize = segmentSizeOf(this.entry.size ?? 0);
    for (let at = offset; at < offset + size; at += pieceSize) this.damaged.add(Math.floor(at / segmentSize));
    return undefined;
  }

  /** Throws `bad-header` where the sender was not asked for it, or not since it has closed it. PROTOCOL.md 17.1. */
  private checkOpen(what: string): void {
    if (this.state !== 'open')
      throw new TransferError('bad-header', `${printable(this.entry.name)} was ${what} while it was not asked for.`);
  }

  private get isOver(): boolean {
    return this.state === 'over';
  }

  private end(): void {
    this.state = 'over';
    this.meter.stop();
  }
}

/** Throws `bad-header` for what is no whole pieces of a file, nor its end. PROTOCOL.md 14.1, 14.2. */
function checkPiece(
  { name, size: end }: FileEntry,
  { offset, size, zero }: Pick<Segment, 'offset' | 'size' | 'zero'>,
): void {
  const whole =
    offset % pieceSize === 0 &&
    (size === pieceSize || (zero && size % pieceSize === 0) || end === undefined || offset + size === end);
  if (whole && size > 0 && (zero || size <= pieceSize) && (end === undefined || offset + size <= end)) return;
  throw new TransferError(
    'bad-header',
    `${String(size)} bytes at ${String(offset)} are no piece of ${printable(name)}.`,
  );
}

/** What ends the conversation is thrown on; everything else is about this file. */
export function storingError(thrown: unknown): TransferError {
  const error = asTransferError(thrown, 'disk', 'The file could not be stored');
  if (error.code === 'bad-header' || error.code === 'timeout') throw error;
  return error;
}
