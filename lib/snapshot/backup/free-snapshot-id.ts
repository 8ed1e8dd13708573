import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../errors';
import { type SnapshotId, snapshotIdOf } from '../manifest/snapshot-id';
import type { RegisteredBackup } from '../register/register';

/** The id of `time`, or of the first second after it that no snapshot of this backup has. */
export function freeIdAfter({ snapshots }: Pick<RegisteredBackup, 'snapshots'>, time: Date): SnapshotId {
  for (let at = time.getTime(); ; at += 1000) {
    const id = snapshotIdOf(new Date(at));
    if (!snapshots.some((each) => each.id === id)) return id;
  }
}

/**
 * The id of `time`, or of the first second after it that no snapshot of this backup has, nor anything else that lies
 * there.
 */
export async function freeSnapshotId(
  directory: string,
  { name, snapshots }: RegisteredBackup,
  time: Date,
): Promise<SnapshotId> {
  for (let at = time.getTime(); ; at += 1000) {
    const id = snapshotIdOf(new Date(at));
    if (snapshots.some((each) => each.id === id)) continue;
    try {
      await lstat(path.join(directory, name, id));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return id;
      throw error;
    }
  }
}
