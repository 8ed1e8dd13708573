// Small files of the plain wire: each is gathered in memory, and stored in a batch with those that arrive at the same
// time, of whatever connection.
import { createDigests } from '../../digest/digest';
import { asTransferError, TransferError } from '../../errors';
import { ignored } from '../../trace';
import type { Lease } from '../../threads/aligned-memory';
import { algorithmsOf, type Committed, type NewFile, type StagedFile } from '../store';
import type { BatchedFile, BatchStore } from './batch';
import { checkDigests, discarded, incomplete } from './staged-bytes';

/** Of the digests by which batches of the plain wire are read back: the one that its headers have. */
export const gatheredAlgorithm = 'md5';

const mostWaiting = 8 * 1024 * 1024;

interface Gathered {
  readonly file: NewFile;
  readonly content: Uint8Array;
  readonly digest: string;
}

interface Promised {
  readonly resolve: (committed: Committed) => void;
  readonly reject: (error: TransferError) => void;
}

/** Files whose contents lie one after another in memory of the batch store. */
interface OpenBundle {
  readonly lease: Lease;
  readonly files: BatchedFile[];
  used: number;
}

/**
 * Stores whole small files together: while one batch is committed, the next one gathers, so that a sender of one file
 * waits for nobody, and many files share the syncs of their disk.
 */
export class FilesTogether {
  private readonly waiting = new Map<number, Promised>();
  private bundle: OpenBundle | undefined;
  private next = 0;
  private committing: Promise<void> | undefined;
  /** Bytes of whole files that wait for memory of the batch store. */
  private bytes = 0;
  private wake: (() => void)[] = [];

  /** `batches` is this store's own, with `gatheredAlgorithm`. */
  constructor(
    private readonly batches: BatchStore,
    /** Permission bits of new files. */
    private readonly mode: number,
  ) {}

  /** Resolves once few enough bytes wait here: the disk is slower than the network. */
  async room(): Promise<void> {
    while (this.bytes > mostWaiting) await new Promise<void>((resolve) => this.wake.push(resolve));
  }

  /** Resolves when it is under its final name, read back and durable. Rejects with `mismatch`, `exists`, `name`, `space` or `disk`. */
  async store(gathered: Gathered): Promise<Committed> {
    const number = this.next++;
    const committed = new Promise<Committed>((resolve, reject) => this.waiting.set(number, { resolve, reject }));
    committed.catch(ignored('whoever stores it is told'));
    this.bytes += gathered.file.size;
    await this.add(number, gathered);
    this.bytes -= gathered.file.size;
    for (const wake of this.wake.splice(0)) wake();
    this.committing ??= this.commitAll().finally(() => (this.committing = undefined));
    return committed;
  }

  /** When nothing is stored any more. */
  async close(): Promise<void> {
    await this.committing;
    this.bundle?.lease.release();
    await this.batches.close();
  }

  private async add(number: number, { file, content, digest }: Gathered): Promise<void> {
    const { name, size, ifExists } = file;
    // Others may have taken what is open, or filled it, while this one waited for memory.
    while (!this.bundle || this.bundle.used + size > this.bundle.lease.bytes.length || !this.takes(ifExists)) {
      this.writeBundle();
      const lease = await this.batches.memory.lease();
      if (this.bundle) lease.release();
      else this.bundle = { lease, files: [], used: 0 };
    }
    const { lease, files, used } = this.bundle;
    lease.bytes.set(content, used);
    this.bundle.used += size;
    const mtime = BigInt(Date.now()) * 1_000_000n;
    files.push({ file: number, name, size, digest, mode: this.mode, mtime, ifExists });
  }

  /** One rule for all files of a bundle. */
  private takes(ifExists: NewFile['ifExists']): boolean {
    return this.bundle?.files.every((other) => other.ifExists === ifExists) ?? false;
  }

  private writeBundle(): void {
    const { bundle } = this;
    this.bundle = undefined;
    // What fails comes out of the commit.
    if (bundle) void this.batches.write(bundle.lease, bundle.files).catch(ignored('the commit of its batch tells'));
  }

  private async commitAll(): Promise<void> {
    while (this.waiting.size > 0) {
      // Those that arrive in the same turn belong together.
      await new Promise((resolve) => setImmediate(resolve));
      this.writeBundle();
      for (const { file, committed, error } of await this.batches.flush()) {
        const promised = this.waiting.get(file);
        this.waiting.delete(file);
        if (committed) promised?.resolve(committed);
        else promised?.reject(error ?? discarded());
      }
    }
  }
}

const nothing = new Uint8Array(0);

/** A small file on its way into a store: its bytes in memory until it is whole. */
export class GatheredFile implements StagedFile {
  /** None before the first byte, and none once the batch has it. */
  private content: Uint8Array = nothing;
  private received = 0;
  private digest: string | undefined;
  private storing: Promise<Committed> | undefined;
  private failure: TransferError | undefined;
  private ended = false;

  constructor(
    private readonly file: NewFile,
    private readonly together: FilesTogether,
    /** Told once, when it was committed or discarded. */
    private readonly over: (file: GatheredFile) => void,
  ) {}

  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    this.throwIfEnded();
    if (this.content === nothing) this.content = Buffer.allocUnsafe(this.file.size);
    const count = await fill(this.content.subarray(this.received), () => false);
    this.received += count;
    return count;
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    this.throwIfEnded();
    const { file, received } = this;
    if (received !== file.size) throw incomplete(file, received);
    const hashing = await createDigests([...new Set([...algorithmsOf(file.digests), gatheredAlgorithm] as const)]);
    hashing.update(this.content);
    const actual = hashing.digests();
    try {
      checkDigests(file, actual);
    } catch (error) {
      this.failure = asTransferError(error, 'mismatch', 'It does not match');
      throw this.failure;
    }
    this.digest = actual[gatheredAlgorithm];
    onProgress?.(file.size);
  }

  async commit(): Promise<Committed> {
    this.throwIfEnded();
    const { file, content, digest } = this;
    if (digest === undefined) throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    this.content = nothing;
    this.storing = this.together.store({ file, content, digest });
    try {
      return await this.storing;
    } finally {
      this.end();
    }
  }

  /** What is being stored comes to its end first. */
  async discard(): Promise<void> {
    await this.storing?.catch(ignored('commit tells'));
    this.end();
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    this.over(this);
  }

  private throwIfEnded(): void {
    if (this.failure) throw this.failure;
    if (this.ended) throw discarded();
  }
}
