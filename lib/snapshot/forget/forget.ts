/**
 * Takes a path out of all snapshots: a second directory of each that has it is made beside the register, at
 * `forgetting-ID`, of the same files without those, with a manifest and a list of digests made anew and read back; then
 * the two are exchanged in the steps that `register.ts` describes, and what was there before is removed. At every
 * instant each snapshot is whole, as it was or without the path.
 */
import { createReadStream } from 'node:fs';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { systemPath } from '../../name-bytes';
import type { TransferEvent } from '../../progress';
import { matcher } from '../../scan/exclude';
import { Directory } from '../../store/local/directory';
import { systemCalls } from '../../threads/system-calls';
import { lockBackup, type LockedBackup } from '../backup/backup-lock';
import { withoutLostMarks } from '../backup/shrinking';
import { Catalog, type Snapshot } from '../manifest/catalog';
import { checksumListName, parseChecksumList, reservedNames } from '../manifest/checksum-list';
import { decodeManifest, manifestName } from '../manifest/manifest';
import { writeLists } from '../manifest/write-lists';
import { allowAll, Removal } from '../prune/removal';
import { acceptNext, prepareNext, type RegisteredSnapshot, settleRegister } from '../register/register';
import { ignored } from '../../trace';
import { stagedName } from '../../receive/backup-names';
import { Chosen, type Remaining, remainingOf } from './remaining';
import { treeWithout } from './tree-without';

export interface LocalForgetOptions {
  /** The receive directory. */
  readonly directory: string;
  /** As in gitignore(5), and as `findEntries` takes it; a directory with all that is below it. */
  readonly pattern: string;
  /** The backup; all of them unless told. */
  readonly name?: string;
  /** Tells what would be done, and writes nothing. Takes no lock. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  /** Hears of each snapshot that had something of it, once it has nothing, and of what could not be done. */
  readonly on?: (event: ForgetEvent) => void;
}

/** A snapshot without what was in it, or what would be taken out of it. */
export interface TakenOut {
  readonly event: 'taken-out';
  /** `NAME/ID` */
  readonly snapshot: string;
  /** The first of the paths, how many entries they are, and how many bytes those files have. */
  readonly path: string;
  readonly entries: number;
  readonly bytes: number;
  /** Bytes of files that no snapshot has any more; absent in a dry run. */
  readonly freed_bytes?: number;
  readonly dry_run?: true;
}

export type ForgetEvent = TakenOut | Extract<TransferEvent, { readonly event: 'failed' }>;

/** What stands before the id of a snapshot while it is made anew. */
const forgettingPrefix = 'forgetting-';
/** What else an interrupted backup leaves, beside its `tree`; see `StagedSnapshot`. */
const partialName = 'partial';

/**
 * Takes what a pattern matches out of all snapshots, the oldest first. What an interrupted backup of the same name has
 * left goes as a whole where anything of it matches, or of a snapshot. Resolves with what was taken out of each; none
 * is an empty list.
 *
 * Rejects with `usage` for a backup that is not there and where this disk cannot exchange two directories at once, with
 * `directory` where the receive directory cannot be used and while another process makes or prunes snapshots of the
 * same backup, with `disk` or `space`, and with `interrupted`; with `mismatch` where the manifest of a snapshot cannot
 * be believed, which stays as it is, after everything else was done: `on` was told of it.
 */
export async function forget(options: LocalForgetOptions): Promise<readonly TakenOut[]> {
  const { directory, pattern, name: wanted, dryRun = false, signal, on = () => undefined } = options;
  const catalog = new Catalog(directory);
  const names = await catalog.names();
  if (wanted !== undefined && !names.some((each) => each === wanted)) throw await catalog.noBackup(wanted);
  const matches = matcher([pattern]);
  const taken: TakenOut[] = [];
  let failure: TransferError | undefined;
  for (const name of names) {
    if (wanted !== undefined && name !== wanted) continue;
    const forgetting = new Forgetting(catalog, name, new Chosen(matches), signal, (event) => {
      if (event.event === 'taken-out') taken.push(event);
      on(event);
    });
    try {
      await (dryRun ? forgetting.foretell() : forgetting.run());
    } catch (error) {
      throw asTransferError(error, 'disk', `The backup ${printable(name)} cannot be changed`);
    }
    failure ??= forgetting.failure;
  }
  if (failure) throw failure;
  return taken;
}

/** The work on one backup. */
class Forgetting {
  /** Why something of it may still be there. */
  failure: TransferError | undefined;
  private readonly removal: Removal;

  constructor(
    private readonly catalog: Catalog,
    private readonly name: EntryName,
    private readonly chosen: Chosen,
    private readonly signal: AbortSignal | undefined,
    private readonly tell: (event: ForgetEvent) => void,
  ) {
    this.removal = new Removal(signal);
  }

  async foretell(): Promise<void> {
    for (const snapshot of await this.catalog.snapshots(this.name)) {
      const remaining = await this.remainingOf(snapshot);
      if (remaining) this.tell({ ...this.takenOutOf(snapshot, remaining), dry_run: true });
    }
  }

  async run(): Promise<void> {
    const backup = await lockBackup(this.catalog.directory, this.name);
    try {
      await settleRegister(backup.own, backup.root, this.name);
      // What an earlier run has exchanged and not removed, or made and not exchanged.
      for (const each of await backup.own.list())
        if (each.startsWith(forgettingPrefix)) await this.removal.remove(backup.own, each);
      let any = false;
      for (const snapshot of await this.catalog.snapshots(this.name)) {
        const remaining = await this.remainingOf(snapshot);
        if (!remaining) continue;
        any = true;
        const freed = await this.takeOut(backup, snapshot, remaining);
        this.tell({ ...this.takenOutOf(snapshot, remaining), freed_bytes: freed });
      }
      await this.dropInterrupted(backup, any);
      // A sync is believed only of a disk that still takes changes.
      await backup.own.confirm();
    } finally {
      await backup.release();
    }
  }

  /** Undefined where a snapshot has nothing of it, or cannot be believed. */
  private async remainingOf(snapshot: Snapshot): Promise<Remaining | undefined> {
    if (this.signal?.aborted === true) throw new TransferError('interrupted', 'Interrupted.');
    try {
      const remaining = remainingOf(await this.catalog.manifest(snapshot), this.chosen);
      return remaining.taken.length === 0 ? undefined : remaining;
    } catch (error) {
      const { code, message } = asTransferError(error, 'mismatch', 'The manifest cannot be read');
      if (code !== 'mismatch') throw error;
      const called = `${this.name}/${snapshot.id}`;
      this.failure = new TransferError('mismatch', `${called} stays as it is: ${message}`, {
        cause: error,
        hint: 'Look at it by hand, or prune it.',
      });
      this.tell({ event: 'failed', code, message: this.failure.message });
      return undefined;
    }
  }

  private takenOutOf({ name, id }: Snapshot, { taken }: Remaining): TakenOut {
    const bytes = taken.reduce((sum, entry) => sum + (entry.type === 'file' ? entry.size : 0), 0);
    const path = taken[0]?.name ?? '';
    return { event: 'taken-out', snapshot: `${name}/${id}`, path, entries: taken.length, bytes };
  }

  /** Resolves with the bytes that no snapshot has any more. */
  private async takeOut(backup: LockedBackup, snapshot: Snapshot, remaining: Remaining): Promise<number> {
    const { backupDirectory, own } = backup;
    const { id, entry } = snapshot;
    const made = `${forgettingPrefix}${id}`;
    const changed = await this.makeAnew(backup, snapshot, remaining).catch(async (error: unknown) => {
      await this.removal.remove(own, made).catch(ignored('the next run removes what is left'));
      throw error;
    });
    // Without the right to write to it, a directory cannot be moved into another one.
    for (const [parent, each] of [[backupDirectory, id] as const, [own, made] as const]) await allowAll(parent, each);
    await own.sync();
    const register = await settleRegister(own, backup.root, this.name);
    if (!register) throw new TransferError('directory', `The register of ${printable(this.name)} is gone.`);
    await prepareNext(own, {
      ...register,
      snapshots: register.snapshots.map((each) => (each.number === entry.number ? changed : each)),
    });
    exchange(own.at(made), backupDirectory.at(id));
    await backupDirectory.sync();
    await own.sync();
    await acceptNext(own);
    const lists = await sizeOfLists(own, made);
    const freed = await this.removal.remove(own, made);
    await own.sync();
    return freed - lists;
  }

  /** The snapshot as it will be, durable but for its name. Resolves with what the register will say of it. */
  private async makeAnew(
    { backupDirectory, own }: LockedBackup,
    { id, entry }: Snapshot,
    { finished }: Remaining,
  ): Promise<RegisteredSnapshot> {
    const made = `${forgettingPrefix}${id}`;
    await mkdir(systemPath(own.at(made)), { mode: 0o700 });
    const [from, to] = [await Directory.open(backupDirectory.at(id)), await Directory.open(own.at(made))];
    try {
      const leaves = (name: string, isDirectory: boolean): boolean =>
        reservedNames.has(name) || this.chosen.has(name, isDirectory);
      await treeWithout(from, to, leaves, this.signal);
      const lists = await writeLists(own.at(made), finished);
      await readBack(to, finished.head.digest, lists.manifest);
      await sameMode(from, to);
      await to.sync();
      return withoutLostMarks({ ...entry, ...lists }, finished.entries);
    } finally {
      await to.close();
      await from.close();
    }
  }

  /**
   * Removes the staged files of an interrupted backup: without a manifest it cannot be told which of them were chosen.
   */
  private async dropInterrupted({ own }: LockedBackup, matched: boolean): Promise<void> {
    if ((await own.look(stagedName)) === undefined) return;
    if (!matched && !(await this.matchesIn(own, stagedName, ''))) return;
    for (const each of [stagedName, partialName]) if (await own.look(each)) await this.removal.remove(own, each);
    await own.sync();
  }

  private async matchesIn(parent: Directory, name: string, inside: string): Promise<boolean> {
    await allowAll(parent, name);
    const directory = await Directory.open(parent.at(name));
    try {
      for (const each of await directory.list()) {
        const isDirectory = (await directory.look(each))?.isDirectory() === true;
        if (this.chosen.has(inside + each, isDirectory)) return true;
        if (isDirectory && (await this.matchesIn(directory, each, `${inside}${each}/`))) return true;
      }
      return false;
    } finally {
      await directory.close();
    }
  }
}

/** Rejects with `disk` where what was written is not what is read. */
async function readBack(directory: Directory, digest: 'sha256' | 'md5' | 'blake3', sum: string): Promise<void> {
  const list = checksumListName(digest);
  const read = await decodeManifest(createReadStream(directory.at(manifestName)));
  const files = read.entries.filter(({ type }) => type === 'file' || type === 'link').length;
  const listed = parseChecksumList(await readFile(directory.at(list)), digest).length;
  if (read.sum !== sum || listed !== files)
    throw new TransferError('disk', `What was written of ${manifestName} and ${list} is not what is read back.`);
}

/** In bytes, of what a snapshot says of itself. */
async function sizeOfLists(parent: Directory, name: string): Promise<number> {
  const directory = await Directory.open(parent.at(name));
  try {
    let size = 0;
    for (const each of reservedNames) size += (await directory.look(each))?.size ?? 0;
    return size;
  } finally {
    await directory.close();
  }
}

/** The directory of a snapshot has no time of its own. */
async function sameMode(from: Directory, to: Directory): Promise<void> {
  const mode = (await from.look('.'))?.mode ?? 0o755;
  await chmod(to.at('.'), mode & 0o777);
}

function exchange(one: string, other: string): void {
  try {
    const calls = systemCalls();
    if (!calls) throw Object.assign(new Error('ENOSYS: renameat2'), { code: 'ENOSYS' });
    calls.exchange(one, other);
  } catch (error) {
    if (!['EINVAL', 'ENOSYS', 'EPERM', 'ENOTSUP'].includes(errnoOf(error) ?? '')) throw error;
    throw new TransferError('usage', 'Two directories cannot be exchanged at once on this disk, or by this system.', {
      cause: error,
      hint: 'It takes Linux with the optional dependency, and ext4, XFS, btrfs or the like. Prune the snapshots instead.',
    });
  }
}
