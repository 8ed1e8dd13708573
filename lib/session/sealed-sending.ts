import path from 'node:path';
import type { Worker } from 'node:worker_threads';
import { TransferError } from '../errors';
import { startWorker } from '../threads/order-worker';
import { usualLinkDeadlines } from './deadlines';
import type { LinkDeadlines } from './link';
import type { SealedSetup } from './sealed-link';
import type { SealedConnection } from './sealed-opening';
import type { SendingAnswer, SendingOrder } from './sealed-sending.worker';

interface Underway {
  readonly resolve: (wire: number) => void;
  readonly reject: (error: TransferError) => void;
}

/** The sender's end of a sealed connection: a thread seals what is to be sent, where it lies, and sends it. */
export class SealedSending {
  readonly sealed = true;
  private readonly underway: Underway[] = [];
  private readonly worker: Worker;
  private failure: TransferError | undefined;
  private gone = false;
  private readonly over: Promise<void>;

  constructor(
    private readonly connection: SealedConnection,
    deadlines: LinkDeadlines = usualLinkDeadlines,
  ) {
    const { descriptor, early, incoming, outgoing } = connection;
    const setup: SealedSetup = { fd: descriptor.fd, early, incoming, outgoing, deadlines };
    this.worker = startWorker(path.join(__dirname, 'sealed-sending.worker'), {
      workerData: setup,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    this.worker.on('message', (answer: SendingAnswer) => this.answered(answer));
    this.worker.on('error', (cause) => {
      this.failure ??= new TransferError('unexpected', 'The thread of a sealed connection failed.', { cause });
    });
    this.over = new Promise((resolve) => {
      this.worker.once('exit', () => {
        this.gone = true;
        descriptor.close();
        // Reject only now: until the thread has ended it may still use their memory.
        for (const { reject } of this.underway.splice(0)) reject(this.lost());
        resolve();
      });
    });
  }

  /**
   * Sends a frame; resolves, when the system has taken it, with what it cost beside its payload, in bytes. The payload
   * may lie in shared memory, of which nothing is left then. Rejects with `connection-lost` or `timeout`, once the
   * memory is free.
   */
  send(header: object, ...payload: readonly Uint8Array[]): Promise<number> {
    if (this.gone) return Promise.reject(this.lost());
    return new Promise((resolve, reject) => {
      this.underway.push({ resolve, reject });
      this.order({ order: 'send', header, payload });
    });
  }

  /** Sends FIN after everything sent so far. */
  finish(): Promise<void> {
    if (!this.gone) this.order({ order: 'finish' });
    return Promise.resolve();
  }

  /** Ends it at once. */
  close(reason?: TransferError): void {
    this.failure ??= reason;
    this.connection.descriptor.end();
    // The thread waits for orders, and not for the socket.
    if (!this.gone) this.order({ order: 'finish' });
  }

  /** Resolves when it has ended, whyever, and its thread is gone. */
  ended(): Promise<void> {
    return this.over;
  }

  private order(order: SendingOrder): void {
    this.worker.postMessage(order);
  }

  private answered(answer: SendingAnswer): void {
    if ('sent' in answer) this.underway.shift()?.resolve(answer.sent);
    else if (answer.ended) this.failure ??= new TransferError(answer.ended.code, answer.ended.message);
  }

  private lost(): TransferError {
    return this.failure ?? new TransferError('connection-lost', 'The connection was lost.');
  }
}
