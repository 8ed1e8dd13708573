import { parentPort, Worker, type WorkerOptions } from 'node:worker_threads';
import { TransferError } from '../errors';
import { endThread, startThread } from './addon';
import { workerStart } from './program-parts';

interface Failure {
  readonly message: string;
  /** The name of the errno, and its negative number: some have no name in Node. */
  readonly code?: string | undefined;
  readonly errno?: number | undefined;
  /** What was asked of the system. */
  readonly syscall?: string | undefined;
  /** Of a `TransferError`. */
  readonly hint?: string | undefined;
  readonly nameTaken?: boolean | undefined;
}

/** What an order came to. */
export type Result<Answer> = { readonly answer: Answer } | { readonly failure: Failure };

interface PendingOrder<Answer> {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A thread that carries out orders by plain synchronous calls, many at a time. For work of some microseconds that is
 * several times as cheap as the asynchronous calls, each of which wakes another thread. Orders given in the same turn
 * of the event loop travel together.
 */
export class OrderWorker<Order, Answer> {
  private worker: Worker | undefined;
  private readonly asked: PendingOrder<Answer>[] = [];
  private outbox: Order[] = [];
  private dead: Error | undefined;

  /** `file` is the worker's module without its extension; `setup` arrives there as `workerData`. */
  constructor(
    private readonly file: string,
    private readonly setup: unknown,
  ) {}

  /**
   * Starts the thread, so that the first order does not wait for it; not once it is closed. Without this the first
   * order starts it.
   */
  warm(): void {
    if (!this.dead) this.start();
  }

  private start(): Worker {
    if (this.worker) return this.worker;
    const worker = startWorker(this.file, { workerData: this.setup, resourceLimits: { maxYoungGenerationSizeMb: 4 } });
    worker.on('message', (results: readonly Result<Answer>[]) => this.receive(results));
    worker.on('error', (error) => this.fail(error instanceof Error ? error : new Error(String(error))));
    worker.on('exit', () => this.fail(new Error('The thread has ended.')));
    // After the listeners, since listening for messages keeps the process alive again.
    worker.unref();
    this.worker = worker;
    return worker;
  }

  /** Whether it answers no more, because it was closed or has died. */
  get ended(): boolean {
    return this.dead !== undefined;
  }

  /** How many orders are not answered yet. */
  get load(): number {
    return this.asked.length;
  }

  /** Rejects with an Error that carries the errno `code` of the call that failed. */
  ask(order: Order): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.dead) {
        reject(this.dead);
        return;
      }
      const worker = this.start();
      if (this.asked.push({ resolve, reject }) === 1) worker.ref();
      if (this.outbox.push(order) === 1) setImmediate(() => worker.postMessage(this.outbox.splice(0)));
    });
  }

  async close(): Promise<void> {
    if (this.worker) await endWorker(this.worker);
    else this.fail(new Error('The thread was never started.'));
  }

  /** Answers come in the order of the orders. */
  private receive(results: readonly Result<Answer>[]): void {
    for (const result of results) {
      const asked = this.asked.shift();
      if ('answer' in result) asked?.resolve(result.answer);
      else asked?.reject(Object.assign(new Error(result.failure.message), result.failure));
    }
    if (this.asked.length === 0) this.worker?.unref();
  }

  private fail(error: Error): void {
    this.dead ??= error;
    for (const { reject } of this.asked.splice(0)) reject(error);
  }
}

/**
 * The other end of an `OrderWorker`, in its thread: `carryOut` gets the orders that arrived together, and gives one
 * result for each.
 */
export function serveTogether<Order, Answer>(carryOut: (orders: readonly Order[]) => Promise<Result<Answer>[]>): void {
  let turn = Promise.resolve();
  parentPort?.on('message', (orders: readonly Order[]) => {
    turn = turn.then(async () => parentPort?.postMessage(await carryOut(orders)));
  });
}

/**
 * The same for orders that take longer than a message: `carryOut` gets them one by one, and each result leaves at once.
 */
export function serveEach<Order, Answer>(carryOut: (order: Order) => Promise<Answer>): void {
  let turn = Promise.resolve();
  parentPort?.on('message', (orders: readonly Order[]) => {
    for (const order of orders)
      turn = turn.then(async () =>
        parentPort?.postMessage([await carryOut(order).then((answer) => ({ answer }), failureOf)]),
      );
  });
}

/** What travels back for an order that threw `error`. */
export function failureOf(error: unknown): { readonly failure: Failure } {
  if (error instanceof TransferError) {
    const { message, code, hint, nameTaken } = error;
    return { failure: { message, code, hint, nameTaken } };
  }
  const { message, code, errno, syscall } = error as NodeJS.ErrnoException;
  return { failure: { message, code, errno, syscall } };
}

/** Starts the worker's module `file`, given without its extension. */
export function startWorker(file: string, options: WorkerOptions = {}): Worker {
  const start = workerStart(file);
  // Descriptors are opened and closed by different means here, which Node would take for a mistake, and say so on
  // stderr.
  return startThread(() => new Worker(start.from, { trackUnmanagedFds: false, ...options, ...start.options }));
}

/**
 * Ends a worker. From now on it cannot be unreferenced: an answer that comes late would do that, and a process that
 * nothing else keeps alive would end before its thread does, and before whoever waits for that.
 */
export async function endWorker(worker: Worker): Promise<void> {
  worker.unref = () => undefined;
  await endThread(worker);
}
