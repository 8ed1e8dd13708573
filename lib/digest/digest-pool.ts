import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { Worker } from 'node:worker_threads';
import type { DigestAlgorithm } from './digest';
import type { SegmentReading } from './digest-segments';
import type { DigestAnswer, Order } from './digest.worker';
import { endWorker, startWorker } from '../threads/order-worker';
import type { Digests } from '../progress';

/** A file to be read from its start and hashed. The descriptor stays open until `digests` has settled. */
export interface ReadingOptions {
  readonly fd: number;
  readonly size: number;
  readonly algorithms: readonly DigestAlgorithm[];
  /** How far it may be read at first, in bytes; the default is all. `advance` raises it. */
  readonly upTo?: number;
  /** Called now and then with the bytes hashed so far. */
  readonly onProgress?: (done: number) => void;
}

/** A file being read and hashed off the caller's thread. */
export interface FileDigest {
  /** Allows reading up to `upTo` bytes. */
  advance(upTo: number): void;
  /**
   * Settles once the descriptor is no longer used. Rejects with an Error carrying the errno `code` when reading failed.
   */
  readonly digests: Promise<Digests>;
  /** Gives up; `digests` then rejects soon. */
  cancel(): void;
}

interface Running {
  readonly onProgress: ((done: number) => void) | undefined;
  readonly resolve: (answer: { readonly digests?: Digests; readonly segments?: readonly string[] }) => void;
  readonly reject: (error: Error) => void;
}

/** One thread of the pool, and the digests that it computes. */
class Member {
  readonly running = new Map<number, Running>();
  private readonly worker: Worker;

  constructor(private readonly died: (member: Member) => void) {
    this.worker = startWorker(path.join(__dirname, 'digest.worker'), {
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    this.worker.on('message', (answer: DigestAnswer) => this.answered(answer));
    this.worker.on('error', (error) => this.fail(error instanceof Error ? error : new Error(String(error))));
    this.worker.on('exit', () => this.fail(new Error('The hashing thread ended.')));
    // After the listeners, since listening for messages keeps the process alive again.
    this.worker.unref();
  }

  start(order: Extract<Order, { order: 'start' | 'segments' }>, running: Running): void {
    this.running.set(order.id, running);
    this.worker.ref();
    this.post(order);
  }

  post(order: Order): void {
    this.worker.postMessage(order);
  }

  async terminate(): Promise<void> {
    await endWorker(this.worker);
  }

  private answered(answer: DigestAnswer): void {
    const running = this.running.get(answer.id);
    if (!running) return;
    if (answer.answer === 'progress') {
      running.onProgress?.(answer.done);
      return;
    }
    this.running.delete(answer.id);
    if (this.running.size === 0) this.worker.unref();
    if (answer.error)
      running.reject(
        Object.assign(
          new Error(answer.error.message),
          answer.error.code === undefined ? {} : { code: answer.error.code },
        ),
      );
    else running.resolve(answer);
  }

  private fail(error: Error): void {
    this.died(this);
    for (const running of this.running.values()) running.reject(error);
    this.running.clear();
  }
}

/**
 * Threads that read files and hash them, so that no digest is computed on a socket's thread. They are started when
 * first needed, at most one a core, and do not keep the process alive while idle.
 */
export class DigestPool {
  private readonly members: Member[] = [];
  private nextId = 1;

  constructor(private readonly most = Math.min(4, availableParallelism())) {}

  digestFile(options: ReadingOptions): FileDigest {
    const { fd, size, algorithms, upTo = size, onProgress } = options;
    const id = this.nextId++;
    const member = this.leastBusy();
    const digests = new Promise<Digests>((resolve, reject) => {
      member.start(
        { id, order: 'start', fd, size, upTo, algorithms },
        { onProgress, resolve: ({ digests = {} }) => resolve(digests), reject },
      );
    });
    return {
      digests,
      advance: (further) => member.post({ id, order: 'advance', upTo: further }),
      cancel: () => member.post({ id, order: 'cancel' }),
    };
  }

  /** The digest of each segment. The descriptor stays open until this has settled. */
  digestSegments(reading: SegmentReading): Promise<readonly string[]> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.leastBusy().start(
        { id, order: 'segments', ...reading },
        { onProgress: undefined, resolve: ({ segments = [] }) => resolve(segments), reject },
      );
    });
  }

  /** Starts a thread before it is needed, so that the first digest does not wait for it. */
  warm(): void {
    if (this.members.length === 0) this.leastBusy();
  }

  /** Ends the threads; digests still running reject. */
  async close(): Promise<void> {
    await Promise.all(this.members.splice(0).map((member) => member.terminate()));
  }

  private leastBusy(): Member {
    const idlest = this.members.reduce<Member | undefined>(
      (best, member) => (best && best.running.size <= member.running.size ? best : member),
      undefined,
    );
    if (idlest && (idlest.running.size === 0 || this.members.length >= this.most)) return idlest;
    const member = new Member((dead) => {
      const at = this.members.indexOf(dead);
      if (at >= 0) this.members.splice(at, 1);
    });
    this.members.push(member);
    return member;
  }
}
