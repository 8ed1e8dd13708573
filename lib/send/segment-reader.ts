import path from 'node:path';
import type { Readable } from 'node:stream';
import { AlignedMemory, type Lease } from '../threads/aligned-memory';
import type { DigestAlgorithm } from '../digest/digest';
import { asTransferError, TransferError } from '../errors';
import { OrderWorker } from '../threads/order-worker';
import { isBarred, type Located } from '../threads/walker';
import type { EntryName } from '../name';
import type { Digests } from '../progress';
import { pieceSize, segmentSizeOf } from '../wire/segment';
import type { BasisSegment } from '../wire/basis';
import type { SegmentStep } from './file-reading';
import type { SegmentAnswer, SegmentOrder, SegmentSetup } from './segment-reader.worker';
import { changed, notRegular, unreadable } from '../scan/source';
import { ignored } from '../trace';

/** A file, and what it was when it was offered. */
export interface SourceToRead extends Located {
  readonly name: EntryName;
  readonly size: number;
  /** Times in ns since 1970. */
  readonly mtime: bigint;
  readonly ctime: bigint;
  /** Whether it may have holes. */
  readonly sparse: boolean;
  /** See `FoundFile`; where it is given, another ctime alone is no change. */
  readonly vouched?: object;
  /** See `FoundFile`: by these it is told whether a file that is longer by now was only appended to. */
  readonly inode?: bigint;
  readonly edges?: bigint;
}

export interface ReadOrder {
  readonly source: SourceToRead;
  /** Of the session. */
  readonly algorithm: DigestAlgorithm;
  /**
   * Segments that the receiver holds: number -> digest; they are compared, and sent only if they differ. Undefined: it
   * holds nothing.
   */
  readonly held?: ReadonlyMap<number, string> | undefined;
  /**
   * What the receiver has of a file that stands there: whole pieces that are the same are told, wherever they are in
   * it.
   */
  readonly basis?: readonly BasisSegment[] | undefined;
  /** How long those segments are, in bytes: `pieceSize` times a power of two; default `segmentSizeOf(size)`. */
  readonly segmentSize?: number;
}

/** What is next in a file. All pieces together are the whole file, in order, without gaps. */
export type Piece =
  /**
   * Bytes to be sent, in shared memory: `pieceSize` of them, or fewer at the end of the file. Release them exactly
   * once.
   */
  | { readonly kind: 'bytes'; readonly offset: number; readonly bytes: Uint8Array; release(): void }
  /** A run of whole pieces of zeros, or up to the end of the file. */
  | { readonly kind: 'zero'; readonly offset: number; readonly size: number }
  /** Held segments that are as they should be. */
  | { readonly kind: 'keep'; readonly first: number; readonly count: number }
  /** A run of whole pieces, or up to the end of the file, that stands at the receiver from its byte `from` on. */
  | { readonly kind: 'copy'; readonly offset: number; readonly size: number; readonly from: number }
  /** Always last, once everything is known to be unchanged; the file may have grown behind it. */
  | { readonly kind: 'end'; readonly size: number; readonly digests: Digests; readonly grew?: true };

/**
 * A piece that a shared reading is past already for one receiver: it is read again when a connection can take it.
 * Release it exactly once.
 */
export interface MissedPiece {
  readonly kind: 'missed';
  readonly offset: number;
  readonly size: number;
  release(): void;
}

/** What a session needs of a `SegmentReader`: its own, or a share of one. */
export interface PieceReader {
  read(order: ReadOrder, signal?: AbortSignal): AsyncGenerator<Piece | MissedPiece, void, undefined>;
  readStream(input: Readable, algorithm: DigestAlgorithm, signal?: AbortSignal): AsyncGenerator<Piece, void, undefined>;
  warm(): void;
  close(): Promise<void>;
}

/**
 * A thread that reads one large file after another, each once and in order, and hashes it, into memory that a socket
 * can be given as it is. It reads ahead as far as there is memory, and stops while all of it is out.
 */
export class SegmentReader {
  private readonly memory: AlignedMemory;
  /** The number of the last reading that is over, shared with the thread, which then stops that reading. */
  private readonly over = new Int32Array(new SharedArrayBuffer(4));
  private readonly worker: OrderWorker<SegmentOrder, SegmentAnswer>;
  private readings = 0;
  private current: SourceReading | undefined;
  private closed = false;

  /** How many pieces are read before anyone asks for them. */
  private readonly ahead: number;

  /**
   * `slots` is how many pieces of bytes there may be at a time, read ahead or not released yet; `ahead` how many of
   * them are read ahead, by default as many as there are.
   */
  constructor({ slots = 12, ahead = slots }: { slots?: number; ahead?: number } = {}) {
    this.ahead = ahead;
    this.memory = new AlignedMemory(pieceSize, slots, true);
    const setup: SegmentSetup = { memory: this.memory.buffer as SharedArrayBuffer, over: this.over.buffer };
    this.worker = new OrderWorker(path.join(__dirname, 'segment-reader.worker'), setup);
  }

  /**
   * One file at a time. Runs of zeros, and of what the receiver has, are joined, up to 64 MiB or so. Rejects with
   * `source-changed`, at the latest in place of the last piece, with `source-unreadable`, with `interrupted` after
   * `signal` or `close`, with `usage` while another is read.
   */
  async *read(
    { source, algorithm, held, basis, segmentSize = segmentSizeOf(source.size) }: ReadOrder,
    signal?: AbortSignal,
  ): AsyncGenerator<Piece, void, undefined> {
    const { name, ...file } = source;
    const reading = this.begin(name, signal);
    const readInto = (lease: Lease): void => reading.ask({ order: 'read', at: lease.bytes.byteOffset }, lease);
    try {
      reading.ask({ order: 'open', reading: this.readings, file: { ...file, algorithm, held, basis, segmentSize } });
      // Each order is good for a piece or more.
      for (let orders = Math.ceil(source.size / pieceSize) || 1; ;) {
        for (let lease; orders > 0 && reading.asked <= this.ahead && (lease = this.memory.tryLease()); orders--)
          readInto(lease);
        const piece = await reading.next();
        if (piece === undefined) {
          readInto(await reading.lease());
          orders--;
          continue;
        }
        if (piece.kind === 'end') this.end(reading);
        yield piece;
        if (piece.kind === 'end') return;
      }
    } catch (error) {
      if (error instanceof TransferError) throw error;
      throw isBarred(error) ? changed(name) : unreadable(name, error);
    } finally {
      this.end(reading);
    }
  }

  /**
   * The same for a stream, which can be read only once. Zeros are told piece by piece. `input` is destroyed if it is
   * not read to its end. Rejects as `read` does, without naming a file.
   */
  async *readStream(
    input: Readable,
    algorithm: DigestAlgorithm,
    signal?: AbortSignal,
  ): AsyncGenerator<Piece, void, undefined> {
    const reading = this.begin('The input', signal);
    const chunks = (input as AsyncIterable<Uint8Array | string>)[Symbol.asyncIterator]();
    let filling: Lease | undefined;
    let filled = 0;
    try {
      reading.ask({ order: 'begin stream', algorithm });
      for (let next = await reading.wait(chunks.next()); !next.done; next = await reading.wait(chunks.next())) {
        const bytes = typeof next.value === 'string' ? Buffer.from(next.value) : next.value;
        for (let at = 0; at < bytes.length;) {
          while (!filling && !(filling = this.memory.tryLease())) {
            const piece = await reading.next();
            if (piece) yield piece;
            else filling = await reading.lease();
          }
          const some = bytes.subarray(at, at + pieceSize - filled);
          filling.bytes.set(some, filled);
          filled += some.length;
          at += some.length;
          if (filled < pieceSize) continue;
          reading.ask({ order: 'hash', at: filling.bytes.byteOffset, length: filled }, filling);
          filling = undefined;
          filled = 0;
          // One piece is hashed while the next one is filled.
          for (let piece; reading.asked > 1 && (piece = await reading.next());) yield piece;
        }
      }
      if (filling) reading.ask({ order: 'hash', at: filling.bytes.byteOffset, length: filled }, filling);
      filling = undefined;
      reading.ask({ order: 'end stream' });
      for (let piece; (piece = await reading.next());) {
        if (piece.kind === 'end') this.end(reading);
        yield piece;
      }
    } catch (error) {
      throw asTransferError(error, 'source-unreadable', 'The input cannot be read');
    } finally {
      filling?.release();
      input.destroy();
      this.end(reading);
    }
  }

  /** Starts the thread before it is needed. */
  warm(): void {
    this.worker.warm();
  }

  /** Ends the thread. What is being read rejects with `interrupted`; bytes that were handed out stay good. */
  async close(): Promise<void> {
    this.closed = true;
    this.current?.stop();
    await this.worker.close();
  }

  private begin(name: string, signal: AbortSignal | undefined): SourceReading {
    if (this.current) throw new TransferError('usage', 'A reader reads one file at a time.');
    this.current = new SourceReading(name, this.worker, this.memory, signal);
    this.readings++;
    if (this.closed) this.current.stop();
    return this.current;
  }

  private end(reading: SourceReading): void {
    if (this.current !== reading) return;
    this.current = undefined;
    Atomics.store(this.over, 0, this.readings);
    reading.end();
  }
}

/** A file or stream on its way: what was ordered of the thread, and what has come of it. */
class SourceReading {
  private readonly orders: { readonly lease: Lease | undefined; readonly answer: Promise<SegmentAnswer> }[] = [];
  private readonly ready: Piece[] = [];
  private stopped = false;
  private interrupt: () => void = () => undefined;

  readonly stop = (): void => {
    this.stopped = true;
    this.interrupt();
  };

  constructor(
    private readonly name: string,
    private readonly worker: OrderWorker<SegmentOrder, SegmentAnswer>,
    private readonly memory: AlignedMemory,
    private readonly signal: AbortSignal | undefined,
  ) {
    signal?.addEventListener('abort', this.stop, { once: true });
    if (signal?.aborted) this.stop();
  }

  /** How many orders have no answer yet. */
  get asked(): number {
    return this.orders.length;
  }

  ask(order: SegmentOrder, lease?: Lease): void {
    const answer = this.worker.ask(order);
    answer.catch(ignored('whether it failed is asked when its turn comes'));
    this.orders.push({ lease, answer });
  }

  /** What comes next; undefined once all orders are answered. */
  async next(): Promise<Piece | undefined> {
    for (let [order] = this.orders; this.ready.length === 0 && order; [order] = this.orders) {
      const { lease } = order;
      const answer = await this.wait(order.answer);
      this.orders.shift();
      const steps = typeof answer === 'string' ? [] : answer;
      for (const each of steps) {
        if (each.kind !== 'bytes') this.ready.push(each);
        else if (lease) this.ready.push(pieceOf(each, lease));
      }
      if (!steps.some(({ kind }) => kind === 'bytes')) lease?.release();
      if (answer === 'changed') throw changed(this.name);
      if (answer === 'not a file') throw notRegular(this.name);
    }
    return this.ready.shift();
  }

  /** Waits for memory. */
  async lease(): Promise<Lease> {
    const leasing = this.memory.lease();
    try {
      return await this.wait(leasing);
    } catch (error) {
      void leasing.then((lease) => lease.release());
      throw error;
    }
  }

  /** As `promise`, but rejects with `interrupted` as soon as this is stopped. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.interrupt = () => reject(new TransferError('interrupted', 'Interrupted.'));
      if (this.stopped) this.interrupt();
      promise.then(resolve, reject);
    });
  }

  /** Gives back all memory but that of pieces that were handed out; what the thread still fills, once it is through. */
  end(): void {
    this.signal?.removeEventListener('abort', this.stop);
    for (const piece of this.ready) if (piece.kind === 'bytes') piece.release();
    this.ask({ order: 'close' });
    for (const { lease, answer } of this.orders)
      void answer.catch(ignored('nobody reads any more')).then(() => lease?.release());
  }
}

function pieceOf({ offset, length }: Extract<SegmentStep, { kind: 'bytes' }>, lease: Lease): Piece {
  return { kind: 'bytes', offset, bytes: lease.bytes.subarray(0, length), release: () => lease.release() };
}
