// Many small files, and everything that is no file, stored together: the main thread's side.
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { AlignedMemory, type Lease } from '../../threads/aligned-memory';
import type { FileStat } from '../../threads/file-calls';
import type { DigestAlgorithm } from '../../digest/digest';
import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Verified } from '../../progress';
import { ignored } from '../../trace';
import { longestBundle } from '../../wire/session-message';
import { packFiles, type SmallFileInMemory } from './batch-list';
import type { BatchThreads, BatchWorker } from './batch-threads';
import type { BatchOrder, BatchReply, CommitAnswer, PublishAnswer } from './batch.worker';
import { noteReadBack } from './read-back-time';
import { type EntryOutcome, lostOf, outcomeOf } from './batch-outcome';
import type { Directory } from './directory';
import type { DirectoryTree } from './directory-tree';
import { ExistingEntries } from './existing-entries';
import { errorOf } from './batch-failure';
import type { EarlierFile, Placing } from './publish';
import { type BatchAnswer, ending, statOf } from './staged-list';
import type { BatchThing } from './batch-tree';
import { diskError } from './disk-error';
import type { DirectoryTime } from '../session-store';
import { discarded } from '../store';
import type { Given } from './apply-metadata';
import type { IfExists } from '../store';

export type { DiskContent } from './existing-content';
export type { EarlierFile } from './publish';
export type { EntryOutcome } from './batch-outcome';

/** A small file whose content is in memory. `file`, here and below, is the number that the caller knows it by. */
export interface BatchedFile extends SmallFileInMemory {
  readonly file: number;
  readonly ifExists: IfExists;
}

export interface BatchedSymlink {
  readonly file: number;
  readonly name: EntryName;
  readonly target: string;
  readonly mtime: bigint;
  readonly given?: Given | undefined;
  readonly ifExists: IfExists;
}

export interface BatchedDirectory {
  readonly file: number;
  readonly name: EntryName;
  readonly mode: number;
  readonly mtime: bigint;
  readonly given?: Given | undefined;
}

/** A file that is at its name already and was read: it is to become durable. */
export interface BatchedExisting {
  readonly file: number;
  readonly name: EntryName;
  /** Of when it was read. */
  readonly stat: FileStat;
}

/** Another name of a file that was committed, under the name `target`. */
export interface BatchedLink {
  readonly file: number;
  readonly name: EntryName;
  readonly target: EntryName;
  readonly ifExists: IfExists;
}

/** A file that is to share the content, mode and mtime of an earlier one, by one more name. */
export interface BatchedEarlier {
  readonly file: number;
  readonly name: EntryName;
  readonly earlier: EarlierFile;
}

export interface BatchGround {
  /** Of the receive directory. */
  readonly tree: DirectoryTree;
  /** An empty, private directory on the same disk. */
  readonly staging: Directory;
  readonly verified: Verified;
  /** Of the digests that files come with. */
  readonly algorithm: DigestAlgorithm;
  /** Of this receive directory. */
  readonly threads: BatchThreads;
}

interface Owed {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const { O_DIRECTORY, O_RDONLY } = constants;
/** Bundles that may be in memory at once. */
const bundles = 16;
/** Files of which a copy is known that takes further names. */
const mostCopies = 10_000;

/**
 * Stores many small files, and everything that is not a file, in batches: written to a private tree, made durable by
 * one sync of the disk, read back and compared, given their final names, a new directory whole by one rename, and made
 * durable again. Keeps the promises of `Store`; where a write or a sync fails, nothing of its batch is believed. What
 * fails because of one entry, its name or its directory, or because the disk has no room for it, is the failure of that
 * entry.
 */
export class BatchStore {
  /** Memory into which the content of a bundle is received. */
  readonly memory = new AlignedMemory(longestBundle, bundles, true);
  /** What is in the receive directory already. */
  readonly inDirectory: ExistingEntries;
  /** Opened before anything is written, since a sync tells only of failures since then. */
  private readonly disk: number;
  private current: OpenBatch;
  /** Batches that are not committed yet, the current one included. */
  private readonly uncommitted = new Set<OpenBatch>();
  private readonly asked = new Set<Promise<unknown>>();
  private commits = 0;
  private turn: Promise<unknown> = Promise.resolve();
  /** Who waits for the next sync. */
  private owed: Owed[] = [];
  private closed = false;
  /** See `PlacingGround`; from order to order. */
  private readonly copies = new Map<string, string>();

  constructor(private readonly ground: BatchGround) {
    const { tree, staging, algorithm } = ground;
    this.disk = openSync(staging.at('.'), O_RDONLY | O_DIRECTORY);
    this.inDirectory = new ExistingEntries(
      (order) => {
        const { threads } = this.ground;
        return this.ask(order.order === 'look' ? threads.running() : threads.idlest(), order);
      },
      algorithm,
      tree.root.at('.'),
    );
    this.current = this.begin();
  }

  /** Starts a thread: small files are coming. */
  warm(): void {
    this.current.worker.warm();
  }

  /** How many entries and bytes are in the batch that is open. */
  get open(): { readonly files: number; readonly bytes: number } {
    const { entries: files, bytes } = this.current;
    return { files, bytes };
  }

  /**
   * Takes files whose contents follow one another from `lease.bytes[0]` on into the open batch; resolves, and has
   * released the lease, once they are written. Those that cannot be written come out of `flush` as errors.
   */
  async write(lease: Lease, files: readonly BatchedFile[]): Promise<void> {
    const batch = this.current;
    const writing = this.writeAll(batch, lease, files)
      .catch((error: unknown) => batch.fail(error))
      .finally(() => {
        batch.writing.delete(writing);
        lease.release();
      });
    batch.writing.add(writing);
    await writing;
    if (this.closed) throw discarded();
  }

  /** Takes a symbolic link into the open batch. It is never followed. */
  symlink({ file, name, target, mtime, given, ifExists }: BatchedSymlink): void {
    const number = this.current.add(file, name);
    this.current.things.push({ kind: 'symlink', number, name, target, mtime, given, ifExists });
  }

  /**
   * Takes a directory into the open batch. One that exists is as good; `finishDirectories` sets mode and mtime, which
   * is to come for one that is `fresh`.
   */
  directory({ file, name }: BatchedDirectory, fresh = false): void {
    this.current.things.push({ kind: 'directory', number: this.current.add(file, name), name, fresh });
  }

  /**
   * Takes a file that is at its name already into the open batch, as `inDirectory.read` read it: it is `identical`, and
   * durable with the others.
   */
  existing({ file, name, stat }: BatchedExisting): void {
    this.current.existing.set(this.current.add(file, name), stat);
  }

  /**
   * Commits the open batch; resolves with what became of its entries, in the order in which they came. Another batch is
   * open at once. Batches are committed one after another.
   */
  async flush(): Promise<EntryOutcome[]> {
    const batch = this.current;
    if (batch.entries === 0) return [];
    this.current = this.begin();
    this.commits++;
    const { answer, durable } = await this.inTurn(async () => {
      this.commits--;
      const stored = await this.store(batch);
      // While another commit is under way, its sync serves this one, too.
      if (this.commits === 0 && this.owed.length > 0) void this.sync().catch(ignored('whoever waits for it is told'));
      return stored;
    });
    await durable;
    return batch.outcomes(answer, this.ground.verified);
  }

  /** Makes hard links, after what they point to was committed. */
  async link(entries: readonly BatchedLink[]): Promise<EntryOutcome[]> {
    const outcomes = await this.publishEach(entries, ({ name, target, ifExists }, staged) => {
      return { kind: 'link', staged, name, target, copy: this.copies.get(target), ifExists };
    });
    for (const [at, { committed }] of outcomes.entries()) {
      const { target } = entries[at] ?? {};
      if (target === undefined || !committed?.lost?.includes('link')) continue;
      if (this.copies.size >= mostCopies) this.copies.clear();
      this.copies.set(target, committed.path);
    }
    return outcomes;
  }

  /** Makes hard links to files elsewhere on this disk, in place of whatever is at these names. */
  linkEarlier(entries: readonly BatchedEarlier[]): Promise<EntryOutcome[]> {
    return this.publishEach(entries, ({ name, earlier }, staged) => ({
      kind: 'earlier',
      staged,
      name,
      earlier,
      ifExists: 'replace',
    }));
  }

  /** Sets mode and mtime of directories, the deepest first, when nothing will be stored in them any more. */
  async finishDirectories(entries: readonly BatchedDirectory[]): Promise<EntryOutcome[]> {
    return entries.length === 0 ? [] : this.finish('directory', entries);
  }

  /** Sets mode and mtime of regular files under their final names. */
  async retouch(entries: readonly BatchedDirectory[]): Promise<EntryOutcome[]> {
    return entries.length === 0 ? [] : this.finish('file', entries);
  }

  /** Gives directories the mtime back that they had, when nothing will be stored in them any more. */
  async putTimesBack(entries: readonly DirectoryTime[]): Promise<EntryOutcome[]> {
    if (entries.length === 0) return [];
    const things = entries.map(({ name, mtime }) => ({ kind: 'time' as const, name, mtime }));
    return this.inTurn(() => this.durably(entries, { order: 'finish', things }));
  }

  private finish(kind: 'directory' | 'file', entries: readonly BatchedDirectory[]): Promise<EntryOutcome[]> {
    const things = entries.map(({ name, mode, mtime, given }) => ({ kind, name, mode, mtime, given }));
    return this.inTurn(() => this.durably(entries, { order: 'finish', things }));
  }

  /** Throws away what was not flushed, after the flushes that are under way. Once. */
  async close(): Promise<void> {
    this.closed = true;
    const { current } = this;
    current.fail(discarded());
    await current.written();
    // An empty batch has nothing to remove, and needs no thread started for that.
    await this.inTurn(async () => (current.entries > 0 ? this.discard(current) : undefined));
    while (this.asked.size > 0) await Promise.allSettled(this.asked);
    closeSync(this.disk);
  }

  private newStagingPath(): string {
    return this.ground.staging.at(randomBytes(16).toString('hex'));
  }

  private begin(): OpenBatch {
    const batch = new OpenBatch(this.newStagingPath(), () => this.ground.threads.idlest());
    this.uncommitted.add(batch);
    return batch;
  }

  private async writeAll(batch: OpenBatch, lease: Lease, files: readonly BatchedFile[]): Promise<void> {
    if (this.closed) throw discarded();
    const [one] = files;
    if (!one) return;
    const { byteOffset, length, buffer } = lease.bytes;
    const first = batch.addFiles(files);
    if (files.reduce((sum, { size }) => sum + size, 0) > length)
      throw new TransferError('unexpected', 'The files of a bundle are longer than its content.');
    // Nothing is added to a batch that has failed.
    if (batch.failure) return;
    await this.ask(batch.worker, {
      order: 'write',
      stagingPath: batch.stagingPath,
      list: packFiles(files, first, byteOffset, one.ifExists),
      memory: buffer as SharedArrayBuffer,
    });
  }

  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.turn.then(action);
    this.turn = turn.catch(ignored('the next turn does not depend on it'));
    return turn;
  }

  /** `durable` settles when the final names are durable; undefined where the batch failed. */
  private async store(
    batch: OpenBatch,
  ): Promise<{ readonly answer: BatchAnswer | undefined; readonly durable: Promise<void> | undefined }> {
    const { stagingPath, entries, worker } = batch;
    try {
      await batch.written();
      batch.throwIfFailed();
      await this.sync(batch);
      batch.throwIfFailed();
      const answer = (await this.ask(worker, {
        order: 'commit',
        stagingPath,
        entries,
        algorithm: this.ground.algorithm,
      })) as CommitAnswer;
      noteReadBack(answer.readBack);
      return { answer, durable: this.synced(batch) };
    } catch (error) {
      batch.fail(error);
      void this.discard(batch);
      return { answer: undefined, durable: undefined };
    } finally {
      this.uncommitted.delete(batch);
    }
  }

  private async publishEach<Entry extends BatchedLink | BatchedEarlier>(
    entries: readonly Entry[],
    placing: (entry: Entry, staged: string) => Placing,
  ): Promise<EntryOutcome[]> {
    if (entries.length === 0) return [];
    const stagingPath = this.newStagingPath();
    const things = entries.map((entry, at) => placing(entry, `${stagingPath}/${String(at)}`));
    return this.inTurn(() =>
      this.durably(entries, { order: 'place', stagingPath, things, algorithm: this.ground.algorithm }),
    );
  }

  private async durably(
    entries: readonly { readonly file: number; readonly name: EntryName }[],
    order: BatchOrder,
  ): Promise<EntryOutcome[]> {
    try {
      const answers = (await this.ask(this.ground.threads.idlest(), order)) as PublishAnswer;
      await this.sync();
      return entries.map(({ file, name }, at) => outcomeOf(file, name, answers[at], this.ground.verified));
    } catch (error) {
      return entries.map((entry) => ({ file: entry.file, error: diskError(error, entry) }));
    }
  }

  private synced(batch: OpenBatch): Promise<void> {
    return new Promise<void>((resolve, reject) => this.owed.push({ resolve, reject })).catch((error: unknown) =>
      batch.fail(error),
    );
  }

  /** Makes everything durable that was done until now, what is staged of `batch` included. */
  private async sync(batch?: OpenBatch): Promise<void> {
    const owed = this.owed.splice(0);
    try {
      const worker = batch?.worker ?? this.ground.threads.idlest();
      await this.ask(worker, {
        order: 'sync',
        disk: this.disk,
        batch: batch && { stagingPath: batch.stagingPath, things: batch.things },
      });
      for (const { resolve } of owed) resolve();
    } catch (error) {
      // syncfs reports an error once and names no file, so every uncommitted batch fails.
      for (const other of this.uncommitted) if (other.entries > 0) other.fail(error);
      for (const { reject } of owed) reject(error);
      throw error;
    }
  }

  /** What cannot be removed now is removed together with the staging directory. */
  private async discard({ stagingPath, worker }: OpenBatch): Promise<void> {
    await this.ask(worker, { order: 'discard', stagingPath }).catch(
      ignored('it is removed together with the staging directory'),
    );
  }

  private ask(worker: BatchWorker, order: BatchOrder): Promise<BatchReply> {
    const answer = worker.ask(order);
    this.asked.add(answer);
    const done = (): void => void this.asked.delete(answer);
    answer.then(done, done);
    return answer;
  }
}

/** A batch that is being written, or committed. Its entries are numbered in the order in which they come. */
class OpenBatch {
  entries = 0;
  bytes = 0;
  readonly things: BatchThing[] = [];
  /** Those that are at their names already. */
  readonly existing = new Map<number, FileStat>();
  readonly writing = new Set<Promise<void>>();
  failure: { readonly reason: unknown } | undefined;
  private readonly files: number[] = [];
  private readonly names: EntryName[] = [];
  private readonly sizes: number[] = [];
  private chosen: BatchWorker | undefined;

  /** `stagingPath`: the path of a directory that does not exist yet, in the staging directory. */
  constructor(
    readonly stagingPath: string,
    private readonly choose: () => BatchWorker,
  ) {}

  /** Its thread from the first file on. */
  get worker(): BatchWorker {
    this.chosen ??= this.choose();
    return this.chosen;
  }

  add(file: number, name: EntryName, size = 0): number {
    this.files.push(file);
    this.names.push(name);
    this.sizes.push(size);
    this.bytes += size;
    return this.entries++;
  }

  /** Returns the number of the first. */
  addFiles(files: readonly BatchedFile[]): number {
    const first = this.entries;
    for (const { file, name, size } of files) this.add(file, name, size);
    return first;
  }

  /** Resolves when nothing is being written any more. */
  async written(): Promise<void> {
    await Promise.all(this.writing);
  }

  /** Nothing of this batch is to be believed any more: every entry fails for this reason. */
  fail(reason: unknown): void {
    this.failure ??= { reason };
  }

  throwIfFailed(): void {
    if (this.failure) throw this.failure.reason;
  }

  /** The outcome of each entry, in the order in which they came. */
  outcomes(answer: BatchAnswer | undefined, verified: Verified): EntryOutcome[] {
    const failures = new Map(answer?.failures);
    const placed = new Map(answer?.placed);
    return this.files.map((file, at): EntryOutcome => {
      const name = this.names[at] ?? ('' as EntryName);
      const failed = failures.get(at);
      if (failed) return { file, error: errorOf(failed, name) };
      if (this.failure) return { file, error: diskError(this.failure.reason, { name }) };
      const stat = this.existing.get(at);
      if (stat) return { file, committed: { outcome: 'identical', path: name, verified }, stat };
      switch (answer?.endings[at]) {
        case ending.stored:
          return this.stored(file, at, name, answer, verified);
        case ending.identical:
          return { file, committed: { outcome: 'identical', path: name, verified } };
        case ending.elsewhere:
          return outcomeOf(file, name, placed.get(at), verified, answer.lost.get(at));
        default:
          return { file, error: new TransferError('unexpected', `${printable(name)} was not committed.`) };
      }
    });
  }

  private stored(
    file: number,
    at: number,
    name: EntryName,
    { stats, lost }: BatchAnswer,
    verified: Verified,
  ): EntryOutcome {
    const lostHere = lost.get(at);
    const committed = { outcome: 'stored', path: name, verified, ...(lostHere && lostOf(lostHere)) } as const;
    const stat = statOf(stats, at, this.sizes[at] ?? 0);
    return stat ? { file, committed, stat } : { file, committed };
  }
}
