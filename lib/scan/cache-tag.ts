import { closeSync, constants, openSync, readSync } from 'node:fs';
import { systemPath } from '../name-bytes';
import { readFlags } from '../threads/walker';
import type { DiskEntry } from './disk-names';

const { O_NOFOLLOW = 0 } = constants;
const signature = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55');

/** Whether an entry marks its directory as a cache, as https://bford.info/cachedir/ has it; `at` says where it is. */
export function isCacheTag(entry: DiskEntry, at: () => string | Buffer): boolean {
  if (entry.name !== 'CACHEDIR.TAG' || !entry.isFile()) return false;
  try {
    const pathname = at();
    const fd = openSync(typeof pathname === 'string' ? systemPath(pathname) : pathname, readFlags | O_NOFOLLOW);
    try {
      const read = Buffer.alloc(signature.length);
      return readSync(fd, read, 0, read.length, 0) === read.length && read.equals(signature);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false; // what cannot be read marks nothing: too much is better than too little
  }
}
