import { lstat, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { isObjectUrl } from '../../object-address';
import { stagedName } from '../../receive/backup-names';
import { Directory } from '../../store/local/directory';
import { Allowance } from '../../store/limited';
import { LocalStore } from '../../store/local/local';
import { diskError } from '../../store/local/disk-error';
import { mountsBelow, onOtherDisk } from '../../store/local/other-disks';
import { openPrivate, refuseOwnElsewhere, removeEmpty, stagingName } from '../../store/local/receive-directory';
import { lockWordsOf } from './backup-lock';
import { Catalog, latestName } from '../manifest/catalog';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import type { SnapshotId } from '../manifest/snapshot-id';
import type { ContentLocation } from '../../store/object/records';
import type { StoreRoot } from '../../store/session-store';
import type { ShrunkSource } from '../../progress';
import { freeSnapshotId } from './free-snapshot-id';
import { notingContent, type SourceCounts } from './shrinking';
import { checksumListName } from '../manifest/checksum-list';
import { unregisteredHint } from '../manifest/foreign';
import { type ManifestHead, manifestName } from '../manifest/manifest';
import { type Finished, writeLists } from '../manifest/write-lists';
import { removeForeign } from '../prune/remove-foreign';
import {
  acceptNext,
  ownPathOf,
  prepareNext,
  readRegister,
  type RegisteredBackup,
  type RegisteredSnapshot,
  removeRegister,
  settleRegister,
  snapshotsName,
  writeRegister,
} from '../register/register';
import { ignored, trace } from '../../trace';

const stagerName = 'stager';
const partialName = 'partial';
const mostAttempts = 10;

/** The open parts of a staged snapshot. */
interface OpenSnapshot {
  readonly directory: string;
  readonly name: EntryName;
  /** `.sendall/snapshots/NAME` */
  readonly own: string;
  /** Whether an earlier run has left something in it. */
  readonly resumed: boolean;
  /** Whether all that is staged was brought by this peer. */
  readonly ours: boolean;
  /** Where its files are received. */
  readonly store: LocalStore;
  readonly register: RegisteredBackup;
  /** Where the name of the backup was counted for it, what it was counted in. */
  readonly counted: Allowance | undefined;
}

/** The next snapshot of a backup on its way into what keeps snapshots. */
export interface SnapshotInStage {
  readonly name: EntryName;
  /** Whether all that is staged was brought by this peer. */
  readonly ours: boolean;
  /** Where its files are received. */
  readonly store: StoreRoot;
  /** The path or URL of that, to be shown. */
  readonly tree: string;
  /** The backup as it is registered before this snapshot. */
  readonly register: RegisteredBackup;
  /** The snapshots that there are. */
  readonly catalog: SnapshotCatalog;
  /** Whether a file of an earlier snapshot can become one of this. */
  usable(file: { readonly content?: ContentLocation | undefined }): boolean;
  /** Where the bytes of a staged file are, if its name does not say it. */
  contentOf(name: string): ContentLocation | undefined;
  /** An id of `time`, or the first after it that nothing has. */
  freeId(time: Date): Promise<SnapshotId>;
  /**
   * Makes it a snapshot, durably; `counts` and `shrunk` are of its sources, which were compared with the one numbered
   * `compared`. Resolves with the head as it is in the end. Rejects with `disk` or `space`.
   */
  commit(
    finished: Finished,
    counts: SourceCounts,
    shrunk: readonly ShrunkSource[],
    compared: number | undefined,
  ): Promise<ManifestHead>;
  /** What is staged and was not committed stays for the next run. */
  close(): Promise<void>;
}

/** The next snapshot of a backup in its private place on a disk, and the step from there to its final name. */
export class StagedSnapshot implements SnapshotInStage {
  private committed = false;

  private constructor(private readonly opened: OpenSnapshot) {}

  /**
   * Locks the backup and opens its staged snapshot, made if there is none; `peer` is who brings it. Takes the name of
   * the backup for it, where nobody has, as one of those that `allowance` has left. Rejects with `exists` where the
   * name is that of another one's backup, or something else stands there, with `quota`, and with `directory`; then
   * everything is as it was.
   */
  static async open(
    directory: string,
    name: EntryName,
    peer: string,
    allowance = new Allowance({}),
  ): Promise<StagedSnapshot> {
    for (let attempt = 1; ; attempt++) {
      try {
        const register = await readRegister(directory, name);
        await refuseTaken(directory, name, register, peer);
        return new StagedSnapshot(await StagedSnapshot.lock(directory, name, peer, allowance));
      } catch (error) {
        // Another run that just ended removed the empty directories that we had found.
        if (errnoOf(error) === 'ENOENT' && attempt < mostAttempts) continue;
        throw asTransferError(error, 'directory', `${printable(directory)} cannot be used for backups`);
      }
    }
  }

  private static async lock(
    directory: string,
    name: EntryName,
    peer: string,
    allowance: Allowance,
  ): Promise<OpenSnapshot> {
    const own = ownPathOf(directory, name);
    await makeOwn(directory, name);
    const tree = path.join(own, stagedName);
    const resumed = await mkdir(tree).then(
      () => false,
      (error: unknown) => {
        if (errnoOf(error) === 'EEXIST') return true;
        throw error;
      },
    );
    const store = await LocalStore.open(tree, { path: own, lock: lockWordsOf(name) }).catch(async (error: unknown) => {
      if (!resumed) await removeEmpty(tree);
      throw error;
    });
    try {
      const { register, counted } = await takeName(directory, name, peer, allowance);
      const stager = await readFile(path.join(own, stagerName), 'utf8').catch(ignored('nobody’s, then'));
      const ours = !resumed || stager === peer;
      await writeFile(path.join(own, stagerName), ours ? peer : '', { mode: 0o600 });
      return { directory, name, own, resumed, ours, store, register, counted };
    } catch (error) {
      if (!resumed) await removeEmpty(tree);
      await store.close();
      await removeOwn(directory, name);
      throw error;
    }
  }

  get name(): EntryName {
    return this.opened.name;
  }

  /** Whether all that is staged was brought by this peer. */
  get ours(): boolean {
    return this.opened.ours;
  }

  /** Where its files are received. */
  get store(): LocalStore {
    return this.opened.store;
  }

  /** The backup as it is registered before this snapshot. */
  get register(): RegisteredBackup {
    return this.opened.register;
  }

  get catalog(): Catalog {
    return new Catalog(this.opened.directory);
  }

  usable(): boolean {
    return true;
  }

  contentOf(): undefined {
    return undefined;
  }

  freeId(time: Date): Promise<SnapshotId> {
    return freeSnapshotId(this.opened.directory, this.register, time);
  }

  /** Its path while it is staged. */
  get tree(): string {
    return path.join(this.opened.own, stagedName);
  }

  /**
   * Gives it its final name, in the order that `register.ts` describes: everything in it is durable already, then the
   * list of digests, the manifest last of all, what the register will be, and one rename. What an earlier run left and
   * this one does not know is removed. See `SnapshotInStage`.
   */
  async commit(
    finished: Finished,
    counts: SourceCounts,
    shrunk: readonly ShrunkSource[],
    compared: number | undefined,
  ): Promise<ManifestHead> {
    try {
      await this.finish(finished, notingContent(this.register.snapshots, counts, shrunk, compared));
      return finished.head;
    } catch (error) {
      throw diskError(error, this);
    }
  }

  private async finish(finished: Finished, earlier: readonly RegisteredSnapshot[]): Promise<void> {
    const { directory, name, own: pathname, register } = this.opened;
    const { id, number } = finished.head;
    await this.removeLeftovers(finished);
    const lists = await writeLists(this.tree, finished);
    await syncDirectory(this.tree);
    const [root, own] = [await Directory.open(directory, true), await Directory.open(pathname)];
    try {
      await prepareNext(own, {
        ...register,
        snapshots: [...earlier, { number, id, owner: register.owner, ...lists }],
      });
      const backupDirectory = await Directory.open(root.at(name));
      try {
        await rename(this.tree, backupDirectory.at(id));
        await backupDirectory.sync();
        this.committed = true;
        await acceptNext(own);
        await this.pointTo(backupDirectory, id);
      } finally {
        await backupDirectory.close();
      }
      // A sync is believed only of a disk that still takes changes.
      await own.confirm();
    } finally {
      await own.close();
      await root.close();
    }
  }

  /**
   * Unlocks the backup. What is staged and was not committed stays for the next run; where nothing came, nothing is
   * left.
   */
  async close(): Promise<void> {
    const { directory, name, own, store } = this.opened;
    try {
      if (!this.committed) {
        await removeEmpty(this.tree);
        await this.giveUpName();
      }
    } finally {
      await store.close();
    }
    // The snapshot is made: what stays of these now is overwritten for the next one.
    if (this.committed)
      for (const file of [stagerName, 'receipts'])
        await rm(path.join(own, file), { force: true }).catch(
          ignored('what stays of these is overwritten for the next snapshot'),
        );
    await removeOwn(directory, name);
  }

  /** Frees the name of the backup, where this was to be its first snapshot and nothing was staged. */
  private async giveUpName(): Promise<void> {
    const { directory, name, own: pathname, register, counted } = this.opened;
    if (register.snapshots.length > 0) return;
    const own = await Directory.open(pathname);
    try {
      const partial = await readdir(own.at(partialName)).catch(() => []); // there are none
      if ((await own.look(stagedName)) !== undefined || partial.length > 0) return;
      await removeEmpty(path.join(directory, name));
      await removeRegister(own);
      await rm(own.at(stagerName), { force: true });
      counted?.giveBackDirectory(directory, name);
    } finally {
      await own.close();
    }
  }

  /**
   * Removes what an earlier run has left, and files that were refused after they got their names, because their
   * directory could not be synced.
   */
  private async removeLeftovers({ entries, totals }: Finished): Promise<void> {
    if (!this.opened.resumed && totals.missing === 0) return;
    for (const name of [manifestName, checksumListName('sha256'), checksumListName('md5'), checksumListName('blake3')])
      await rm(path.join(this.tree, name), { force: true });
    await removeForeign(this.tree, entries);
  }

  /**
   * Points the symbolic link `latest` at the snapshot: for people and scripts, since we read the register. Anything
   * else of that name is left alone. Tried twice; a failure does not undo the snapshot, and `confirm` finds a disk that
   * takes no changes any more.
   */
  private async pointTo(backupDirectory: Directory, id: string): Promise<void> {
    const found = await backupDirectory.look(latestName);
    if (found && !found.isSymbolicLink()) return;
    const fresh = path.join(this.opened.own, latestName);
    for (let attempt = 1; attempt <= 2; attempt++) {
      try {
        await rm(fresh, { force: true });
        await symlink(id, fresh);
        await rename(fresh, backupDirectory.at(latestName));
        await backupDirectory.sync();
        return;
      } catch (error) {
        trace('%s does not point to %s: %o', latestName, id, error);
        await rm(fresh, { force: true }).catch(ignored('confirm finds out a disk that takes no changes'));
      }
    }
  }
}

/** Rejects with `exists` where a backup of `peer` cannot have that name. */
async function refuseTaken(
  directory: string,
  name: EntryName,
  register: RegisteredBackup | undefined,
  peer: string,
): Promise<void> {
  if (register && register.owner !== peer) throw otherOwner(name, directory);
  const existing = await lstat(path.join(directory, name)).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!existing || (register && existing.isDirectory())) return;
  const hint = await unregisteredHint(directory, name);
  throw new TransferError('exists', `${printable(name)} cannot be the name of a backup there: something else has it.`, {
    hint: hint ?? 'Take another name.',
  });
}

/**
 * The refusal for whoever would make a snapshot of a backup that is not its own. `directory` is what it is in: the path
 * of a receive directory, or the URL of an object store.
 */
export function otherOwner(name: EntryName, directory: string): TransferError {
  const handingOver = !isObjectUrl(directory)
    ? `Take another name; or, on the machine that has it: sendall adopt DIR --name ${printable(name)} --owner KEY hands it over.`
    : 'Take another name, or bring it as its first snapshot came: with the same key, by the ticket of a receiver, or by ' +
      's3://. How it is handed over is said in docs/object-store.md.';
  return new TransferError('exists', `${printable(name)} is the backup of another key.`, { hint: handingOver });
}

/**
 * For whoever has locked the backup: its register, made where there is none, and the directory of its snapshots.
 * Rejects with `exists` and `quota`.
 */
async function takeName(
  directory: string,
  name: EntryName,
  peer: string,
  allowance: Allowance,
): Promise<Pick<OpenSnapshot, 'register' | 'counted'>> {
  const [root, own] = [await Directory.open(directory, true), await Directory.open(ownPathOf(directory, name))];
  try {
    const known = await settleRegister(own, root, name);
    await refuseTaken(directory, name, known, peer);
    const register = known ?? { name, owner: peer, snapshots: [] };
    const counted = !known && (await allowance.takeDirectory(directory, name)) ? allowance : undefined;
    // From here on nothing else is received under that name.
    if (!known) await writeRegister(own, register);
    try {
      await mkdir(root.at(name)).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
      await root.sync();
      await refuseTaken(directory, name, register, peer);
      await refuseOwnElsewhere(root);
      if ((await mountsBelow(root)).has(name)) throw onOtherDisk(name, name);
    } catch (error) {
      counted?.giveBackDirectory(directory, name);
      if (!known) await removeRegister(own);
      throw error;
    }
    return { register, counted };
  } finally {
    await own.close();
    await root.close();
  }
}

/** `.sendall/snapshots/NAME` in the receive directory, each of them private to us. */
async function makeOwn(directory: string, name: EntryName): Promise<void> {
  const opened = [await Directory.open(directory, true)];
  try {
    for (const each of [stagingName, snapshotsName, name]) {
      const parent = opened.at(-1);
      if (parent) opened.push(await openPrivate(parent, each));
    }
  } finally {
    await Promise.all(opened.map((each) => each.close()));
  }
}

/** Removes our empty directories, as far as possible. */
async function removeOwn(directory: string, name: EntryName): Promise<void> {
  const own = ownPathOf(directory, name);
  for (const pathname of [path.join(own, partialName), own, path.dirname(own), path.join(directory, stagingName)])
    await removeEmpty(pathname).catch(ignored('an empty directory of ours that stays serves the next backup'));
}

async function syncDirectory(pathname: string): Promise<void> {
  const directory = await Directory.open(pathname);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
