import { readlink, rename, rm, symlink } from 'node:fs/promises';
import { asTransferError, lacksRoom, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { TransferEvent } from '../../progress';
import { Directory } from '../../store/local/directory';
import { ignored, trace } from '../../trace';
import { removeEmpty } from '../../store/local/receive-directory';
import { lockBackup, type LockedBackup } from '../backup/backup-lock';
import { Catalog, latestName, type Snapshot } from '../manifest/catalog';
import { isDamage } from '../manifest/snapshot-catalog';
import { allowAll, Removal } from './removal';
import { checkRules, judge, type KeepReason, type KeepRules, type Verdict } from './retention';
import { isSnapshotId, type SnapshotId } from '../manifest/snapshot-id';
import { ownPathOf, removingPrefix, settleRegister, writeRegister } from '../register/register';

export interface LocalPruneOptions {
  /** The receive directory. */
  readonly directory: string;
  /** The backup; all of them unless told. */
  readonly name?: string;
  readonly keep: KeepRules;
  /** Whether the last snapshot that had what a source has lost since may go. */
  readonly allowShrink?: boolean;
  /** A snapshot, `NAME/ID`, that goes as well: its manifest is damaged, and would keep it whatever the rules say. */
  readonly removeDamaged?: string;
  /** Tells what would be done, and writes nothing. Takes no lock. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  /**
   * Called for each snapshot once it is kept or removed, or with `dryRun` would be, and for each backup that cannot be
   * pruned while others can.
   */
  readonly on?: (event: PruneEvent) => void;
}

/**
 * What became of a snapshot, or would; `freed_bytes` are those of files that no other snapshot has, which in an object
 * store are free after the grace.
 */
export type Pruned =
  | { readonly event: 'kept'; readonly snapshot: string; readonly reasons: readonly KeepReason[] }
  | {
      readonly event: 'removed';
      readonly snapshot: string;
      readonly freed_bytes: number;
      readonly after_grace?: true;
      readonly dry_run?: true;
    };

/** What became of garbage in an object store, or would. */
export interface GarbageCollected {
  readonly event: 'collected';
  readonly deleted_objects: number;
  readonly deleted_bytes: number;
  readonly condemned_objects: number;
  readonly condemned_bytes: number;
  readonly dry_run?: true;
}

export type PruneEvent = Pruned | GarbageCollected | Extract<TransferEvent, { readonly event: 'failed' }>;

interface Judged extends Snapshot {
  /** undefined where the manifest is damaged. */
  readonly number: number | undefined;
  readonly hasContent: boolean;
  readonly givenUp: boolean;
}

/** What is known of the verification of a snapshot, and the draft of that. */
const verifiedForm = /^(.+)\.verified(?:\.new)?$/;

/**
 * Removes the snapshots that no rule keeps, the oldest first; at every instant each one is whole or gone. Only what is
 * registered counts, and nothing else is touched. Never the newest one of a backup, nor one whose manifest is damaged
 * unless it is the one to `removeDamaged`, nor one that is dated in the future. Resolves with what became of each.
 * Needs no room on the disk: where there is none for its lock, what is to go makes it.
 *
 * Rejects with `usage` without rules, for a backup that is not there and where the manifest of what is to go as damaged
 * is not; with `directory` where the receive directory or what is kept in it cannot be used and while another process
 * makes or prunes snapshots of the same backup, with `disk`, and with `interrupted`; with `some-failed` where that
 * happened to some of several backups, of which `on` was told.
 */
export async function prune(options: LocalPruneOptions): Promise<readonly Pruned[]> {
  const { directory, name: wanted, keep, allowShrink = false, removeDamaged, dryRun = false } = options;
  const { signal, on = () => undefined } = options;
  checkRules(keep);
  const catalog = new Catalog(directory);
  const names = await catalog.names();
  const chosen = wanted === undefined ? names : names.filter((each) => each === wanted);
  if (wanted !== undefined && chosen.length === 0) throw await catalog.noBackup(wanted);

  const givenUp = removeDamaged === undefined ? undefined : await catalog.findDamaged(removeDamaged, wanted);

  const all: Pruned[] = [];
  const failures: TransferError[] = [];
  const tell = (pruned: Pruned): void => {
    all.push(pruned);
    on(pruned);
  };
  for (const name of chosen) {
    const { id } = givenUp?.name === name ? givenUp : {};
    const each: Pruning = { catalog, name, keep, allowShrink, givenUp: id, signal, tell };
    try {
      await (dryRun ? foretell(each) : pruneBackup(each));
    } catch (error) {
      const failure = asTransferError(error, 'disk', `The backup ${name} cannot be pruned`);
      if (chosen.length === 1 || failure.code === 'interrupted') throw failure;
      failures.push(failure);
      const { code, message, hint } = failure;
      on({ event: 'failed', code, message, ...(hint === undefined ? {} : { hint }) });
    }
  }
  if (failures.length > 0)
    throw new TransferError('some-failed', `${failures.length} of ${chosen.length} backups could not be pruned.`, {
      cause: failures[0],
    });
  if (givenUp) checkGivenUp(givenUp, all);
  return all;
}

/** Throws `usage` where what was to be removed as damaged was kept: somebody may have put it right meanwhile. */
export function checkGivenUp({ name, id }: Pick<Snapshot, 'name' | 'id'>, pruned: readonly Pruned[]): void {
  const called = `${name}/${id}`;
  if (pruned.some(({ event, snapshot }) => event === 'removed' && snapshot === called)) return;
  throw new TransferError('usage', printable(`${called} was not found damaged once more, and was kept.`), { hint: '' });
}

/** The pruning of one backup. */
interface Pruning {
  readonly catalog: Catalog;
  readonly name: EntryName;
  readonly keep: KeepRules;
  readonly allowShrink: boolean;
  /** What goes if its manifest is still damaged. */
  readonly givenUp: SnapshotId | undefined;
  readonly signal: AbortSignal | undefined;
  readonly tell: (pruned: Pruned) => void;
}

async function foretell(pruning: Pruning): Promise<void> {
  const { catalog, name, signal, tell } = pruning;
  const removal = new Removal(signal);
  const backupDirectory = await Directory.open(`${catalog.directory}/${name}`);
  try {
    for (const verdict of await verdicts(pruning)) {
      if (stays(verdict)) tell(keptOf(verdict));
      else tell({ ...removedOf(verdict, await removal.count(backupDirectory, verdict.snapshot.id)), dry_run: true });
    }
  } finally {
    await backupDirectory.close();
  }
}

async function pruneBackup(pruning: Pruning): Promise<void> {
  const { name, signal, tell } = pruning;
  const removal = new Removal(signal);
  const backup = await lockMakingRoom(pruning, removal);
  try {
    await settleRegister(backup.own, backup.root, name);
    const removed = await emptyLeftovers(backup.own, removal);
    // Where the disk has no room for this now, there is some at the end.
    await takeOff(backup, removed).catch(unlessRoomLacks);
    await forgetVerified(backup);
    const judged = await verdicts(pruning);
    await keepLatest(backup, judged).catch(unlessRoomLacks);
    try {
      for (const verdict of judged) {
        signal?.throwIfAborted();
        const { id } = verdict.snapshot;
        if (stays(verdict)) tell(keptOf(verdict));
        else {
          const freed = await removeSnapshot(backup, id, removal);
          removed.add(id);
          tell(removedOf(verdict, freed));
        }
      }
    } finally {
      await takeOff(backup, removed);
    }
    await keepLatest(backup, judged);
  } finally {
    await backup.release();
  }
}

/**
 * Locks the backup. A disk that has no room for a lock is one for which people prune: what is to go makes room first.
 * No lock is needed to take a snapshot out of sight, since one rename does that, and what is left of it at
 * `removing-ID` is known to whoever locks the backup next.
 */
async function lockMakingRoom(pruning: Pruning, removal: Removal): Promise<LockedBackup> {
  const { catalog, name, tell } = pruning;
  const lock = (): Promise<LockedBackup> => lockBackup(catalog.directory, name);
  const atOnce = await lock().catch(unlessRoomLacks);
  if (atOnce) return atOnce;
  const backupDirectory = await Directory.open(`${catalog.directory}/${name}`);
  const own = await Directory.open(ownPathOf(catalog.directory, name));
  try {
    await emptyLeftovers(own, removal);
    for (const verdict of (await verdicts(pruning)).filter((each) => !stays(each))) {
      tell(removedOf(verdict, await removeSnapshot({ backupDirectory, own }, verdict.snapshot.id, removal)));
      const locked = await lock().catch(unlessRoomLacks);
      if (locked) return locked;
    }
  } finally {
    await backupDirectory.close();
    await own.close();
  }
  return lock();
}

function unlessRoomLacks(error: unknown): undefined {
  if (!lacksRoom(error)) throw error;
  trace('done later, when there is room: %o', error);
}

async function verdicts({ catalog, name, keep, allowShrink, givenUp }: Pruning): Promise<Verdict<Judged>[]> {
  const judged: Judged[] = [];
  for (const snapshot of await catalog.snapshots(name)) {
    // The whole manifest is read, not only its head: a damaged snapshot must not displace the last good one.
    const flaw = await catalog.outline(snapshot).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    if (flaw) ignored('the listing says what is wrong')(flaw.error);
    judged.push({
      ...snapshot,
      number: flaw ? undefined : snapshot.entry.number,
      hasContent: !allowShrink && snapshot.entry.content !== undefined,
      givenUp: snapshot.id === givenUp && isDamage(flaw?.error),
    });
  }
  return judge(judged, keep, new Date());
}

/**
 * Takes the snapshot out of sight at once, durably, and then removes it bit by bit. An empty directory says that it was
 * removed, until the register does.
 */
async function removeSnapshot(
  { backupDirectory, own }: Pick<LockedBackup, 'backupDirectory' | 'own'>,
  id: SnapshotId,
  removal: Removal,
): Promise<number> {
  const removing = `${removingPrefix}${id}`;
  await rm(own.at(`${id}.verified`), { force: true });
  await allowAll(backupDirectory, id); // else it cannot be moved into another directory
  await rename(backupDirectory.at(id), own.at(removing));
  await own.sync();
  await backupDirectory.sync();
  return removal.empty(own, removing);
}

/** Takes what was removed off the register. */
async function takeOff({ own, root, name }: LockedBackup, removed: ReadonlySet<string>): Promise<void> {
  if (removed.size === 0) return;
  const register = await settleRegister(own, root, name);
  if (register)
    await writeRegister(own, { ...register, snapshots: register.snapshots.filter(({ id }) => !removed.has(id)) });
  for (const id of removed) await removeEmpty(own.at(`${removingPrefix}${id}`));
  await own.sync();
}

/** Removes what is left in snapshots whose removal was broken off. Resolves with their ids. */
async function emptyLeftovers(own: Directory, removal: Removal): Promise<Set<string>> {
  const removed = new Set<string>();
  for (const each of await own.list()) {
    if (!each.startsWith(removingPrefix)) continue;
    await removal.empty(own, each);
    removed.add(each.slice(removingPrefix.length));
  }
  return removed;
}

/** Removes what was known of snapshots that are gone. */
async function forgetVerified({ own, backupDirectory }: LockedBackup): Promise<void> {
  for (const each of await own.list()) {
    const id = verifiedForm.exec(each)?.[1];
    if (id !== undefined && isSnapshotId(id) && (await backupDirectory.look(id)) === undefined)
      await rm(own.at(each), { force: true });
  }
}

/**
 * Lets `latest` name the newest snapshot, if what it names now does not stay, and nothing where no snapshot is left
 * that may be the newest. Leaves alone what is no symbolic link.
 */
async function keepLatest({ backupDirectory, own }: LockedBackup, judged: readonly Verdict<Judged>[]): Promise<void> {
  const newest = judged.find(({ reasons }) => reasons.includes('newest'))?.snapshot;
  if (newest && judged.every(stays)) return;
  const found = await backupDirectory.look(latestName);
  if (found && !found.isSymbolicLink()) return;
  const target = found && (await readlink(backupDirectory.at(latestName)));
  if (!newest) {
    if (target === undefined || !isSnapshotId(target) || (await backupDirectory.look(target))) return;
    await rm(backupDirectory.at(latestName));
    return backupDirectory.sync();
  }
  if (judged.some((verdict) => verdict.snapshot.id === target && stays(verdict))) return;
  await rm(own.at(latestName), { force: true });
  await symlink(newest.id, own.at(latestName));
  await rename(own.at(latestName), backupDirectory.at(latestName));
  await backupDirectory.sync();
}

function stays({ reasons }: Verdict<Judged>): boolean {
  return reasons.length > 0;
}

function keptOf({ snapshot, reasons }: Verdict<Judged>): Extract<Pruned, { event: 'kept' }> {
  return { event: 'kept', snapshot: `${snapshot.name}/${snapshot.id}`, reasons };
}

function removedOf({ snapshot }: Verdict<Judged>, freed: number): Extract<Pruned, { event: 'removed' }> {
  return { event: 'removed', snapshot: `${snapshot.name}/${snapshot.id}`, freed_bytes: freed };
}
