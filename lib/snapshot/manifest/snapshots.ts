import { lstat } from 'node:fs/promises';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import type { Damage, TransferEvent } from '../../progress';
import { Directory } from '../../store/local/directory';
import { Removal } from '../prune/removal';
import { Catalog, type Snapshot } from './catalog';
import { foreignIn } from './foreign';
import { manifestName, type ManifestTotals } from './manifest';
import { timeOf } from './snapshot-id';
import { VerifyStates } from '../verify/verify-state';

/** What a snapshot says of itself, and when it was last found to be as it says. */
export type SnapshotListed = Extract<TransferEvent, { readonly event: 'snapshot' }>;

/** A snapshot whose manifest cannot be believed, and why. */
export interface SnapshotDamaged extends Damage {
  readonly event: 'damaged';
  readonly failure: TransferError;
}

/** Something that lies among the snapshots, and that this receiver has not committed. */
export type SnapshotForeign = Extract<TransferEvent, { readonly event: 'foreign' }>;

export interface LocalListOptions {
  /** The receive directory. */
  readonly directory: string;
  /** The backup; all of them unless told. */
  readonly name?: string;
  /** Whether to find out how many bytes each snapshot alone holds, for which every directory in it is read. */
  readonly alone?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * The snapshots in a receive directory by the names of their backups, the oldest first, and then what lies there and is
 * none. Reads each manifest, and no file of theirs. Rejects with `directory` where the receive directory cannot be
 * read, with `usage` for a backup that is not there, with `mismatch` for a register that is damaged, and with
 * `interrupted`.
 */
export async function listSnapshots({
  directory,
  name: wanted,
  alone = false,
  signal,
}: LocalListOptions): Promise<(SnapshotListed | SnapshotDamaged | SnapshotForeign)[]> {
  const catalog = new Catalog(directory);
  const names = await catalog.names();
  if (wanted !== undefined && !names.some((each) => each === wanted)) throw await catalog.noBackup(wanted);
  const listed: (SnapshotListed | SnapshotDamaged | SnapshotForeign)[] = [];
  for (const name of names) {
    if (wanted !== undefined && name !== wanted) continue;
    for (const snapshot of await catalog.snapshots(name)) {
      if (signal?.aborted === true) throw new TransferError('interrupted', 'Interrupted.');
      const each = await look(catalog, snapshot);
      if (each?.event === 'snapshot' && alone) listed.push({ ...each, alone_bytes: await aloneIn(snapshot, signal) });
      else if (each) listed.push(each);
    }
  }
  for (const path of await foreignIn(catalog, wanted)) listed.push({ event: 'foreign', path });
  return listed;
}

/** The bytes of the files that have no name outside of a snapshot: what would be free without it. */
async function aloneIn({ directory, name, id }: Snapshot, signal: AbortSignal | undefined): Promise<number> {
  const backupDirectory = await Directory.open(`${directory}/${name}`);
  try {
    return await new Removal(signal).count(backupDirectory, id);
  } finally {
    await backupDirectory.close();
  }
}

/** Undefined for one that has been pruned since it was found. */
async function look(catalog: Catalog, found: Snapshot): Promise<SnapshotListed | SnapshotDamaged | undefined> {
  const { name, id, pathname, head, lost } = found;
  const snapshot = `${name}/${id}`;
  let totals: ManifestTotals;
  try {
    if (lost && head instanceof TransferError) throw head;
    ({ totals } = await catalog.outline(found));
  } catch (error) {
    if (lost)
      return {
        event: 'damaged',
        snapshot,
        path: manifestName,
        reason: 'missing',
        failure: asTransferError(error, 'mismatch', 'It is gone'),
      };
    if ((await lstat(pathname).catch(errnoOf)) === 'ENOENT') return undefined;
    return {
      event: 'damaged',
      snapshot,
      path: manifestName,
      reason: 'manifest',
      failure: asTransferError(error, 'mismatch', 'The manifest cannot be read'),
    };
  }
  const { entries, bytes, newBytes, missing } = totals;
  const verified = (await new VerifyStates(catalog.directory).read(found))?.verified_at;
  return {
    event: 'snapshot',
    snapshot,
    time: timeOf(id).toISOString(),
    entries,
    bytes,
    new_bytes: newBytes,
    missing,
    verified_at: verified ?? null,
  };
}
