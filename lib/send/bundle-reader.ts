import path from 'node:path';
import { AlignedMemory, type Lease } from '../threads/aligned-memory';
import type { DigestAlgorithm } from '../digest/digest';
import { asTransferError, TransferError } from '../errors';
import { Lane } from '../threads/lane';
import { isBarred, type Located } from '../threads/walker';
import type { EntryName } from '../name';
import type { BundledFile } from '../wire/session-list';
import { longestBundle } from '../wire/session-message';
import type { BundleAnswer, BundleFailure, BundleOrder, BundleSetup } from './bundle-reader.worker';
import { changed, notRegular, unreadable } from '../scan/source';

/** A small file, and what it was when it was offered. */
export interface SmallSource extends Located {
  /** Its number on the wire. */
  readonly file: number;
  readonly name: EntryName;
  readonly size: number;
  /** Times in ns since 1970. */
  readonly mtime: bigint;
  readonly ctime: bigint;
  /** See `FoundFile`; where it is given, another ctime alone is no change. */
  readonly vouched?: object;
  /** The digest that the receiver says it holds of this file. */
  readonly held?: string;
}

/** Small files as they go out together. */
export interface ReadBundle {
  /** The files read, in order; their contents stand one after another in `bytes`, without those of `kept`. */
  readonly files: readonly BundledFile[];
  /** At most `longestBundle`; shared memory. */
  readonly bytes: Uint8Array;
  /** Files that the receiver holds already, with their digests: not in `bytes`. */
  readonly kept: readonly BundledFile[];
  /** `source-changed` and `source-unreadable`, of one file each. */
  readonly failures: readonly { readonly file: number; readonly error: TransferError }[];
  /** Gives `bytes` back to be filled anew. Exactly once. */
  release(): void;
}

/** A thread that reads many small files in one go, into memory that a socket can be given as it is. */
export class BundleReader {
  private readonly memory: AlignedMemory;
  private readonly lane: Lane<BundleOrder, BundleAnswer>;
  /** Those who wait for memory, and hear of it when there will be none. */
  private readonly waiting = new Set<(error: TransferError) => void>();
  private closed = false;

  /** `slots` is how many bundles there may be at a time, from `read` to `release`. */
  constructor(algorithm: DigestAlgorithm, { slots = 6 }: { slots?: number } = {}) {
    this.memory = new AlignedMemory(longestBundle, slots, true);
    const setup: BundleSetup = { memory: this.memory.buffer as SharedArrayBuffer, algorithm };
    this.lane = new Lane(path.join(__dirname, 'bundle-reader.worker'), setup);
  }

  /**
   * Waits for a free slot, then reads `sources`, whose sizes add up to at most `longestBundle`. Calls are answered in their order.
   * What is wrong with one file is told in `failures`. Rejects with `usage` for too many bytes, with `interrupted` after `close`.
   */
  async read(sources: readonly SmallSource[]): Promise<ReadBundle> {
    if (sources.reduce((sum, { size }) => sum + size, 0) > longestBundle) throw new TransferError('usage', `A bundle has at most ${longestBundle} bytes.`);
    const lease = this.memory.tryLease() ?? (await this.lease());
    try {
      return bundleOf(sources, await this.lane.ask(orderOf(sources, lease)), lease);
    } catch (error) {
      lease.release();
      throw this.closed ? interrupted(error) : asTransferError(error, 'unexpected', 'The thread that reads small files failed');
    }
  }

  /** Starts the thread before it is needed. */
  warm(): void {
    this.lane.warm();
  }

  /** Ends the thread. Reads that are pending reject with `interrupted`; bundles that were read stay good. */
  async close(): Promise<void> {
    this.closed = true;
    for (const reject of this.waiting) reject(interrupted());
    await this.lane.close();
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

function interrupted(cause?: unknown): TransferError {
  return new TransferError('interrupted', 'Interrupted.', { cause });
}

function orderOf(sources: readonly SmallSource[], lease: Lease): BundleOrder {
  return {
    at: lease.bytes.byteOffset,
    paths: sources.map((source) => source.path),
    below: sources.map(({ below }) => below),
    sizes: sources.map(({ size }) => size),
    times: BigInt64Array.from(sources.flatMap(({ mtime, ctime }) => [mtime, ctime])),
    ...(sources.some(({ vouched }) => vouched) ? { vouched: sources.map(({ vouched }) => vouched !== undefined) } : {}),
    ...(sources.some(({ held }) => held !== undefined) ? { held: sources.map(({ held }) => held) } : {}),
  };
}

function bundleOf(sources: readonly SmallSource[], answer: BundleAnswer, lease: Lease): ReadBundle {
  const files: BundledFile[] = [];
  const kept: BundledFile[] = [];
  const failures: { file: number; error: TransferError }[] = [];
  let length = 0;
  for (const [at, { file, name, size, held }] of sources.entries()) {
    const digest = answer[at] ?? { failure: 'changed' };
    if (typeof digest !== 'string') {
      failures.push({ file, error: errorOf(name, digest.failure) });
    } else if (digest === held) {
      kept.push({ file, size, digest });
    } else {
      files.push({ file, size, digest });
      length += size;
    }
  }
  return { files, bytes: lease.bytes.subarray(0, length), kept, failures, release: () => lease.release() };
}

function errorOf(name: EntryName, failure: BundleFailure): TransferError {
  if (failure === 'changed') return changed(name);
  if (failure === 'not a file') return notRegular(name);
  const cause = Object.assign(new Error(failure.message), failure);
  // Something else stands on the way to it by now, or in its place.
  return isBarred(cause) ? changed(name) : unreadable(name, cause);
}
