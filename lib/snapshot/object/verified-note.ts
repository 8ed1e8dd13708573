// When a snapshot in an object store was last found to be as it says: beside its record, which never changes.
import type { Bucket } from '../../store/object/bucket';
import { recordKey, type SnapshotRecord, snapshotsPrefix } from './snapshot-record';

export const verifiedPrefix = 'verified/';

export function verifiedKey(record: SnapshotRecord): string {
  return `${verifiedPrefix}${recordKey(record).slice(snapshotsPrefix.length)}`;
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
