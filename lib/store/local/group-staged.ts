import path from 'node:path';
import type { Lease } from '../../threads/aligned-memory';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import type { Verified } from '../../progress';
import type { CommitAnswer } from './group-commit.worker';
import { errorOf, type Failed, failureIn, systemError } from './group-failure';
import { isTooLong, stagedApart, stagedTogether } from './group-home';
import type { GroupLanes } from './group-lanes';
import type { Placing } from './group-place';
import { packReadRows, packWriteRows, slicesOf } from './group-rows';
import { type Branch, Branches, type GroupedDirectory, type GroupedFile, type GroupedStanding, type GroupedSymlink, type GroupOutcome, type Staged } from './group-tree';
import { diskError } from './staged-bytes';

const filesPerWrite = 128;
const filesPerReading = 32;

/**
 * The entries that become durable and get their final names together: a private tree with the final names in it, and apart
 * from it what has no room there, because its name is too long or taken. Symbolic links never are in the tree, so that
 * nothing in it leads elsewhere. Steps come in this order: `write`, `symlink` and `directory`; `complete`; a sync; `readBack`;
 * `commit`; a sync; `outcomes`.
 */
export class StagedGroup {
  files = 0;
  bytes = 0;
  private readonly branches: Branches;
  private readonly entries: Staged[] = [];
  private readonly apart: Staged[] = [];
  private readonly writing = new Set<Promise<void>>();
  private doom: { readonly reason: unknown } | undefined;

  /** `home` is the path of a directory that does not exist yet, in the staging directory. */
  constructor(
    readonly home: string,
    foldsNames: boolean,
    private readonly lanes: GroupLanes,
  ) {
    this.branches = new Branches(foldsNames);
  }

  /** See `GroupStore.write`. */
  async write(lease: Lease, files: readonly GroupedFile[]): Promise<void> {
    const writing = this.writeAll(lease.bytes, files)
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.writing.delete(writing);
        lease.release();
      });
    this.writing.add(writing);
    await writing;
  }

  symlink(entry: GroupedSymlink): void {
    const staged = this.add({ kind: 'symlink', entry }, true);
    if (staged.error === undefined) this.apart.push(staged);
  }

  directory(entry: GroupedDirectory): void {
    const staged = this.add({ kind: 'directory', entry }, isTooLong(entry.name));
    if (staged.error !== undefined) return;
    if (staged.apart) this.apart.push(staged);
    else this.branches.of(entry.name).entries.push(staged);
  }

  /** Takes a file that stands there and was read: it becomes durable with the others. */
  standing(entry: GroupedStanding): void {
    const staged = this.add({ kind: 'standing', entry }, false);
    staged.committed ??= { path: entry.name, outcome: 'identical' };
    staged.stat = entry.stat;
  }

  /** Nothing of this group is to be believed any more: every entry fails for this reason. */
  fail(reason: unknown): void {
    this.doom ??= { reason };
  }

  throwIfFailed(): void {
    if (this.doom) throw this.doom.reason;
  }

  /** Waits until everything is staged. */
  async complete(): Promise<void> {
    await Promise.all(this.writing);
    this.throwIfFailed();
    const asked = this.pending('directory').filter(({ apart }) => !apart);
    const directories = asked.map(({ entry: { name } }) => ({ name, staged: stagedTogether(this.home, name) }));
    const made = asked.length > 0 ? await this.lanes.commit({ order: 'make', directories }) : [];
    for (const [at, staged] of asked.entries()) staged.error = failureIn(made[at], staged.entry.name);
  }

  /** Reads every file back and compares; those that are not what they should be fail. `onProgress` gets the bytes read back so far. */
  async readBack(onProgress?: (done: number) => void): Promise<void> {
    const files = this.pending('file');
    const slices = slicesOf(files, filesPerReading);
    let done = 0;
    const orders = slices.map((slice) => ({
      order: 'read back' as const,
      home: this.home,
      files: packReadRows(slice.map(({ entry: { name, size, mode }, number, apart }) => ({ name, size, mode, apart: apart ? number : -1 }))),
      digests: slice.map(({ entry }) => entry.digest),
    }));
    await this.lanes.askAll(orders, ({ failures, numbers }, at) => {
      const slice = slices[at] ?? [];
      for (const [index, staged] of slice.entries()) {
        const [ino = 0n, mtimeNs = 0n, ctimeNs = 0n] = [numbers[index * 3], numbers[index * 3 + 1], numbers[index * 3 + 2]];
        staged.stat = { ino: BigInt.asUintN(64, ino), size: staged.entry.size, mtimeNs, ctimeNs };
        done += staged.entry.size;
      }
      this.takeFailures(slice, failures);
      onProgress?.(done);
    });
  }

  /** Gives everything its final name: directories that are new whole, by one rename each, what belongs into others one by one. */
  async commit(): Promise<void> {
    this.throwIfFailed();
    const { root } = this.branches;
    const dead = this.entries.some(({ error }) => error !== undefined) ? [...root.dead()] : [];
    if (dead.length > 0) await this.lanes.commit({ order: 'prune', paths: dead.map(({ name }) => stagedTogether(this.home, name)) });
    for (let level: readonly Branch[] = [root]; level.length > 0; ) {
      const placing = this.placeEach(level.flatMap(({ entries }) => entries));
      const standing = await this.move(level.flatMap(({ branches }) => branches.filter(({ live }) => live)));
      await placing;
      level = standing;
    }
    await this.placeEach(this.apart);
    await this.reach(this.apart.filter(({ kind }) => kind === 'directory'));
  }

  /** What became of each entry, in the order in which they came. */
  outcomes(verified: Verified): GroupOutcome[] {
    return this.entries.map(({ entry, committed, error, stat }) => {
      const { file } = entry;
      if (this.doom) return { file, error: error ?? diskError(this.doom.reason, entry) };
      if (error) return { file, error };
      if (!committed) return { file, error: new TransferError('unexpected', `${printable(entry.name)} was not committed.`) };
      return stat ? { file, committed: { ...committed, verified }, stat } : { file, committed: { ...committed, verified } };
    });
  }

  private async writeAll(memory: Uint8Array, files: readonly GroupedFile[]): Promise<void> {
    const rows: StagedContent[] = [];
    let at = memory.byteOffset;
    for (const entry of files) {
      const staged = this.add({ kind: 'file', entry }, false);
      if (staged.error === undefined) rows.push({ staged, entry, at });
      at += entry.size;
    }
    if (at > memory.byteOffset + memory.length) throw new TransferError('unexpected', 'The files of a bundle are longer than its content.');
    // What stays behind of a disk that failed is not added to.
    if (this.doom) return;
    await Promise.all(slicesOf(rows, filesPerWrite).map((slice) => this.writeSome(slice)));
  }

  private async writeSome(rows: readonly StagedContent[]): Promise<void> {
    const all = rows.map(({ staged }) => staged);
    const files = packWriteRows(rows.map(({ staged: { number }, entry: { name, size, mode, mtime }, at }) => ({ name, at, size, mode, mtime, number })));
    const { failures, apart } = await this.lanes.ask({ order: 'write', home: this.home, files });
    this.takeFailures(all, failures);
    const aparts = new Set(apart);
    for (const [index, staged] of all.entries()) {
      staged.apart = aparts.has(index);
      // Also for what failed: its directory may have been made.
      const branch = this.branches.of(path.posix.dirname(staged.entry.name));
      (staged.apart ? this.apart : branch.entries).push(staged);
    }
  }

  /** Failures of single files; what failed because of the disk puts an end to all of them. */
  private takeFailures(all: readonly Staged[], failures: readonly (readonly [number, Failed])[]): void {
    for (const [at, failed] of failures) {
      const staged = all[at];
      if (!staged) continue;
      staged.error = errorOf(failed, staged.entry.name);
      if (staged.error.code === 'disk' || staged.error.code === 'space') this.fail(systemError(failed));
    }
  }

  /** Resolves with those that have to be entered, since a directory stands under their name. */
  private async move(branches: readonly Branch[]): Promise<Branch[]> {
    if (branches.length === 0) return [];
    const answers = await this.lanes.commit({ order: 'move', directories: branches.map(({ name }) => ({ name, staged: stagedTogether(this.home, name) })) });
    return branches.filter((branch, at) => {
      const answer = answers[at];
      const stands = answer !== undefined && 'outcome' in answer && answer.outcome === 'identical';
      for (const staged of stands ? branch.entries : branch.all()) {
        if (stands && staged.kind !== 'directory') continue;
        staged.error ??= failureIn(answer, staged.entry.name);
        if (!staged.error) staged.committed = { path: staged.entry.name, outcome: stands ? 'identical' : 'stored' };
      }
      return stands;
    });
  }

  private async placeEach(all: readonly Staged[]): Promise<void> {
    const things = all.filter(({ kind, error }) => kind !== 'directory' && error === undefined);
    if (things.length > 0) settleEach(things, await this.lanes.commit({ order: 'place', things: things.flatMap((staged) => placingOf(staged, this.home)) }));
  }

  private async reach(directories: readonly Staged[]): Promise<void> {
    if (directories.length > 0) settleEach(directories, await this.lanes.commit({ order: 'reach', names: directories.map(({ entry }) => entry.name) }));
  }

  /** Counts an entry in; one that collides with another fails at once. */
  private add(what: Pick<Staged, 'kind' | 'entry'>, apart: boolean): Staged {
    // Always of the same shape: there are many.
    const staged = { kind: what.kind, entry: what.entry, number: this.entries.length, apart, stat: undefined, committed: undefined, error: undefined } as Staged;
    this.files++;
    if (staged.kind === 'file') this.bytes += staged.entry.size;
    this.entries.push(staged);
    const { name } = staged.entry;
    const other = this.branches.collision(name);
    if (other !== undefined) staged.error = new TransferError('name', `${printable(name)} collides with ${printable(other)} on the receiver's disk.`);
    return staged;
  }

  private pending<Kind extends Staged['kind']>(kind: Kind): Extract<Staged, { kind: Kind }>[] {
    return this.entries.filter((staged): staged is Extract<Staged, { kind: Kind }> => staged.kind === kind && staged.error === undefined);
  }
}

/** A file, and where in memory its content begins. */
interface StagedContent {
  readonly staged: Staged;
  readonly entry: GroupedFile;
  readonly at: number;
}

function settleEach(all: readonly Staged[], answers: CommitAnswer): void {
  for (const [at, staged] of all.entries()) {
    const answer = answers[at];
    staged.error = failureIn(answer, staged.entry.name);
    if (!answer || !('outcome' in answer)) continue;
    staged.committed = { path: answer.path, outcome: answer.outcome };
    staged.stat = answer.stat;
  }
}

function placingOf({ kind, entry, number, apart }: Staged, home: string): Placing[] {
  const { name } = entry;
  const staged = apart ? stagedApart(home, number) : stagedTogether(home, name);
  switch (kind) {
    case 'file':
      return [{ kind, staged, name, ifExists: entry.ifExists, size: entry.size, digest: entry.digest }];
    case 'symlink':
      return [{ kind, staged, name, ifExists: entry.ifExists, target: entry.target, mtime: entry.mtime }];
    case 'directory':
    case 'standing':
      return [];
  }
}
