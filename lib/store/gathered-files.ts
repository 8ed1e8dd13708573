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

/**
 * What became of a file: it is under its final name, read back and durable, or `mismatch`, `exists`, `name` and so on.
 */
export type FileOutcome = Committed | TransferError;

/** Files that a store has taken, all of them in its memory. */
export interface TakenFiles {
  /** Never rejects: what became of each, in their order. */
  readonly settled: Promise<readonly FileOutcome[]>;
}

/** Files that were taken together, and what became of them so far. */
interface Together {
  readonly files: readonly NewFile[];
  readonly outcomes: FileOutcome[];
  left: number;
  readonly resolve: (outcomes: readonly FileOutcome[]) => void;
}

/** As many files as are ever taken together, and more. */
const mostTogether = 2 ** 20;
/** Gathered files from which a batch is committed beside another. */
const worthAnother = 1024;

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
  /** By their numbers; that of a file is made of that and its place among them. */
  private readonly waiting = new Map<number, Together>();
  private bundle: OpenBundle | undefined;
  private next = 0;
  private readonly committing = new Set<Promise<void>>();
  private dueLater: NodeJS.Immediate | undefined;
  /** Bytes of whole files that wait for memory of the store. */
  private bytes = 0;
  private wake: (() => void)[] = [];

  constructor(private readonly store: Pick<SessionStore, 'batch' | 'verified'>) {}

  /** Resolves once few enough bytes wait here: the disk is slower than the network. */
  async room(): Promise<void> {
    while (this.bytes > mostWaiting) await new Promise<void>((resolve) => this.wake.push(resolve));
  }

  /**
   * Copies files into memory of the store, whenever there is room; resolves when all are copied, and the caller may use
   * `contents` again. Rejects where there is no memory to be had.
   */
  async take(files: readonly NewFile[], contents: readonly Uint8Array[]): Promise<TakenFiles> {
    if (files.length === 0) return { settled: Promise.resolve([]) };
    const number = this.next++;
    const settled = new Promise<readonly FileOutcome[]>((resolve) =>
      this.waiting.set(number, { files, outcomes: [], left: files.length, resolve }),
    );
    let bytes = 0;
    for (const { size } of files) bytes += size;
    this.bytes += bytes;
    for (let at = 0; at < files.length; at++) {
      const file = files[at];
      const content = contents[at];
      if (!file || !content) continue;
      if (!this.hasRoom(file.size)) await this.openBundle(file.size);
      this.add(number * mostTogether + at, file, content);
    }
    this.bytes -= bytes;
    for (const wake of this.wake.splice(0)) wake();
    this.commitLater();
    return { settled };
  }

  /** When nothing is stored any more. */
  async close(): Promise<void> {
    while (this.dueLater !== undefined || this.committing.size > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(this.committing);
    }
    this.bundle?.lease.release();
  }

  private hasRoom(size: number): boolean {
    const { bundle } = this;
    return bundle !== undefined && bundle.used + size <= bundle.lease.bytes.length;
  }

  private async openBundle(size: number): Promise<void> {
    // Others may have taken what is open, or filled it, while this one waited for memory.
    while (!this.hasRoom(size)) {
      this.writeBundle();
      const lease = await this.store.batch.memory.lease();
      if (this.bundle) lease.release();
      else this.bundle = { lease, files: [], used: 0 };
    }
  }

  private add(number: number, { name, size, digest }: NewFile, content: Uint8Array): void {
    const { bundle } = this;
    if (!bundle) return;
    bundle.lease.bytes.set(content, bundle.used);
    bundle.used += size;
    bundle.files.push({ entry: { file: number, name, size }, digest });
  }

  private writeBundle(): void {
    const { bundle } = this;
    this.bundle = undefined;
    // A failed write is reported by the commit.
    if (bundle) void this.store.batch.write(bundle.lease, bundle.files).catch(ignored('the commit of its batch tells'));
  }

  /** Those that arrive in the same turn belong together. */
  private commitLater(): void {
    this.dueLater ??= setImmediate(() => {
      this.dueLater = undefined;
      if (!this.isDue()) return;
      const committing = this.commit().finally(() => {
        this.committing.delete(committing);
        this.commitLater();
      });
      this.committing.add(committing);
    });
  }

  /** A single file is committed at once; beside another commit, only a batch that is worth one more. */
  private isDue(): boolean {
    const { open, limits } = this.store.batch;
    const entries = open.entries + (this.bundle?.files.length ?? 0);
    if (this.committing.size === 0) return entries > 0;
    return this.committing.size < limits.commits && entries >= worthAnother;
  }

  private async commit(): Promise<void> {
    this.writeBundle();
    (await this.store.batch.commit()).forEach((outcome, number) => this.settle(number, outcome));
  }

  private settle(number: number, outcome: BatchOutcome): void {
    const at = number % mostTogether;
    const key = (number - at) / mostTogether;
    const together = this.waiting.get(key);
    if (!together) return;
    together.outcomes[at] =
      outcome === 'stored' ? { path: together.files[at]?.name ?? '', verified: this.store.verified, outcome } : outcome;
    if (--together.left > 0) return;
    this.waiting.delete(key);
    together.resolve(together.outcomes);
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
    return this.steps.commit(async () => {
      const { content } = this;
      this.content = nothing;
      const { settled } = await this.files.take([this.file], [content]);
      const [outcome = incomplete(this.file, this.received)] = await settled;
      if (outcome instanceof TransferError) throw outcome;
      return outcome;
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
