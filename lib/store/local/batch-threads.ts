import path from 'node:path';
import { OrderWorker } from '../../threads/order-worker';
import { systemCalls } from '../../threads/system-calls';
import type { BatchOrder, BatchReply, BatchSetup } from './batch.worker';

/** While one waits for the disk, the other writes the next batch. Each takes nearly 10 MiB. */
const mostWorkers = 2;

/** A thread that stores batches. */
export type BatchWorker = OrderWorker<BatchOrder, BatchReply>;

/**
 * The threads that store batches in one receive directory, whoever sends them: many sessions at once need no more of
 * them than one does. Each is started when it is first needed. One that has died is replaced.
 */
export class BatchThreads {
  private readonly setup: BatchSetup;
  private workers: BatchWorker[] = [];

  /**
   * `root`: the path of the receive directory; `direct`: whether what is on the disk can be read past the page cache;
   * `syncEach`: makes every file and directory durable by itself. Default: only where the system cannot sync a disk as
   * a whole. `most`: most threads.
   */
  constructor(
    {
      syncEach = systemCalls() === undefined,
      ...volume
    }: { readonly root: string; readonly direct: boolean; readonly foldsNames: boolean; readonly syncEach?: boolean },
    private readonly most = mostWorkers,
  ) {
    this.setup = {
      ...volume,
      syncEach,
      umask: process.umask(),
      turn: new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)),
    };
  }

  /** The one with the least to do. A batch stays with its worker. */
  idlest(): BatchWorker {
    const idlest = this.leastLoaded();
    return idlest && (idlest.load === 0 || this.workers.length >= this.most) ? idlest : this.start();
  }

  /** The same for what takes less than the start of one more: looking names up, while nothing is written. */
  running(): BatchWorker {
    return this.leastLoaded() ?? this.start();
  }

  private leastLoaded(): BatchWorker | undefined {
    this.workers = this.workers.filter(({ ended }) => !ended);
    return this.workers.reduce<BatchWorker | undefined>(
      (best, worker) => (best && best.load <= worker.load ? best : worker),
      undefined,
    );
  }

  private start(): BatchWorker {
    const worker: BatchWorker = new OrderWorker(path.join(__dirname, 'batch.worker'), this.setup);
    this.workers.push(worker);
    return worker;
  }

  /** When nobody asks any more. */
  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.close()));
  }
}
