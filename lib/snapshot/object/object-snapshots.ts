// What is asked of the snapshots in an object store: which there are.
import { TransferError } from '../../errors';
import type { ObjectStoreOptions } from '../../store/object/object-store';
import { openBucket } from '../../store/object/object-store';
import { formatObjectUrl } from '../../object-address';
import { manifestName } from '../manifest/manifest';
import type { SnapshotDamaged, SnapshotListed } from '../manifest/snapshots';
import { timeOf } from '../manifest/snapshot-id';
import { ObjectCatalog } from './object-catalog';
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

/** See `lib/snapshot/manifest/snapshots.ts`. A manifest is looked for, and not read. */
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
    for (const snapshot of await catalog.snapshots(name)) {
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      const { id, record } = snapshot;
      if (!(await catalog.hasManifest(snapshot))) {
        const failure = new TransferError('mismatch', `The manifest of ${name}/${id} is missing in the object store.`);
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
