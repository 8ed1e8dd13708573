import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../errors';
import type { EntryName } from '../../name';
import { type SnapshotId, snapshotIdOf } from '../manifest/snapshot-id';

/** The id of `time`, or of the first second after it that no snapshot of this backup has. */
export async function freeSnapshotId(directory: string, name: EntryName, time: Date): Promise<SnapshotId> {
  for (let at = time.getTime(); ; at += 1000) {
    const id = snapshotIdOf(new Date(at));
    try {
      await lstat(path.join(directory, name, id));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return id;
      throw error;
    }
  }
}
