// What is asked of the snapshots in an object store: which there are.
import { TransferError } from '../../errors';
import { printable } from '../../name';
import type { ObjectStoreOptions } from '../../store/object/object-store';
import { openBucket } from '../../store/object/object-store';
import { formatObjectUrl } from '../../object-address';
import { manifestName } from '../manifest/manifest';
import type { SnapshotDamaged, SnapshotListed } from '../manifest/snapshots';
import { timeOf } from '../manifest/snapshot-id';
import { ObjectCatalog, type ObjectSnapshot } from './object-catalog';
import { verifiedAt } from './verified-note';

/** Opens the snapshots of an object store to be read, and closes them after the work. */
export async function withObjects<Result>(
  options: ObjectStoreOptions,
  work: (catalog: ObjectCatalog) => Promise<Result>,
): Promise<Result> {
  const bucket = await openBucket(options);
  try {
    return await work(new ObjectCatalog(bucket, formatObjectUrl(options)));
  } finally {
    bucket.close();
  }
}

/**
 * See `lib/snapshot/manifest/snapshots.ts`. The newest manifest of a backup is read, which the next backup counts on;
 * the others are looked for.
 */
export async function listObjects(
  catalog: ObjectCatalog,
  wanted: string | undefined,
  signal: AbortSignal,
): Promise<(SnapshotListed | SnapshotDamaged)[]> {
  const names = await catalog.names();
  if (wanted !== undefined && !names.some((each) => each === wanted)) throw await catalog.noBackup(wanted);
  const listed: (SnapshotListed | SnapshotDamaged)[] = [];
  for (const name of names) {
    if (wanted !== undefined && name !== wanted) continue;
    const snapshots = await catalog.snapshots(name);
    for (const snapshot of snapshots) {
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      const { id, record } = snapshot;
      const failure = await damageOf(catalog, snapshot, snapshot === snapshots.at(-1));
      if (failure) {
        listed.push({ event: 'damaged', snapshot: `${name}/${id}`, path: manifestName, reason: 'manifest', failure });
        continue;
      }
      const { entries, bytes, newBytes, missing } = record.totals;
      listed.push({
        event: 'snapshot',
        snapshot: `${name}/${id}`,
        time: timeOf(id).toISOString(),
        entries,
        bytes,
        new_bytes: newBytes,
        missing,
        verified_at: (await verifiedAt(catalog.bucket, record)) ?? null,
      });
    }
  }
  return listed;
}

/** What is wrong with a manifest; undefined where nothing is, as far as it `reads` it. */
async function damageOf(
  catalog: ObjectCatalog,
  snapshot: ObjectSnapshot,
  reads: boolean,
): Promise<TransferError | undefined> {
  if (!reads)
    return (await catalog.hasManifest(snapshot))
      ? undefined
      : new TransferError(
          'mismatch',
          printable(`The manifest of ${snapshot.name}/${snapshot.id} is missing in the object store.`),
        );
  try {
    await catalog.outline(snapshot);
    return undefined;
  } catch (error) {
    if (error instanceof TransferError && error.code === 'mismatch') return error;
    throw error;
  }
}
