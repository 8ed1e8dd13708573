import { AlignedMemory, type Lease } from './aligned-memory';

/** What a thread needs to take pieces. */
export interface PiecesState {
  readonly memory: SharedArrayBuffer;
  /** A number for each piece, 0 where it is free; behind them how many were given back so far. */
  readonly taken: SharedArrayBuffer;
  /** In bytes. */
  readonly size: number;
}

/**
 * Equally long, page-aligned pieces of memory that threads fill and others read. A thread takes one and waits where
 * there is none; whoever has read it gives it back, in whatever thread.
 */
export class SharedPieces {
  private readonly taken: Int32Array;
  private readonly count: number;

  private constructor(readonly state: PiecesState) {
    this.taken = new Int32Array(state.taken);
    this.count = this.taken.length - 1;
  }

  /** `count` pieces of `size` bytes, a multiple of 4096. They cost nothing resident until they are touched. */
  static create(size: number, count: number): SharedPieces {
    const memory = new AlignedMemory(size, count, true).buffer as SharedArrayBuffer;
    return new SharedPieces({ memory, size, taken: new SharedArrayBuffer((count + 1) * Int32Array.BYTES_PER_ELEMENT) });
  }

  /** The same pieces, in another thread. */
  static of(state: PiecesState): SharedPieces {
    return new SharedPieces(state);
  }

  /**
   * The number of a piece that nobody else has now. Waits for `ms`, which the main thread must not; undefined where
   * none was free by then.
   */
  take(ms: number): number | undefined {
    const { taken, count } = this;
    for (;;) {
      const before = Atomics.load(taken, count);
      for (let piece = 0; piece < count; piece++) if (Atomics.compareExchange(taken, piece, 0, 1) === 0) return piece;
      if (Atomics.wait(taken, count, before, ms) === 'timed-out') return undefined;
    }
  }

  bytes(piece: number): Uint8Array {
    return new Uint8Array(this.state.memory, piece * this.state.size, this.state.size);
  }

  /** Gives a piece back; once for each time that it was taken. */
  release(piece: number): void {
    const { taken, count } = this;
    Atomics.store(taken, piece, 0);
    Atomics.add(taken, count, 1);
    Atomics.notify(taken, count, 1);
  }

  /** A piece that another thread took, to be given back by `release`. */
  lease(piece: number): Lease {
    return { bytes: this.bytes(piece), release: () => this.release(piece) };
  }
}
