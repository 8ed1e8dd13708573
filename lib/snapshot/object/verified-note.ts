// When a snapshot in an object store was last found to be as it says: beside its record, which never changes.
import type { Bucket } from '../../store/object/bucket';
import { escapeName } from '../../store/object/records';
import { recordKey, type SnapshotRecord, snapshotsPrefix } from './snapshot-record';

const verifiedPrefix = 'verified/';

function verifiedKey(record: SnapshotRecord): string {
  return `${verifiedPrefix}${recordKey(record).slice(snapshotsPrefix.length)}`;
}

/**
 * Where it stands what the last sample of one choice has read: of everything, of a backup, or of a snapshot as it was
 * named, `NAME/ID` or `NAME/latest`. No backup has a name that begins with a dot.
 */
export function sampleKey(choice?: string): string {
  return choice === undefined ? `${verifiedPrefix}sample` : `${verifiedPrefix}.samples/${escapeName(choice)}`;
}

/** As ISO 8601; undefined where it never was, or was damaged since. */
export async function verifiedAt(bucket: Bucket, record: SnapshotRecord): Promise<string | undefined> {
  const [, at] =
    /^\{"verified_at":"([-0-9T:.Z]+)"\}\s*$/.exec((await bucket.get(verifiedKey(record)))?.text ?? '') ?? [];
  return at;
}

export async function noteVerified(bucket: Bucket, record: SnapshotRecord): Promise<void> {
  await bucket.put(verifiedKey(record), Buffer.from(`${JSON.stringify({ verified_at: new Date().toISOString() })}\n`));
}

export async function forgetVerified(bucket: Bucket, record: SnapshotRecord): Promise<void> {
  await bucket.delete(verifiedKey(record));
}

/** Removes all that is known of a snapshot that is gone. */
export async function forgetGone(bucket: Bucket, record: SnapshotRecord): Promise<void> {
  await forgetVerified(bucket, record);
  await bucket.delete(sampleKey(`${record.name}/${record.id}`));
}
