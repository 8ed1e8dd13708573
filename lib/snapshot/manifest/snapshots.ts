import { lstat } from 'node:fs/promises';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Damage, TransferEvent } from '../../progress';
import { Catalog, type Snapshot } from './catalog';
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

export interface ListOptions {
  /** The receive directory. */
  readonly directory: string;
  /** The backup; all of them unless told. */
  readonly name?: string;
  readonly signal?: AbortSignal;
}

/**
 * The snapshots in a receive directory by the names of their backups, the oldest first. Reads each manifest, and no file. Rejects with
 * `directory` where the receive directory cannot be read, with `usage` for a backup that is not there, and with `interrupted`.
 */
export async function listSnapshots({ directory, name: wanted, signal }: ListOptions): Promise<(SnapshotListed | SnapshotDamaged)[]> {
  const catalog = new Catalog(directory);
  const names = await catalog.names();
  if (wanted !== undefined && !names.some((each) => each === wanted)) throw noBackup(wanted, directory);
  const listed: (SnapshotListed | SnapshotDamaged)[] = [];
  for (const name of names) {
    if (wanted !== undefined && name !== wanted) continue;
    for (const snapshot of await catalog.snapshots(name)) {
      if (signal?.aborted === true) throw new TransferError('interrupted', 'Interrupted.');
      const each = await look(catalog, snapshot);
      if (each) listed.push(each);
    }
  }
  return listed;
}

/** The failure for the name of a backup that has no snapshot. */
export function noBackup(name: string, directory: string): TransferError {
  return new TransferError('usage', printable(`There is no backup ${name} in ${directory}.`), { hint: 'sendall snapshots DIR lists what there is.' });
}

/** Undefined for one that has been pruned since it was found. */
async function look(catalog: Catalog, found: Snapshot): Promise<SnapshotListed | SnapshotDamaged | undefined> {
  const { name, id, place } = found;
  const snapshot = `${name}/${id}`;
  let totals: ManifestTotals;
  try {
    ({ totals } = await catalog.outline(found));
  } catch (error) {
    if ((await lstat(place).catch(errnoOf)) === 'ENOENT') return undefined;
    return { event: 'damaged', snapshot, path: manifestName, reason: 'manifest', failure: asTransferError(error, 'mismatch', 'The manifest cannot be read') };
  }
  const { entries, bytes, newBytes, missing } = totals;
  const verified = (await new VerifyStates(catalog.directory).read(found))?.verified_at;
  return { event: 'snapshot', snapshot, time: timeOf(id).toISOString(), entries, bytes, new_bytes: newBytes, missing, verified_at: verified ?? null };
}
