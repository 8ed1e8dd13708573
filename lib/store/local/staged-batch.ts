// One batch in the worker that stores it: from the first file that is written to the last that has its final name.
import { constants, rmSync } from 'node:fs';
import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import { type FileCalls, type NameBytes, type OpenDirectory } from '../../threads/file-calls';
import { failureOf } from '../../threads/order-worker';
import type { Lost } from '../store';
import { baseAt, column, digestAt, type FileList, nameOf, numberOf } from './batch-list';
import { type BatchEntry, type BatchThing, BatchTree, type Branch } from './batch-tree';
import { type Failed, notAName } from './batch-failure';
import { isTooLong, ownerReads, stagedApart, stagedTogether } from './staged-names';
import { move, publishEntry, type PlacingGround } from './publish';
import type { ManyReader } from './many-reader';
import {
  apartName,
  type BatchAnswer,
  ending,
  type Ends,
  giveRow,
  kept,
  made,
  reach,
  removeEmpty,
  setStat,
  statColumns,
  type StagedList,
  syncBelow,
  writeAll,
} from './staged-list';
import { mismatch } from '../store';
import { markIfFresh } from './unfinished';

export interface StagingGround {
  /** The path of the receive directory. */
  readonly root: string;
  readonly calls: FileCalls;
  readonly reader: ManyReader;
  readonly umask: number;
  readonly foldsNames: boolean;
  /** Every file and directory is made durable by itself, since the disk cannot be synced as a whole. */
  readonly syncEach: boolean;
}

const {
  O_CREAT,
  O_DIRECT = 0,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} = constants as typeof constants & { readonly O_DIRECT?: number };
/** Files of a batch that are handed to the reader at once. */
const readTogether = 512;
/** After these the disk is not believed any more, whatever it says of other files. */
const ofTheDisk = new Set(['EIO', 'EROFS', 'EUCLEAN', 'ESHUTDOWN', 'ENODEV', 'ENXIO', 'EREMOTEIO']);

/**
 * Steps come in this order: `write`, any number of times; `make`; a sync of the disk; `readBack`; `publish`; a sync of
 * the disk. Throws what puts an end to the whole batch; what puts an end to one entry is in the answer.
 */
export class StagedBatch {
  private readonly lists: StagedList[] = [];
  private readonly tree: BatchTree;
  private readonly failures: (readonly [number, Failed])[] = [];
  /** Those of what is no file. */
  private readonly failedThings = new Set<number>();
  private readonly apart: BatchThing[] = [];
  private readonly apartFiles: [StagedList, number][] = [];
  private end: Ends = { endings: new Uint8Array(0), stats: new BigInt64Array(0), placed: [] };
  private readonly lost = new Map<number, readonly Lost[]>();

  /** `stagingPath`: the path of a directory that does not exist yet, on the receive directory's disk. */
  constructor(
    private readonly stagingPath: string,
    private readonly ground: StagingGround,
  ) {
    this.tree = new BatchTree(stagingPath, ground.foldsNames, ground.root);
  }

  /** Writes the files of a bundle out of `memory`. */
  write(list: FileList, memory: Uint8Array): void {
    const { count } = list;
    const staged: StagedList = {
      list,
      fds: new Int32Array(count).fill(-1),
      failed: new Uint8Array(count),
      made: new Uint8Array(count),
      branches: new Array<Branch | undefined>(count),
    };
    this.lists.push(staged);
    for (let row = 0; row < count; row++) {
      try {
        this.writeOne(staged, row, memory);
      } catch (error) {
        this.fail(staged, row, error);
      }
    }
    if (!this.keeps) this.closeList(staged, this.ground.syncEach);
  }

  /**
   * Takes what is no file, and makes the directories; makes everything durable file by file where the disk cannot be
   * synced as a whole.
   */
  make(things: readonly BatchThing[]): void {
    for (const thing of things) {
      try {
        this.refuseCollision(thing.name);
        if (thing.kind === 'symlink' || isTooLong(Buffer.byteLength(thing.name)) || this.tree.stands(thing))
          this.apart.push(thing);
        else this.makeDirectory(thing);
      } catch (error) {
        this.failThing(thing.number, failureOf(error));
      }
    }
    if (this.ground.syncEach) syncBelow(this.stagingPath);
  }

  /** Reads everything back and compares. `entries`: how many there are in the batch. */
  async readBack(entries: number, algorithm: DigestAlgorithm): Promise<void> {
    this.end = { endings: new Uint8Array(entries), stats: new BigInt64Array(entries * statColumns), placed: [] };
    const digestOf = await createDigestOf(algorithm);
    let some: [StagedList, number][] = [];
    for (const staged of this.lists) {
      for (let row = 0; row < staged.list.count; row++) {
        if (staged.failed[row] === 1) continue;
        some.push([staged, row]);
        if (some.length < readTogether) continue;
        this.readSome(some, digestOf, algorithm);
        some = [];
      }
    }
    this.readSome(some, digestOf, algorithm);
  }

  /**
   * Gives what is as it should be its final name: directories that are new whole, by one rename each; what belongs into
   * others one by one.
   */
  async publish(placing: PlacingGround): Promise<BatchAnswer> {
    const alive = (entry: BatchEntry): boolean =>
      'thing' in entry ? !this.failedThings.has(entry.thing.number) : this.lists[entry.list]?.failed[entry.row] === 0;
    const { root } = this.tree;
    if (this.failures.length > 0)
      for (const branch of root.dead(alive)) removeEmpty(stagedTogether(this.stagingPath, branch.name));
    for (let level: readonly Branch[] = [root]; level.length > 0;) {
      const next: Branch[] = [];
      for (const branch of level) {
        for (const entry of branch.entries) {
          if (!('row' in entry) || !alive(entry)) continue;
          const staged = this.lists[entry.list];
          // Nearly all can be had at once, and nothing is waited for.
          if (!staged || this.placedAtOnce(staged, entry.row, branch, placing)) continue;
          const from = stagedTogether(this.stagingPath, nameOf(staged.list, entry.row));
          await this.publishSlowly(staged, entry.row, from, placing);
        }
        for (const below of branch.branches)
          if (below.isLive(alive) && (await this.moveBranch(below, alive, placing))) next.push(below);
      }
      level = next;
    }
    for (const [staged, row] of this.apartFiles)
      if (staged.failed[row] === 0)
        await this.publishSlowly(staged, row, stagedApart(this.stagingPath, staged.list.first + row), placing);
    for (const thing of this.apart) await this.publishThing(thing, placing);
    for (const [number] of this.failures) this.end.endings[number] = ending.failed;
    return { ...this.end, failures: this.failures, lost: this.lost };
  }

  /** Closes everything, and removes what is still staged. */
  discard(): void {
    for (const staged of this.lists) this.closeList(staged, false);
    this.tree.close();
    rmSync(this.stagingPath, { recursive: true, force: true });
  }

  private get keeps(): boolean {
    return this.ground.calls.linux !== undefined && !this.ground.syncEach;
  }

  private writeOne(staged: StagedList, row: number, memory: Uint8Array): void {
    const { calls, umask } = this.ground;
    const { list } = staged;
    const [size, mode] = [numberOf(list, row, column.size), numberOf(list, row, column.mode) | ownerReads];
    if (this.ground.foldsNames) this.refuseCollision(nameOf(list, row));
    const fd = this.create(staged, row, mode);
    staged.fds[row] = fd;
    kept.now++;
    writeAll(calls, fd, memory, numberOf(list, row, column.content), size);
    const given = list.given.get(row);
    if (given) giveRow(list, row, fd, given, calls, this.lost);
    else if ((mode & umask) !== 0) calls.setMode(fd, mode);
    calls.setTime(fd, given?.time ?? list.mtimes[row] ?? 0n);
    if (this.keeps && kept.now >= kept.most) this.closeFile(staged, row);
  }

  /** A new file under its staged name, or apart: if something is staged there already, and if it is one of few. */
  private create(staged: StagedList, row: number, mode: number): number {
    const { list } = staged;
    const flags = O_CREAT | O_EXCL | O_NOFOLLOW | (this.keeps ? O_RDWR : O_WRONLY);
    const length = numberOf(list, row, column.nameEnd) - numberOf(list, row, column.name);
    const from = baseAt(list, row);
    const branch = isTooLong(length) ? undefined : this.tree.branchOf(list, row, from);
    if (branch && !this.tree.isForFew(branch)) {
      // Also for what fails: its directory may have been made.
      try {
        const fd = this.open(() =>
          this.ground.calls.open(this.tree.directory(branch), { bytes: list.names }, from, flags, mode),
        );
        staged.made[row] = made.together;
        staged.branches[row] = branch;
        branch.entries.push({ list: this.lists.length - 1, row });
        return fd;
      } catch (error) {
        // Its directory is open.
        if (errnoOf(error) === 'ENOENT') throw notAName(nameOf(list, row), error);
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
    }
    const fd = this.open(() => this.ground.calls.open(this.tree.apart(), apartName(list.first + row), 0, flags, mode));
    staged.made[row] = made.apart;
    this.apartFiles.push([staged, row]);
    return fd;
  }

  /** Descriptors run out where others have many: those that wait are closed then, and opened again to be read. */
  private open(attempt: () => number): number {
    try {
      return attempt();
    } catch (error) {
      if (!['EMFILE', 'ENFILE'].includes(errnoOf(error) ?? '') || kept.now === 0) throw error;
      for (const staged of this.lists) this.closeList(staged, false);
      this.tree.close();
      return attempt();
    }
  }

  private closeList(staged: StagedList, sync: boolean): void {
    const { calls } = this.ground;
    for (let row = 0; row < staged.fds.length; row++) {
      const fd = staged.fds[row] ?? -1;
      // The first of them does most of the work of the others: hence after everything is written.
      if (sync && fd >= 0) calls.sync(fd);
      this.closeFile(staged, row);
    }
  }

  private closeFile(staged: StagedList, row: number): void {
    const fd = staged.fds[row] ?? -1;
    if (fd < 0) return;
    staged.fds[row] = -1;
    kept.now--;
    this.ground.calls.close(fd);
  }

  private makeDirectory(thing: Extract<BatchThing, { kind: 'directory' }>): void {
    const branch = this.tree.branchNamed(thing.name);
    branch.entries.push({ thing });
    try {
      const { fd } = this.tree.directory(branch);
      markIfFresh(thing, () => fd);
    } catch (error) {
      branch.entries.pop();
      throw error;
    }
  }

  private refuseCollision(name: string): void {
    const other = this.tree.collision(name);
    if (other !== undefined)
      throw new TransferError('name', `${printable(name)} collides with ${printable(other)} on the receiver's disk.`);
  }

  // --- Reading back

  private readSome(
    some: readonly [StagedList, number][],
    digestOf: (bytes: Uint8Array) => string,
    algorithm: DigestAlgorithm,
  ): void {
    const { calls, reader } = this.ground;
    const fds = new Int32Array(some.length);
    const sizes = new Float64Array(some.length);
    const good: [StagedList, number][] = [];
    for (const one of some) {
      const [staged, row] = one;
      const { list } = staged;
      try {
        const fd = this.readable(staged, row);
        const size = numberOf(list, row, column.size);
        const stat = calls.stat(fd);
        if (stat.size !== size)
          throw new TransferError(
            'mismatch',
            `${printable(nameOf(list, row))} does not match: it should be ${String(size)} bytes long, and is ${String(stat.size)} on the disk.`,
          );
        setStat(this.end.stats, list.first + row, stat);
        fds[good.length] = fd;
        sizes[good.length] = size;
        good.push(one);
      } catch (error) {
        this.fail(staged, row, error);
      }
    }
    const found = reader.digests(fds, sizes, good.length, digestOf);
    for (const [at, [staged, row]] of good.entries()) {
      try {
        this.compare(staged, row, found[at], algorithm);
      } catch (error) {
        this.fail(staged, row, error);
      }
    }
  }

  private compare(
    staged: StagedList,
    row: number,
    found: string | Error | undefined,
    algorithm: DigestAlgorithm,
  ): void {
    const { calls, syncEach } = this.ground;
    const { list } = staged;
    if (found instanceof Error) throw found;
    const expected = digestAt(list, row);
    if (found !== expected)
      throw mismatch(
        nameOf(list, row),
        algorithm,
        { [algorithm]: expected },
        { [algorithm]: found ?? 'that of fewer bytes' },
      );
    const fd = staged.fds[row] ?? -1;
    const mode = numberOf(list, row, column.mode);
    // A mode without owner read permission is set only after reading back.
    if ((mode & ownerReads) === 0) {
      calls.setMode(fd, mode);
      if (syncEach) calls.sync(fd);
      setStat(this.end.stats, list.first + row, calls.stat(fd));
    }
    if (!this.keeps || kept.now >= kept.most) this.closeFile(staged, row);
  }

  /** A descriptor of a staged file that reads past the page cache, where that is the way. */
  private readable(staged: StagedList, row: number): number {
    const { calls, reader } = this.ground;
    let fd = staged.fds[row] ?? -1;
    if (fd >= 0 && (!reader.direct || calls.readPastCache(fd))) return fd;
    this.closeFile(staged, row);
    fd = this.open(() =>
      this.at(staged, row, (directory, names, from) =>
        calls.open(directory, names, from, O_RDONLY | O_NOFOLLOW | (reader.direct ? O_DIRECT : 0), 0),
      ),
    );
    staged.fds[row] = fd;
    kept.now++;
    return fd;
  }

  /** Runs `action` with the place of a staged file. */
  private at<T>(
    staged: StagedList,
    row: number,
    action: (directory: OpenDirectory, names: NameBytes, from: number) => T,
  ): T {
    const branch = staged.branches[row];
    if (branch) return action(this.tree.directory(branch), { bytes: staged.list.names }, baseAt(staged.list, row));
    return action(this.tree.apart(), apartName(staged.list.first + row), 0);
  }

  /** Ends one file, and removes what there is of it. Throws where the disk is not to be believed any more. */
  private fail(staged: StagedList, row: number, error: unknown): void {
    staged.failed[row] = 1;
    this.failures.push([staged.list.first + row, failureOf(error)]);
    this.closeFile(staged, row);
    if (ofTheDisk.has(errnoOf(error) ?? '')) throw error;
    if (staged.made[row] !== made.none)
      this.at(staged, row, (directory, names, from) => this.ground.calls.unlink(directory, names, from));
  }

  // --- Final names

  private failThing(number: number, failure: Failed): void {
    this.failedThings.add(number);
    this.failures.push([number, failure]);
  }

  /** True if a directory is under its name already, which has to be entered. */
  private async moveBranch(
    branch: Branch,
    alive: (entry: BatchEntry) => boolean,
    placing: PlacingGround,
  ): Promise<boolean> {
    const numberOfEntry = (entry: BatchEntry): number =>
      'thing' in entry ? entry.thing.number : (this.lists[entry.list]?.list.first ?? 0) + entry.row;
    try {
      const exists =
        (await move(stagedTogether(this.stagingPath, branch.name), branch.name, placing)).outcome === 'identical';
      if (exists)
        for (const entry of branch.entries)
          if ('thing' in entry) {
            this.end.endings[numberOfEntry(entry)] = ending.identical;
            // A large file has made it meanwhile.
            markIfFresh(entry.thing, () => placing.directories.descriptor(branch.name));
          }
      if (!exists)
        for (const entry of branch.all()) if (alive(entry)) this.end.endings[numberOfEntry(entry)] = ending.stored;
      return exists;
    } catch (error) {
      const failure = failureOf(error);
      for (const entry of branch.all()) {
        if (!alive(entry)) continue;
        if ('thing' in entry) {
          this.failThing(entry.thing.number, failure);
          continue;
        }
        this.failures.push([numberOfEntry(entry), failure]);
        this.lists[entry.list]?.failed.fill(1, entry.row, entry.row + 1);
      }
      return false;
    }
  }

  private placedAtOnce(staged: StagedList, row: number, branch: Branch, placing: PlacingGround): boolean {
    if (this.ground.foldsNames || !this.renamed(staged, row, branch, placing)) return false;
    const number = staged.list.first + row;
    setStat(this.end.stats, number, this.ground.calls.stat(staged.fds[row] ?? -1));
    this.end.endings[number] = ending.stored;
    return true;
  }

  /**
   * Moves a file to its final name, if that is free, and can be had at once. What fails is tried in the other way,
   * which tells why.
   */
  private renamed(staged: StagedList, row: number, branch: Branch, { directories }: PlacingGround): boolean {
    if ((staged.fds[row] ?? -1) < 0) return false;
    try {
      directories.at(branch.name, '.', true);
      const target = { fd: directories.descriptor(branch.name), path: noPath };
      if (
        this.ground.calls.renameNoReplace(
          this.tree.directory(branch),
          target,
          { bytes: staged.list.names },
          baseAt(staged.list, row),
        ) !== true
      )
        return false;
      directories.touched.add(branch.name);
      return true;
    } catch {
      return false; // whatever it was, `publishSlowly` meets it again and says so
    }
  }

  private async publishSlowly(staged: StagedList, row: number, from: string, placing: PlacingGround): Promise<void> {
    const { list } = staged;
    const number = list.first + row;
    try {
      const name = nameOf(list, row);
      this.end.placed.push([
        number,
        await publishEntry(
          {
            kind: 'file',
            staged: from,
            name,
            ifExists: list.ifExists,
            size: numberOf(list, row, column.size),
            digest: digestAt(list, row),
          },
          placing,
        ),
      ]);
      this.end.endings[number] = ending.elsewhere;
    } catch (error) {
      staged.failed[row] = 1;
      this.failures.push([number, failureOf(error)]);
    }
  }

  private async publishThing(thing: BatchThing, placing: PlacingGround): Promise<void> {
    try {
      const { name, number } = thing;
      const staged = stagedApart(this.stagingPath, number);
      const placed =
        thing.kind === 'symlink' ? await publishEntry({ ...thing, staged }, placing) : reach(name, placing);
      this.end.placed.push([number, placed]);
      markIfFresh(thing, () => placing.directories.descriptor(name));
      this.end.endings[thing.number] = ending.elsewhere;
    } catch (error) {
      this.failThing(thing.number, failureOf(error));
    }
  }
}

const noPath = new Uint8Array(0);
