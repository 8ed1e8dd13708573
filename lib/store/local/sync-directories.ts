import { fsyncSync } from 'node:fs';
import { errnoOf } from '../../errors';
import type { OpenDirectories } from './open-directories';

/** Makes the entries durable that were changed in these directories. */
export function syncDirectories(directories: OpenDirectories): void {
  for (const name of directories.touched) {
    try {
      fsyncSync(directories.descriptor(name));
    } catch (error) {
      // Removed since: nothing in it can be made durable any more.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  directories.touched.clear();
}
