import { open } from 'node:fs/promises';
import path from 'node:path';
import { AlignedMemory, type Lease } from '../threads/aligned-memory';
import type { DigestAlgorithm } from '../digest/digest';
import { asTransferError, TransferError } from '../errors';
import { OrderWorker } from '../threads/order-worker';
import { isBarred, readFlags } from '../threads/walker';
import { longestBundle } from '../wire/session-message';
import { type FoundBatch, locate, splitTexts } from '../scan/found-batch';
import { fewFiles } from '../scan/tree-scan';
import { systemPath } from '../name-bytes';
import { smallFile } from '../wire/segment';
import {
  type BundleAnswer,
  type BundleFailure,
  type BundleOrder,
  BundleReading,
  type BundleSetup,
} from './bundle-reading';
import { changed, damagedSource, notRegular, sizeless, unreadable } from '../scan/source';
import type { OfferedBatch } from './offered-batch';
import { ignored } from '../trace';

/** Small files as they go out together. */
export interface ReadBundle extends Omit<BundleAnswer, 'length'> {
  /** The contents of `files`, at most `longestBundle`; shared memory. */
  readonly bytes: Uint8Array;
  /** Gives `bytes` back to be filled anew. Exactly once. */
  release(): void;
}

/** What a session needs of a `BundleReader`: its own, or a share of one. */
export type SmallFileReader = Pick<BundleReader, 'know' | 'forget' | 'read' | 'close'>;

type BundleRead = Extract<BundleOrder, { readonly order: 'read' }>;

/** Whether entries are few files that somebody named, and nothing that was found below a directory. */
function areFewNamed({ length, below }: FoundBatch): boolean {
  return length <= fewFiles && splitTexts(below, length).every((each) => each === '');
}

/**
 * Reads many small files in one go, into memory that a socket can be given as it is: in a thread, unless it is told of
 * few named ones only.
 */
export class BundleReader {
  private readonly memory: AlignedMemory;
  private readonly setup: BundleSetup;
  /** Entries that a new thread has to know. */
  private readonly known = new Map<number, FoundBatch>();
  private started = false;
  private readonly worker: OrderWorker<BundleOrder, BundleAnswer>;
  /** Calls that wait for memory; they get the error when there will be none. */
  private readonly waiting = new Set<(error: TransferError) => void>();
  private closed = false;

  /** `slots` is how many bundles there may be at a time, from `read` to `release`. */
  constructor(algorithm: DigestAlgorithm, { slots = 6 }: { slots?: number } = {}) {
    this.memory = new AlignedMemory(longestBundle, slots, true);
    this.setup = { memory: this.memory.buffer as SharedArrayBuffer, algorithm };
    this.worker = new OrderWorker(path.join(__dirname, 'bundle-reader.worker'), this.setup);
  }

  /** Tells of entries, before any of their files is read: once, until `forget`. */
  know({ first, found }: Pick<OfferedBatch, 'first' | 'found'>): void {
    this.known.set(first, found);
    if (this.started) this.tell({ order: 'know', first, batch: found });
  }

  /** No file of the entries from number `first` on is read any more. */
  forget(first: number): void {
    this.known.delete(first);
    if (this.started) this.tell({ order: 'forget', first });
  }

  /**
   * Waits for a free slot, then reads the files with these numbers, of which it was told, and whose sizes add up to
   * at most `longestBundle`. What the receiver holds, by number and digest, is not among the contents if it is the
   * same. Calls are answered in their order. What is wrong with one file is told in `failures`. Rejects with
   * `interrupted` after `close`.
   */
  async read(files: readonly number[], held: ReadonlyMap<number, string>): Promise<ReadBundle> {
    const lease = this.memory.tryLease() ?? (await this.lease());
    try {
      const { length, ...answer } = await this.ask({
        order: 'read',
        at: lease.bytes.byteOffset,
        files: Float64Array.from(files),
        held,
      });
      return { ...answer, bytes: lease.bytes.subarray(0, length), release: () => lease.release() };
    } catch (error) {
      lease.release();
      throw this.closed
        ? interrupted(error)
        : asTransferError(error, 'unexpected', 'The thread that reads small files failed');
    }
  }

  /** Starts the thread before it is needed. */
  warm(): void {
    if (this.started) return;
    this.started = true;
    this.worker.warm();
    for (const [first, batch] of this.known) this.tell({ order: 'know', first, batch });
  }

  /** Ends the thread. Reads that are pending reject with `interrupted`; bundles that were read stay good. */
  async close(): Promise<void> {
    this.closed = true;
    for (const reject of this.waiting) reject(interrupted());
    await this.worker.close();
  }

  private ask(order: BundleRead): Promise<BundleAnswer> {
    const [only, another] = this.known;
    if (!this.started && only && !another && areFewNamed(only[1])) return this.readHere(order, ...only);
    this.warm();
    return this.worker.ask(order);
  }

  private async readHere(order: BundleRead, first: number, batch: FoundBatch): Promise<BundleAnswer> {
    if (this.closed) throw interrupted();
    await Promise.all([...order.files].map((file) => fetchContent(locate(batch, file - first, '').path)));
    const reading = new BundleReading(this.setup);
    await reading.carryOut({ order: 'know', first, batch });
    return reading.carryOut(order);
  }

  private tell(order: BundleOrder): void {
    this.worker.ask(order).catch(ignored('where the thread has ended, whoever reads is told'));
  }

  private lease(): Promise<Lease> {
    return new Promise((resolve, reject) => {
      if (this.closed) reject(interrupted());
      this.waiting.add(reject);
      void this.memory.lease().then((lease) => {
        this.waiting.delete(reject);
        resolve(lease);
      });
    });
  }
}

/**
 * Reads the small file once, in a thread of Node's pool, so that a disk that does not answer blocks no other reading.
 * Its failures are found when it is read again.
 */
async function fetchContent(path: string): Promise<void> {
  try {
    const file = await open(systemPath(path), readFlags);
    try {
      if ((await file.stat()).isFile()) await file.read(Buffer.alloc(smallFile));
    } finally {
      await file.close();
    }
  } catch (error) {
    ignored('whoever reads it is told')(error);
  }
}

function interrupted(cause?: unknown): TransferError {
  return new TransferError('interrupted', 'Interrupted.', { cause });
}

/**
 * The failure of one small file: `source-changed`, `source-unreadable`, or `mismatch` for one that is not what someone
 * vouches for.
 */
export function bundleError(name: string, failure: BundleFailure): TransferError {
  if (failure === 'changed') return changed(name);
  if (failure === 'not a file') return notRegular(name);
  if (failure === 'sizeless') return sizeless(name);
  if (failure === 'damaged') return damagedSource(name);
  const cause = Object.assign(new Error(failure.message), failure);
  // Something else stands on the way to it by now, or in its place.
  return isBarred(cause) ? changed(name) : unreadable(name, cause);
}
