import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import type { AlignedMemory, Lease } from '../../threads/aligned-memory';
import type { DigestAlgorithm } from '../../digest/digest';
import type { EntryName } from '../../name';
import type { Verified } from '../../progress';
import type { Directory } from './directory';
import type { DirectoryTree } from './directory-tree';
import type { CommitAnswer } from './group-commit.worker';
import { errorOf } from './group-failure';
import { GroupLanes } from './group-lanes';
import type { GroupThreads } from './group-threads';
import type { Placing } from './group-place';
import { StandingEntries } from './group-standing';
import { StagedGroup } from './group-staged';
import type { GroupedDirectory, GroupedEarlier, GroupedFile, GroupedLink, GroupedStanding, GroupedSymlink, GroupOutcome } from './group-tree';
import { diskError, discarded } from './staged-bytes';

export type { Standing } from './group-look';
export type { Content, FileStat } from './group-read';
export type { EarlierFile, GroupedDirectory, GroupedEarlier, GroupedFile, GroupedLink, GroupedStanding, GroupedSymlink, GroupOutcome } from './group-tree';

export interface GroupPlace {
  /** Of the receive directory. */
  readonly tree: DirectoryTree;
  /** An empty, private directory on the same disk. */
  readonly staging: Directory;
  readonly verified: Verified;
  readonly foldsNames: boolean;
  /** Of the digests that files come with. */
  readonly algorithm: DigestAlgorithm;
  /** Of this receive directory. */
  readonly threads: GroupThreads;
}

const { O_DIRECTORY, O_RDONLY } = constants;

type Unstaged<Thing> = Thing extends Placing ? Omit<Thing, 'staged'> : never;
/** A link that is to be made, wherever it is staged. */
type LinkPlacing = Unstaged<Extract<Placing, { readonly kind: 'link' | 'earlier' }>>;

interface Owed {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Stores many small files, and everything that is not a file, in groups: written to a private tree, made durable by one sync of
 * the disk, read back and compared, given their final names, a new directory whole by one rename, and made durable again.
 * Keeps the promises of `Store`, with the group for the file where syncs and writes fail: then nothing of it is believed.
 */
export class GroupStore {
  private readonly lanes: GroupLanes;
  /** What stands in the receive directory already. */
  readonly there: StandingEntries;
  /** Opened before anything is written, since a sync tells only of failures since then. */
  private readonly disk: number;
  private current: StagedGroup;
  /** Groups that are not committed yet, the current one included. */
  private readonly uncommitted = new Set<StagedGroup>();
  private flushes = 0;
  private turn: Promise<unknown> = Promise.resolve();
  /** Who waits for the next sync. */
  private owed: Owed[] = [];
  private closed = false;

  constructor(private readonly place: GroupPlace) {
    const { tree, staging, algorithm, threads } = place;
    this.disk = openSync(staging.at('.'), O_RDONLY | O_DIRECTORY);
    this.lanes = new GroupLanes(threads, algorithm, this.disk);
    this.there = new StandingEntries(this.lanes, tree.root.at('.'));
    this.current = this.begin();
  }

  /** Starts a thread: small files are coming. */
  warm(): void {
    this.lanes.warm();
  }

  /** Memory into which the content of a bundle is received. */
  get memory(): AlignedMemory {
    return this.lanes.memory;
  }

  /** How many entries and bytes are in the group that is open. */
  get open(): { readonly files: number; readonly bytes: number } {
    return this.current;
  }

  /**
   * Takes files whose contents stand one after another from `lease.bytes[0]` on into the open group; resolves, and has
   * released the lease, once they are written. Those that cannot be written come out of `flush` as errors.
   */
  async write(lease: Lease, files: readonly GroupedFile[]): Promise<void> {
    if (this.closed) {
      lease.release();
      throw discarded();
    }
    await this.current.write(lease, files);
  }

  /** Takes a symbolic link into the open group. It is never followed. */
  symlink(entry: GroupedSymlink): void {
    this.current.symlink(entry);
  }

  /** Takes a directory into the open group. One that exists is as good; `finishDirectories` sets mode and mtime. */
  directory(entry: GroupedDirectory): void {
    this.current.directory(entry);
  }

  /** Takes a file that stands under its name into the open group, as `there.read` read it: it is `identical`, and durable with the others. */
  standing(entry: GroupedStanding): void {
    this.current.standing(entry);
  }

  /**
   * Commits the open group; resolves with what became of its entries, in the order in which they came. Another group is open
   * at once. Groups are committed one after another. `onProgress` gets the bytes of this group that were read back.
   */
  async flush(onProgress?: (done: number) => void): Promise<GroupOutcome[]> {
    const group = this.current;
    if (group.files === 0) return [];
    this.current = this.begin();
    this.flushes++;
    const { durable } = await this.inTurn(async () => {
      this.flushes--;
      const stored = await this.store(group, onProgress);
      // Else the sync of the next group comes soon enough for this one.
      if (this.flushes === 0 && this.owed.length > 0) void this.sync().catch(() => undefined);
      void this.remove(group.home);
      return stored;
    });
    await durable;
    return group.outcomes(this.place.verified);
  }

  /** Makes hard links, after what they point to was committed. */
  link(entries: readonly GroupedLink[]): Promise<GroupOutcome[]> {
    return this.linkEach(entries, ({ name, target, ifExists }) => ({ kind: 'link', name, target, ifExists }));
  }

  /** Makes hard links to files elsewhere on this disk, in place of whatever stands under these names. */
  linkEarlier(entries: readonly GroupedEarlier[]): Promise<GroupOutcome[]> {
    return this.linkEach(entries, ({ name, earlier }) => ({ kind: 'earlier', name, earlier, ifExists: 'replace' }));
  }

  private async linkEach<Link extends GroupedLink | GroupedEarlier>(entries: readonly Link[], placing: (entry: Link) => LinkPlacing): Promise<GroupOutcome[]> {
    if (entries.length === 0) return [];
    const home = this.newHome();
    const things = entries.map((entry, at) => ({ ...placing(entry), staged: `${home}/${String(at)}` }));
    const outcomes = await this.inTurn(() => this.durably(entries, () => this.lanes.commit({ order: 'place', things })));
    await this.remove(home);
    return outcomes;
  }

  /** Sets mode and mtime of directories, when nothing will be stored in them any more. */
  async finishDirectories(entries: readonly GroupedDirectory[]): Promise<GroupOutcome[]> {
    if (entries.length === 0) return [];
    // The deepest first: what is above may become impassable.
    const depth = ({ name }: GroupedDirectory): number => name.split('/').length;
    const directories = [...entries].sort((one, other) => depth(other) - depth(one));
    return this.inTurn(() => this.durably(directories, () => this.lanes.commit({ order: 'finish', directories })));
  }

  /** Throws away what was not flushed, after the flushes that are under way. Once. */
  async close(): Promise<void> {
    this.closed = true;
    const { current } = this;
    current.fail(discarded());
    await current.complete().catch(() => undefined);
    // Without a thread that would only be started to remove nothing.
    await this.inTurn(async () => (current.files > 0 ? this.remove(current.home) : undefined));
    await this.lanes.close();
    closeSync(this.disk);
  }

  private newHome(): string {
    return this.place.staging.at(randomBytes(16).toString('hex'));
  }

  private begin(): StagedGroup {
    const group = new StagedGroup(this.newHome(), this.place.foldsNames, this.lanes);
    this.uncommitted.add(group);
    return group;
  }

  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.turn.then(action);
    this.turn = turn.catch(() => undefined);
    return turn;
  }

  /** `durable` settles when nobody needs to wait any more for what was committed, if anything was. */
  private async store(group: StagedGroup, onProgress?: (done: number) => void): Promise<{ readonly durable: Promise<void> | undefined }> {
    try {
      await group.complete();
      await this.sync(group.home);
      await group.readBack(onProgress);
      await group.commit();
      return { durable: this.synced(group) };
    } catch (error) {
      group.fail(error);
      return { durable: undefined };
    } finally {
      this.uncommitted.delete(group);
    }
  }

  private async durably(entries: readonly { readonly file: number; readonly name: EntryName }[], action: () => Promise<CommitAnswer>): Promise<GroupOutcome[]> {
    try {
      const answers = await action();
      await this.sync();
      return entries.map(({ file, name }, at) => outcomeOf(file, name, answers[at], this.place.verified));
    } catch (error) {
      return entries.map((entry) => ({ file: entry.file, error: diskError(error, entry) }));
    }
  }

  private synced(group: StagedGroup): Promise<void> {
    return new Promise<void>((resolve, reject) => this.owed.push({ resolve, reject })).catch((error: unknown) => group.fail(error));
  }

  /** `staged` is the directory of what was staged and is now to be durable. */
  private async sync(staged?: string): Promise<void> {
    const owed = this.owed.splice(0);
    try {
      await this.lanes.commit({ order: 'sync', staged });
      for (const { resolve } of owed) resolve();
    } catch (error) {
      // It is said once, and not of which file: whatever was written until now may be what was lost.
      for (const group of this.uncommitted) if (group.files > 0) group.fail(error);
      for (const { reject } of owed) reject(error);
      throw error;
    }
  }

  /** What cannot be removed now is removed together with the staging directory. */
  private async remove(home: string): Promise<void> {
    await this.lanes.commit({ order: 'remove', path: home }).catch(() => undefined);
  }
}

function outcomeOf(file: number, name: EntryName, answer: CommitAnswer[number] | undefined, verified: Verified): GroupOutcome {
  if (!answer) return { file, error: diskError(new Error('no answer came'), { name }) };
  if ('failure' in answer) return { file, error: errorOf(answer, name) };
  const { outcome, path, stat } = answer;
  return { file, committed: { outcome, path, verified }, ...(stat && { stat }) };
}
