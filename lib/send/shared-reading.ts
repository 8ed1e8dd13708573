// One large file on its way to several receivers: it is read and hashed once, and its pieces stay in memory until those
// who keep pace have taken them.
import { asTransferError, TransferError } from '../errors';
import { pieceSize } from '../wire/segment';
import type { MissedPiece, Piece } from './segment-reader';

/** Window in ms for a receiver that holds the window up, while others could go on; then it leaves. */
const patience = 250;
/** Runs of zeros that are remembered for those who come later; what lies in others is read again. */
const mostRuns = 4096;

type BytesPiece = Extract<Piece, { kind: 'bytes' }>;
type ZeroPiece = Extract<Piece, { kind: 'zero' }>;
type EndPiece = Extract<Piece, { kind: 'end' }>;

/** A piece in the window. */
interface HeldPiece {
  readonly piece: BytesPiece;
  /** The receivers that have taken it and not given it back yet. */
  readonly takers: Set<Follower>;
}

/** How far the reading is. */
type SharedState =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'reading' }
  | { readonly kind: 'over'; readonly end: EndPiece | TransferError };

/** What all shared files of a transfer have in common. */
export interface WindowSize {
  /** Pieces that may be in memory for those who keep pace. */
  readonly pieces: number;
  /** Pieces that one receiver may have at a time. */
  readonly each: number;
}

/**
 * One reading for any number of receivers. Each goes through the file in order and takes its pieces out of the window;
 * one that comes late, or leaves because it is slow, reads what it has missed again by itself, and is in the window
 * again once it has caught up. The digest is computed once.
 */
export class SharedReading {
  private state: SharedState = { kind: 'waiting' };
  /** In order; the window has no gaps but for zeros. */
  private readonly window: HeldPiece[] = [];
  private readonly runs: ZeroPiece[] = [];
  private readonly followers = new Set<Follower>();
  /** The byte after the last that was read. */
  private head = 0;
  /** Wakes the reading. */
  private wake: () => void = () => undefined;
  private fullSince: number | undefined;

  constructor(
    private readonly size: WindowSize,
    /** Whether receivers wait for something else until this is read. */
    private readonly isInTheWay: () => boolean,
  ) {}

  /** Whether it failed: a receiver that still wants the file must begin a new reading. */
  get hasFailed(): boolean {
    return this.state.kind === 'over' && this.state.end instanceof TransferError;
  }

  /** Whether its digest is known. */
  get isRead(): boolean {
    return this.state.kind === 'over' && !this.hasFailed;
  }

  /**
   * Reads to the end, or until nobody follows any more. Never rejects: what went wrong is told to all. Nothing is read
   * while nobody would take it.
   */
  async read(pieces: AsyncGenerator<Piece, void, undefined>): Promise<void> {
    this.state = { kind: 'reading' };
    try {
      for (;;) {
        await this.room();
        const next = await pieces.next();
        if (next.done) throw new TransferError('unexpected', 'A file was read without an end.');
        if (next.value.kind === 'end') {
          this.finish(next.value);
          return;
        }
        this.take(next.value);
      }
    } catch (error) {
      this.finish(asTransferError(error, 'source-unreadable', 'Cannot read the file'));
    } finally {
      await pieces.return();
    }
  }

  /** All of it for one receiver. Rejects as the reading does, and with `interrupted` after `signal`. */
  async *follow(signal: AbortSignal | undefined): AsyncGenerator<Piece | MissedPiece, void, undefined> {
    const follower = new Follower(this.head === 0);
    const stop = (): void => follower.wake();
    signal?.addEventListener('abort', stop, { once: true });
    this.followers.add(follower);
    this.wake();
    try {
      for (;;) {
        if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
        const next = follower.out < this.size.each ? this.next(follower) : undefined;
        if (next) yield next;
        else await new Promise<void>((resolve) => (follower.wake = resolve));
        if (next?.kind === 'end') return;
      }
    } finally {
      signal?.removeEventListener('abort', stop);
      this.followers.delete(follower);
      this.sweep();
    }
  }

  /** Looks again whether it is in the way of others. */
  look(): void {
    this.wake();
  }

  /** What comes next for a receiver; undefined where it has to wait for the reading. */
  private next(follower: Follower): Piece | MissedPiece | undefined {
    const { at } = follower;
    if (at >= this.head) return this.atHead(follower);
    const held = this.window.find(({ piece }) => piece.offset === at);
    if (held) return this.hand(held, follower);
    const run = this.runs.find(({ offset, size }) => offset <= at && at < offset + size);
    if (run) {
      follower.at = run.offset + run.size;
      this.sweep();
      return { kind: 'zero', offset: at, size: follower.at - at };
    }
    const size = Math.min(pieceSize, this.head - at);
    follower.at += size;
    follower.out++;
    return { kind: 'missed', offset: at, size, release: () => this.giveBack(follower) };
  }

  private atHead(follower: Follower): EndPiece | undefined {
    if (!follower.inWindow) this.wake();
    follower.inWindow = true;
    if (this.state.kind !== 'over') return undefined;
    if (this.state.end instanceof TransferError) throw this.state.end;
    return this.state.end;
  }

  private hand(held: HeldPiece, follower: Follower): Piece {
    const { offset, bytes } = held.piece;
    held.takers.add(follower);
    follower.at += bytes.length;
    follower.out++;
    return {
      kind: 'bytes',
      offset,
      bytes,
      release: () => {
        held.takers.delete(follower);
        this.giveBack(follower);
      },
    };
  }

  private giveBack(follower: Follower): void {
    follower.out--;
    follower.wake();
    this.sweep();
  }

  private take(piece: Exclude<Piece, EndPiece>): void {
    switch (piece.kind) {
      case 'bytes':
        this.window.push({ piece, takers: new Set() });
        this.head += piece.bytes.length;
        break;
      case 'zero':
        if (this.runs.length < mostRuns) this.runs.push(piece);
        this.head += piece.size;
        break;
      case 'keep':
      case 'copy':
        throw new TransferError('unexpected', 'What several receivers share is compared with nobody.');
    }
    for (const follower of this.followers) follower.wake();
  }

  private finish(end: EndPiece | TransferError): void {
    this.state = { kind: 'over', end };
    this.sweep();
    for (const follower of this.followers) follower.wake();
  }

  /** Waits until the window has room for another piece, and some receiver wants it. */
  private async room(): Promise<void> {
    for (;;) {
      const { inWindow } = this;
      if (this.followers.size === 0) throw new TransferError('interrupted', 'Nobody wants the file any more.');
      const wanted = inWindow.length > 0 || this.isInTheWay();
      const full = this.used >= this.size.pieces;
      if (wanted && !full) break;
      if (full) await this.waitForRoom(inWindow);
      else await this.change();
    }
    this.fullSince = undefined;
  }

  /** Where a receiver could go on and cannot for `patience`, the one that holds the oldest piece leaves the window. */
  private async waitForRoom(inWindow: readonly Follower[]): Promise<void> {
    const now = performance.now();
    const hungry = this.isInTheWay() || inWindow.some((each) => each.at >= this.head && each.out < this.size.each);
    this.fullSince = hungry ? (this.fullSince ?? now) : undefined;
    if (this.fullSince !== undefined && now - this.fullSince >= patience) {
      const oldest = this.window.find((held) => this.counts(held));
      for (const each of inWindow)
        if (oldest && (each.at <= oldest.piece.offset || oldest.takers.has(each))) each.inWindow = false;
      this.sweep();
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      if (hungry) timer = setTimeout(resolve, patience);
    });
    await Promise.race([this.change(), late]);
    clearTimeout(timer);
  }

  private get inWindow(): Follower[] {
    return [...this.followers].filter((each) => each.inWindow);
  }

  /** Pieces that those who keep pace have still to take, or have not given back. */
  private get used(): number {
    return this.window.filter((held) => this.counts(held)).length;
  }

  private counts({ piece: { offset }, takers }: HeldPiece): boolean {
    for (const each of this.followers) if (each.inWindow && (each.at <= offset || takers.has(each))) return true;
    return false;
  }

  /** Releases pieces that no receiver needs any more, and wakes the reading. */
  private sweep(): void {
    for (let at = this.window.length - 1; at >= 0; at--) {
      const held = this.window[at];
      if (!held || held.takers.size > 0 || this.counts(held)) continue;
      this.window.splice(at, 1);
      held.piece.release();
    }
    this.wake();
  }

  private change(): Promise<void> {
    return new Promise((resolve) => (this.wake = resolve));
  }
}

/** One receiver on its way through the file. */
class Follower {
  /** The byte that it takes next. */
  at = 0;
  /** Pieces that it was handed and has not given back. */
  out = 0;
  wake: () => void = () => undefined;

  /** Whether it takes pieces as they are read; otherwise it reads again what it has missed. */
  constructor(public inWindow: boolean) {}
}
