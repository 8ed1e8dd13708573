import path from 'node:path';
import type { Worker } from 'node:worker_threads';
import { TransferError } from '../errors';
import type { Lease } from '../threads/aligned-memory';
import { startWorker } from '../threads/order-worker';
import { SharedPieces } from '../threads/shared-pieces';
import { pieceSize } from '../wire/segment';
import type { Bundle, Segment } from '../wire/session-message';
import { usualLinkDeadlines } from './deadlines';
import type { LinkDeadlines } from './link';
import type { ArrivalsMessage, ArrivalsSetup } from './sealed-arrivals.worker';
import type { SealedConnection } from './sealed-opening';

/** What came on a sealed connection, opened and whole; `wire` is what it cost there, in bytes. */
export type Arrived =
  /** `lease` has the bytes, in memory that all threads share; undefined for zeros. To be released once. */
  | { readonly kind: 'segment'; readonly segment: Segment; readonly lease: Lease | undefined; readonly wire: number }
  /** List and contents, one after the other. */
  | { readonly kind: 'bundle'; readonly bundle: Bundle; readonly payload: Uint8Array; readonly wire: number };

/** Pieces that are here and not written yet, of all sealed connections of this process together. */
const mostPieces = 24;
let pieces: SharedPieces | undefined;

/**
 * The receiver's end of a sealed connection: a thread receives and opens its records, as fast as what came is taken off
 * and released here.
 */
export class SealedArrivals {
  private readonly arrived: Arrived[] = [];
  private readonly worker: Worker;
  private readonly stopped = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  private wake: () => void = () => undefined;
  private failure: TransferError | undefined;
  private ended = false;
  /** Resolves when the thread is gone, and the descriptor closed. */
  readonly closed: Promise<void>;

  constructor(
    private readonly connection: SealedConnection,
    deadlines: LinkDeadlines = usualLinkDeadlines,
  ) {
    pieces ??= SharedPieces.create(pieceSize, mostPieces);
    const { descriptor, early, incoming, outgoing } = connection;
    const setup: ArrivalsSetup = {
      fd: descriptor.fd,
      early,
      incoming,
      outgoing,
      deadlines,
      pieces: pieces.state,
      stopped: this.stopped.buffer,
    };
    this.worker = startWorker(path.join(__dirname, 'sealed-arrivals.worker'), {
      workerData: setup,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    this.worker.on('message', (message: ArrivalsMessage) => this.take(message));
    this.worker.on('error', (cause) =>
      this.end(new TransferError('unexpected', 'The thread of a sealed connection failed.', { cause })),
    );
    this.closed = new Promise((resolve) => {
      this.worker.once('exit', () => {
        this.end(undefined);
        descriptor.close();
        resolve();
      });
    });
    this.worker.unref();
  }

  /** What came next; undefined once the sender has finished. Rejects with why nothing more comes. */
  async next(): Promise<Arrived | undefined> {
    for (;;) {
      const arrived = this.failure && Atomics.load(this.stopped, 0) !== 0 ? undefined : this.arrived.shift();
      if (arrived) return arrived;
      if (this.failure) throw this.failure;
      if (this.ended) return undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Ends it: whoever waits for what comes next gets `reason`, and what came and was not taken off is thrown away. */
  close(reason = new TransferError('connection-lost', 'The connection was closed.')): void {
    this.failure ??= reason;
    Atomics.store(this.stopped, 0, 1);
    this.connection.descriptor.end();
    for (const arrived of this.arrived.splice(0)) release(arrived);
    this.wake();
  }

  private take(message: ArrivalsMessage): void {
    switch (message.kind) {
      case 'end':
        this.end(message.code && new TransferError(message.code, message.message ?? ''));
        return;
      case 'bundle':
        this.arrived.push(message);
        break;
      case 'segment': {
        const { piece, ...rest } = message;
        this.arrived.push({ ...rest, lease: piece === undefined ? undefined : pieces?.lease(piece) });
      }
    }
    if (Atomics.load(this.stopped, 0) !== 0) for (const arrived of this.arrived.splice(0)) release(arrived);
    this.wake();
  }

  private end(failure: TransferError | undefined): void {
    this.failure ??= failure;
    this.ended = true;
    this.wake();
  }
}

function release(arrived: Arrived): void {
  if (arrived.kind === 'segment') arrived.lease?.release();
}
