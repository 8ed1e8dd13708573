import { readlink, rename, rm, symlink } from 'node:fs/promises';
import { asTransferError, TransferError } from '../../errors';
import type { EntryName } from '../../name';
import type { TransferEvent } from '../../progress';
import { Directory } from '../../store/local/directory';
import { lockBackup, type LockedBackup } from '../backup/backup-lock';
import { Catalog, latestName, type Snapshot } from '../manifest/catalog';
import { allowAll, Removal } from './removal';
import { checkRules, judge, type KeepReason, type KeepRules, type Verdict } from './retention';
import { isSnapshotId, type SnapshotId } from '../manifest/snapshot-id';
import { noBackup } from '../manifest/snapshots';

export interface PruneOptions {
  /** The receive directory. */
  readonly directory: string;
  /** The backup; all of them unless told. */
  readonly name?: string;
  readonly keep: KeepRules;
  /** Tells what would be done, and writes nothing. Takes no lock. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  /** Hears of each snapshot when it is clear what becomes of it, and of each backup that cannot be pruned while others can. */
  readonly on?: (event: PruneEvent) => void;
}

/** What became of a snapshot, or would; `freed_bytes` are those of files that no other snapshot has. */
export type Pruned =
  | { readonly event: 'kept'; readonly snapshot: string; readonly reasons: readonly KeepReason[] }
  | { readonly event: 'removed'; readonly snapshot: string; readonly freed_bytes: number; readonly dry_run?: true };

export type PruneEvent = Pruned | Extract<TransferEvent, { readonly event: 'failed' }>;

interface Judged extends Snapshot {
  /** undefined where the manifest is damaged. */
  readonly number: number | undefined;
}

const removingPrefix = 'removing-';
/** What is known of the verification of a snapshot, and the draft of that. */
const verifiedForm = /^(.+)\.verified(?:\.new)?$/;

/**
 * Removes the snapshots that no rule keeps, the oldest first; at every instant each one is whole or gone. Never the newest one of a
 * backup, nor one whose manifest is damaged. Resolves with what became of each.
 *
 * Rejects with `usage` without rules and for a backup that is not there, with `directory` where the receive directory or what is kept
 * in it cannot be used and while another process makes or prunes snapshots of the same backup, with `disk`, and with `interrupted`;
 * with `some-failed` where that happened to some of several backups, of which `on` was told.
 */
export async function prune(options: PruneOptions): Promise<readonly Pruned[]> {
  const { directory, name: wanted, keep, dryRun = false, signal, on = () => undefined } = options;
  checkRules(keep);
  const catalog = new Catalog(directory);
  const names = await catalog.names();
  const chosen = wanted === undefined ? names : names.filter((each) => each === wanted);
  if (wanted !== undefined && chosen.length === 0) throw noBackup(wanted, directory);

  const all: Pruned[] = [];
  const failures: TransferError[] = [];
  const tell = (pruned: Pruned): void => {
    all.push(pruned);
    on(pruned);
  };
  for (const name of chosen) {
    const each: Pruning = { catalog, name, keep, signal, tell };
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
  if (failures.length > 0) throw new TransferError('some-failed', `${failures.length} of ${chosen.length} backups could not be pruned.`, { cause: failures[0] });
  return all;
}

/** The pruning of one backup. */
interface Pruning {
  readonly catalog: Catalog;
  readonly name: EntryName;
  readonly keep: KeepRules;
  readonly signal: AbortSignal | undefined;
  readonly tell: (pruned: Pruned) => void;
}

async function foretell({ catalog, name, keep, signal, tell }: Pruning): Promise<void> {
  const removal = new Removal(signal);
  const home = await Directory.open(`${catalog.directory}/${name}`);
  try {
    for (const verdict of await verdicts(catalog, name, keep)) {
      if (stays(verdict)) tell(keptOf(verdict));
      else tell({ ...removedOf(verdict, await removal.count(home, verdict.snapshot.id)), dry_run: true });
    }
  } finally {
    await home.close();
  }
}

async function pruneBackup({ catalog, name, keep, signal, tell }: Pruning): Promise<void> {
  const backup = await lockBackup(catalog.directory, name);
  try {
    const judged = await verdicts(catalog, name, keep);
    const removal = new Removal(signal);
    await removeLeftovers(backup, new Set(judged.map(({ snapshot }) => snapshot.id)), removal);
    await keepLatest(backup, judged);
    for (const verdict of judged) {
      signal?.throwIfAborted();
      if (stays(verdict)) tell(keptOf(verdict));
      else tell(removedOf(verdict, await removeSnapshot(backup, verdict.snapshot.id, removal)));
    }
  } finally {
    await backup.release();
  }
}

async function verdicts(catalog: Catalog, name: EntryName, keep: KeepRules): Promise<Verdict<Judged>[]> {
  const judged: Judged[] = [];
  for (const snapshot of await catalog.snapshots(name)) {
    // All of its bytes count, not the head alone: who relies on a damaged one may give up the last good one. The listing says what is wrong.
    const outline = await catalog.outline(snapshot).catch(() => undefined);
    judged.push({ ...snapshot, number: outline?.head.number });
  }
  return judge(judged, keep);
}

/** Takes the snapshot out of sight at once, durably, and then removes it bit by bit. */
async function removeSnapshot({ home, own }: LockedBackup, id: SnapshotId, removal: Removal): Promise<number> {
  const removing = `${removingPrefix}${id}`;
  await rm(own.at(`${id}.verified`), { force: true });
  await allowAll(home, id); // else it cannot be moved into another directory
  await rename(home.at(id), own.at(removing));
  await own.sync();
  await home.sync();
  const freed = await removal.remove(own, removing);
  await own.sync();
  return freed;
}

/** Removes what is left of snapshots whose removal was broken off, and what was known of any that are gone. */
async function removeLeftovers({ own }: LockedBackup, standing: ReadonlySet<string>, removal: Removal): Promise<void> {
  for (const name of await own.list()) {
    const id = verifiedForm.exec(name)?.[1];
    if (name.startsWith(removingPrefix)) await removal.remove(own, name);
    else if (id !== undefined && isSnapshotId(id) && !standing.has(id)) await rm(own.at(name), { force: true });
  }
}

/** Lets `latest` name the newest snapshot, if what it names now does not stay. Leaves alone what is no symbolic link. */
async function keepLatest({ home, own }: LockedBackup, judged: readonly Verdict<Judged>[]): Promise<void> {
  const newest = judged.find(({ reasons }) => reasons.includes('newest'))?.snapshot;
  if (!newest || judged.every(stays)) return;
  const found = await home.look(latestName);
  if (found && !found.isSymbolicLink()) return;
  const target = found && (await readlink(home.at(latestName)));
  if (judged.some((verdict) => verdict.snapshot.id === target && stays(verdict))) return;
  await rm(own.at(latestName), { force: true });
  await symlink(newest.id, own.at(latestName));
  await rename(own.at(latestName), home.at(latestName));
  await home.sync();
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
