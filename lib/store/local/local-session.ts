import type { DigestAlgorithm } from '../../digest/digest';
import type { TransferError } from '../../errors';
import type { EntryName } from '../../name';
import type { Digests, Verified } from '../../progress';
import type { AlignedMemory, Lease } from '../../threads/aligned-memory';
import type { DirectoryEntry, SymlinkEntry } from '../../wire/session-list';
import type {
  Batch,
  BatchLimits,
  BatchOutcome,
  DirectoryTime,
  EarlierFile,
  Existing,
  ExistingContent,
  ExistingDirectory,
  OfferedFile,
  PartialFile,
  Room,
  SessionStore,
  SmallFile,
  StoreUse,
} from '../session-store';
import type { BatchStore, DiskContent, EntryOutcome } from './batch';
import type { PartialFiles } from './partial-files';
import type { Metadata } from '../../wire/metadata';
import { allowedMetadata, type Given } from './apply-metadata';
import type { ExistingEntry } from './existing-look';
import type { Receipts } from './receipts';
import { isSameTime } from './same-time';
import { modeOnDisk } from './mode-on-disk';
import { settledAs, type WantedState } from './settled-as';
import { unfinishedMode } from './unfinished';
import { WaitingDirectories } from './waiting-directories';

/** Whether a time is the one that was set, or none was given. */
function isTime(found: bigint, wanted: bigint | undefined): boolean {
  return wanted === undefined || isSameTime(found, wanted);
}

/** What all uses of one local store share. */
export interface LocalShared {
  readonly verified: Verified;
  /** Permission bits of a new file for which none were said. */
  readonly mode: number;
  readonly partials: PartialFiles;
  readonly receipts: Receipts;
  /** See `DirectoryTree`. */
  readonly unfinished: Set<string>;
  /**
   * The digest of a regular file by its name, read from where a receipt says; undefined for anything else, and for what
   * cannot be read.
   */
  readBack(
    file: OfferedFile,
    algorithm: DigestAlgorithm,
    onProgress: (done: number) => void,
  ): Promise<string | undefined>;
  /** Promises room on the disk to files, for those of their bytes that are not there yet. A failure is `space`. */
  promise(files: readonly OfferedFile[], existingSizes: readonly number[]): Promise<(Room | TransferError)[]>;
}

/** `SessionStore` on a local disk. */
export class LocalSession implements SessionStore {
  readonly algorithm: DigestAlgorithm;
  readonly verified: Verified;
  readonly batch: LocalBatch;

  constructor(
    private readonly use: StoreUse,
    private readonly shared: LocalShared,
    private readonly batches: BatchStore,
  ) {
    this.algorithm = use.algorithm;
    this.verified = shared.verified;
    this.batch = new LocalBatch(use, shared, batches);
  }

  async lookup(files: readonly OfferedFile[]): Promise<(Existing | undefined)[]> {
    const { receipts } = this.shared;
    const names = files.map(({ name }) => name);
    const asked = receipts.ask(files, this.use);
    const found = await this.batches.inDirectory.lookForKnown(names, asked.asked);
    const known = receipts.known(files, found.existing, asked, found.known);
    return files.map((file, at) => {
      const existing = found.existing[at];
      return (
        existing && {
          kind: existing.kind,
          size: existing.size,
          known: known[at],
          asOffered: existing.mode === (file.mode ?? existing.mode) && isTime(existing.mtimeNs, file.mtime),
          target: existing.target,
          identity: existing.ino,
        }
      );
    });
  }

  async directories(names: readonly EntryName[]): Promise<(ExistingDirectory | undefined)[]> {
    const found = await this.batches.inDirectory.look(names);
    return found.map((existing) =>
      existing === undefined || (existing.kind === 'directory' && existing.mode === unfinishedMode)
        ? undefined
        : { mtime: existing.mtimeNs },
    );
  }

  async read(files: readonly OfferedFile[]): Promise<(ExistingContent | undefined)[]> {
    const contents = await this.batches.inDirectory.read(files.map(({ name }) => name));
    return contents.map((content) => content && new ReadContent(content));
  }

  async check(file: OfferedFile, digests: Digests, onProgress: (done: number) => void): Promise<string | undefined> {
    const { receipts } = this.shared;
    const digest = await this.shared.readBack(file, this.algorithm, onProgress);
    if (digest === undefined || digest !== digests[this.algorithm]) return undefined;
    const at = receipts.checked(file.name);
    await receipts.save();
    return at;
  }

  async owns(names: readonly EntryName[]): Promise<boolean[]> {
    const found = await this.batches.inDirectory.look(names);
    return names.map((name, at) => this.shared.receipts.holds(name, found[at], this.use.peer));
  }

  async admit(files: readonly OfferedFile[]): Promise<(Room | TransferError)[]> {
    return this.shared.promise(files, await this.shared.partials.allocated(this.use.peer, files));
  }

  partial(entry: OfferedFile, basis: 'existing' | EarlierFile | undefined): Promise<PartialFile> {
    const { peer, ifExists, algorithm, inOrder } = this.use;
    const update =
      basis === undefined ? false : basis === 'existing' ? {} : { basis: { path: basis.root, below: basis.name } };
    const { given, lost: denied } = allowedMetadata(entry.metadata, this.use.metadata);
    const onDisk = entry.mode === undefined ? {} : { modeOnDisk: modeOnDisk(entry.mode, 'file', this.use) };
    return this.shared.partials.take(
      { ...entry, ...onDisk, given, denied, peer, ifExists, algorithm, inOrder },
      update,
    );
  }

  release(): Promise<void> {
    this.batch.end();
    return this.batches.close();
  }
}

/** What a file read as, and how it was then. */
class ReadContent implements ExistingContent {
  readonly size: number;
  readonly digest: string;

  constructor(readonly content: DiskContent) {
    this.size = content.stat.size;
    this.digest = content.digest;
  }
}

/**
 * The sync of a batch makes the final names of the one before durable, so that two of them cost as many as one twice as
 * large: small ones, while one is written the next is received.
 */
const batchLimits: BatchLimits = { entries: 2048, bytes: 48 * 1024 * 1024, waits: 1_000, commits: 2 };

/** `Batch` on a local disk. */
class LocalBatch implements Batch {
  readonly limits = batchLimits;
  /** Those of the open batch, for their receipts. */
  private files: SmallFile[] = [];
  /** Those among them that are at their names already, and may get another mode and mtime. */
  private found = new Map<number, SmallFile>();
  private links = new Map<number, SymlinkEntry>();
  /** Of the directories of this session, those that were not there. */
  private readonly unfinished = new Set<string>();
  private readonly waiting = new WaitingDirectories();
  /** Why directories could not be made, by their number. */
  private readonly unmade = new Map<number, TransferError>();

  constructor(
    private readonly use: StoreUse,
    private readonly shared: Pick<LocalShared, 'receipts' | 'mode' | 'unfinished'>,
    private readonly batches: BatchStore,
  ) {}

  get memory(): AlignedMemory {
    return this.batches.memory;
  }

  get open(): { readonly entries: number; readonly bytes: number } {
    const { files, bytes } = this.batches.open;
    return { entries: files, bytes };
  }

  warm(): void {
    this.batches.warm();
  }

  async write(lease: Lease, files: readonly SmallFile[]): Promise<void> {
    const { ifExists } = this.use;
    const { mode: usualMode } = this.shared;
    for (const file of files) {
      this.files.push(file);
      this.makeAbove(file.entry.name);
    }
    const now = BigInt(Date.now()) * 1_000_000n;
    await this.batches.write(
      lease,
      files.map(({ entry: { file, name, size = 0, mode = usualMode, mtime = now, metadata }, digest }) => ({
        file,
        name,
        size,
        digest,
        mode: modeOnDisk(mode, 'file', this.use),
        mtime,
        given: metadata && this.given(metadata),
        ifExists,
      })),
    );
  }

  existing(file: SmallFile, content: ExistingContent): void {
    this.files.push(file);
    if (!(content instanceof ReadContent)) throw new TypeError('This content was not read by this store.');
    this.batches.existing({ file: file.entry.file, name: file.entry.name, stat: content.content.stat });
    if (this.use.ifExists === 'replace') this.found.set(file.entry.file, file);
  }

  symlink(entry: SymlinkEntry): void {
    this.links.set(entry.file, entry);
    this.makeAbove(entry.name);
    this.batches.symlink({ ...entry, given: this.given(entry.metadata), ifExists: this.use.ifExists });
  }

  directory(entry: DirectoryEntry, fresh: boolean): void {
    // A large file may be there before.
    if (fresh) {
      this.unfinished.add(entry.name);
      this.shared.unfinished.add(entry.name);
    }
    this.waiting.add({ entry, fresh });
  }

  async commit(): Promise<ReadonlyMap<number, BatchOutcome>> {
    const files = this.files.splice(0);
    const { found, links } = this;
    this.found = new Map();
    this.links = new Map();
    const outcomes = await this.batches.flush();
    // Only contents were stored, and no receipts are kept in this use.
    if (this.use.inOrder && found.size === 0 && links.size === 0) return contentsSettled(outcomes);
    const entries = [...links.values()];
    if (found.size === 0) return this.settle(outcomes, files, entries);
    const touched = new Map(
      (await this.retouched(outcomes.flatMap(({ file, error }) => (error ? [] : (found.get(file)?.entry ?? []))))).map(
        (outcome) => [outcome.file, outcome],
      ),
    );
    return this.settle(
      outcomes.map((outcome) => touched.get(outcome.file) ?? outcome),
      files,
      entries,
      touched,
    );
  }

  async retouch(
    files: readonly (OfferedFile & { readonly digests: Digests })[],
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    const { algorithm } = this.use;
    const outcomes = await this.retouched(files);
    return this.settle(
      outcomes,
      files.map(({ digests, ...entry }) => ({ entry, digest: digests[algorithm] ?? '' })),
      [],
      new Map(outcomes.map((outcome) => [outcome.file, outcome])),
    );
  }

  private retouched(files: readonly OfferedFile[]): Promise<EntryOutcome[]> {
    return this.batches.retouch(
      files.flatMap(({ file, name, mode, mtime, metadata }) =>
        mode === undefined || mtime === undefined
          ? []
          : [{ file, name, mode: modeOnDisk(mode, 'file', this.use), mtime, given: this.given(metadata) }],
      ),
    );
  }

  async link(
    entries: readonly { readonly file: number; readonly name: EntryName; readonly target: EntryName }[],
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    const { ifExists, inOrder } = this.use;
    const { receipts } = this.shared;
    await this.makeWaiting();
    const look = (names: readonly EntryName[]): Promise<(ExistingEntry | undefined)[]> =>
      inOrder ? Promise.resolve([]) : this.batches.inDirectory.look(names);
    const targets = [...new Set(entries.map(({ target }) => target))];
    const before = await look(targets);
    const outcomes = await this.batches.link(
      entries.map(({ file, name, target }) => ({ file, name, target, ifExists })),
    );
    // Another name changes a file's ctime, by which its receipt is told from that of a file that was touched since.
    const after = await look(targets);
    targets.forEach((target, at) => receipts.linked(target, before[at], after[at]));
    if (!inOrder) await receipts.save();
    return this.settle(outcomes, []);
  }

  async linkEarlier(
    files: readonly (SmallFile & { readonly earlier: EarlierFile })[],
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    const outcomes = await this.batches.linkEarlier(
      files.map(({ entry: { file, name }, earlier }) => ({ file, name, earlier })),
    );
    return this.settle(outcomes, files, [], new Map(outcomes.map((outcome) => [outcome.file, outcome])));
  }

  async finishDirectories(entries: readonly DirectoryEntry[]): Promise<ReadonlyMap<number, BatchOutcome>> {
    await this.makeWaiting();
    this.end();
    const made = entries.filter(({ file }) => !this.unmade.has(file));
    const settled = await this.settle(
      await this.batches.finishDirectories(
        made.map((entry) => ({
          ...entry,
          mode: modeOnDisk(entry.mode, 'directory', this.use),
          given: this.given(entry.metadata),
        })),
      ),
      [],
      made,
    );
    return this.unmade.size === 0 ? settled : new Map([...settled, ...this.unmade]);
  }

  async putTimesBack(directories: readonly DirectoryTime[]): Promise<ReadonlyMap<number, BatchOutcome>> {
    return this.settle(await this.batches.putTimesBack(directories), [], directories);
  }

  /** Nothing more comes into directories. */
  end(): void {
    for (const name of this.unfinished) this.shared.unfinished.delete(name);
    this.unfinished.clear();
  }

  /** Something is stored under `name`: the directories above it go into the batch with it. */
  private makeAbove(name: string): void {
    for (const { entry, fresh } of this.waiting.takeAbove(name)) this.batches.directory(entry, fresh);
  }

  /** Makes the directories in which nothing was stored. */
  private async makeWaiting(): Promise<void> {
    const waiting = this.waiting.takeAll();
    for (const { entry, fresh } of waiting) this.batches.directory(entry, fresh);
    if (waiting.length === 0) return;
    for (const { file, error } of await this.batches.flush()) if (error) this.unmade.set(file, error);
  }

  private given(metadata: Metadata | undefined): Given | undefined {
    return allowedMetadata(metadata, this.use.metadata).given;
  }

  /**
   * Keeps the receipts of those files that are stored, and compares what is there with what was to be; with what was
   * there before only where it is among the `touched`.
   */
  private async settle(
    outcomes: readonly EntryOutcome[],
    files: readonly SmallFile[],
    others: readonly (SymlinkEntry | DirectoryEntry | DirectoryTime)[] = [],
    touched: ReadonlyMap<number, EntryOutcome> = new Map(),
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    const otherEntries = new Map(others.map((entry) => [entry.file, entry]));
    const byNumber = new Map(files.map((file) => [file.entry.file, file]));
    const settled = new Map<number, BatchOutcome>();
    for (const { file, committed, error, stat } of outcomes) {
      const small = byNumber.get(file);
      if (committed && stat && small && !this.use.inOrder)
        this.shared.receipts.note(
          small.entry,
          this.use.peer,
          committed.path,
          { [this.use.algorithm]: small.digest },
          stat,
        );
      const entry = small?.entry ?? otherEntries.get(file);
      if (error) settled.set(file, error);
      else if (committed) {
        const ours = committed.outcome !== 'identical' || touched.has(file);
        const metadata = entry && 'metadata' in entry ? entry.metadata : undefined;
        const { lost: denied } = allowedMetadata(metadata, this.use.metadata);
        const lost = denied.length === 0 ? committed.lost : [...(committed.lost ?? []), ...denied];
        const apart = committed.lost?.includes('link') ? { ...committed, kept: { apart: true } as const } : committed;
        const compared = entry && ours ? settledAs(committed, wantedOf(entry, this.use), stat, lost) : apart;
        settled.set(file, compared.outcome === 'stored' && !compared.lost && !compared.kept ? 'stored' : compared);
      }
    }
    if (files.length > 0 && !this.use.inOrder) await this.shared.receipts.save();
    return settled;
  }
}

function contentsSettled(outcomes: readonly EntryOutcome[]): ReadonlyMap<number, BatchOutcome> {
  const settled = new Map<number, BatchOutcome>();
  for (const { file, committed, error } of outcomes) {
    if (error) settled.set(file, error);
    else if (committed) settled.set(file, committed.outcome === 'stored' && !committed.lost ? 'stored' : committed);
  }
  return settled;
}

/** The mode and mtime that it was to have; a symbolic link has no mode of its own. */
function wantedOf(entry: OfferedFile | SymlinkEntry | DirectoryEntry | DirectoryTime, use: StoreUse): WantedState {
  const { mtime } = entry;
  if (!('mode' in entry) || entry.mode === undefined) return { mtime };
  const kind = 'type' in entry && entry.type === 'directory' ? 'directory' : 'file';
  return { mode: entry.mode, modeOnDisk: modeOnDisk(entry.mode, kind, use), mtime };
}
