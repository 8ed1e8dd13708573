/**
 * Small files that come whole: each is gathered in memory, and stored in a batch with those that come at the same time,
 * of whatever connection.
 */
import { createDigests, type DigestAlgorithm } from '../digest/digest';
import { TransferError } from '../errors';
import type { Lease } from '../threads/aligned-memory';
import { ignored } from '../trace';
import type { BatchOutcome, SessionStore, SmallFile } from './session-store';
import { StagedSteps } from './staged-steps';
import { type Committed, incomplete, mismatch } from './store';
import type { NewFile, StagedFile } from './staged-file';

/** Bytes of whole files that may wait for memory of the store. */
const mostWaiting = 8 * 1024 * 1024;

interface Promised {
  readonly file: NewFile;
  readonly resolve: (committed: Committed) => void;
  readonly reject: (error: TransferError) => void;
}

/** Files whose contents lie one after another in memory of the store. */
interface OpenBundle {
  readonly lease: Lease;
  readonly files: SmallFile[];
  used: number;
}

/**
 * Stores whole small files together: while one batch is committed, the next one gathers, so that a sender of one file
 * waits for nobody, and many files share the syncs of their disk.
 */
export class GatheredFiles {
  private readonly waiting = new Map<number, Promised>();
  private bundle: OpenBundle | undefined;
  private next = 0;
  private committing: Promise<void> | undefined;
  /** Bytes of whole files that wait for memory of the store. */
  private bytes = 0;
  private wake: (() => void)[] = [];

  constructor(private readonly store: Pick<SessionStore, 'batch' | 'verified'>) {}

  /** Resolves once few enough bytes wait here: the disk is slower than the network. */
  async room(): Promise<void> {
    while (this.bytes > mostWaiting) await new Promise<void>((resolve) => this.wake.push(resolve));
  }

  /**
   * Resolves when it is under its final name, read back and durable. Rejects with `mismatch`, `exists`, `name`, `space`
   * or `disk`.
   */
  async put(file: NewFile, content: Uint8Array): Promise<Committed> {
    const number = this.next++;
    const committed = new Promise<Committed>((resolve, reject) => this.waiting.set(number, { file, resolve, reject }));
    committed.catch(ignored('whoever stores it is told'));
    this.bytes += file.size;
    await this.add(number, file, content);
    this.bytes -= file.size;
    for (const wake of this.wake.splice(0)) wake();
    this.committing ??= this.commitAll().finally(() => (this.committing = undefined));
    return committed;
  }

  /** When nothing is stored any more. */
  async close(): Promise<void> {
    await this.committing;
    this.bundle?.lease.release();
  }

  private async add(number: number, { name, size, digest }: NewFile, content: Uint8Array): Promise<void> {
    // Others may have taken what is open, or filled it, while this one waited for memory.
    while (!this.bundle || this.bundle.used + size > this.bundle.lease.bytes.length) {
      this.writeBundle();
      const lease = await this.store.batch.memory.lease();
      if (this.bundle) lease.release();
      else this.bundle = { lease, files: [], used: 0 };
    }
    const { lease, files, used } = this.bundle;
    lease.bytes.set(content, used);
    this.bundle.used += size;
    files.push({ entry: { file: number, name, size }, digest });
  }

  private writeBundle(): void {
    const { bundle } = this;
    this.bundle = undefined;
    // What fails comes out of the commit.
    if (bundle) void this.store.batch.write(bundle.lease, bundle.files).catch(ignored('the commit of its batch tells'));
  }

  private async commitAll(): Promise<void> {
    while (this.waiting.size > 0) {
      // Those that arrive in the same turn belong together.
      await new Promise((resolve) => setImmediate(resolve));
      this.writeBundle();
      for (const [number, outcome] of await this.store.batch.commit()) this.settle(number, outcome);
    }
  }

  private settle(number: number, outcome: BatchOutcome): void {
    const promised = this.waiting.get(number);
    this.waiting.delete(number);
    if (outcome instanceof TransferError) promised?.reject(outcome);
    else if (outcome !== 'stored') promised?.resolve(outcome);
    else promised?.resolve({ path: promised.file.name, verified: this.store.verified, outcome });
  }
}

const nothing = new Uint8Array(0);

/** A small file on its way into a store: its bytes in memory until it is whole. */
export class GatheredFile implements StagedFile {
  /** None before the first byte, and none once the batch has it. */
  private content: Uint8Array = nothing;
  private received = 0;
  private readonly steps: StagedSteps;

  constructor(
    private readonly file: NewFile,
    private readonly algorithm: DigestAlgorithm,
    private readonly files: GatheredFiles,
    /** Told once, when it has ended, and whether its bytes were kept. */
    over: (file: StagedFile, kept: boolean) => void,
  ) {
    this.steps = new StagedSteps((kept) => over(this, kept));
  }

  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    this.steps.throwIfEnded();
    if (this.content === nothing) this.content = Buffer.allocUnsafe(this.file.size);
    const count = await fill(this.content.subarray(this.received), () => false);
    this.received += count;
    return count;
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    this.steps.throwIfEnded();
    if (this.received !== this.file.size) throw incomplete(this.file, this.received);
    await this.steps.verify(() => this.compare());
    onProgress?.(this.file.size);
  }

  commit(): Promise<Committed> {
    return this.steps.commit(() => {
      const { content } = this;
      this.content = nothing;
      return this.files.put(this.file, content);
    });
  }

  discard(): Promise<void> {
    return this.steps.discard(() => Promise.resolve());
  }

  private async compare(): Promise<void> {
    const { file, algorithm } = this;
    const hashing = await createDigests([algorithm]);
    hashing.update(this.content);
    const { [algorithm]: actual } = hashing.digests();
    if (actual !== file.digest)
      throw mismatch(file.name, algorithm, { [algorithm]: file.digest }, { [algorithm]: actual });
  }
}
