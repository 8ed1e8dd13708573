// A copy of a file on the same disk, for where one more name of it cannot be had.
import {
  type BigIntStats,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
} from 'node:fs';
import { TransferError } from '../../errors';
import { systemPath } from '../../name-bytes';
import { setFileTime } from '../../threads/system-calls';
import { xattrCalls } from '../../threads/xattr-calls';
import { trace } from '../../trace';
import { readContent, type ReadGround } from './existing-content';

const { COPYFILE_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/**
 * Copies the regular file at `from` to `to`, which must not exist, with its mode, times, owner and attributes as far as
 * that is allowed; durable, read back and compared. Resolves with the state of the original, undefined if that is no
 * regular file. Rejects with `mismatch`, or an error of the operating system.
 */
export async function copyFile(from: string, to: string, ground: ReadGround): Promise<BigIntStats | undefined> {
  const original = openSync(systemPath(from), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const found = fstatSync(original, { bigint: true });
    if (!found.isFile()) return undefined;
    // What is open, whatever has that name by now.
    const source = process.platform === 'linux' ? `/proc/self/fd/${String(original)}` : from;
    copyFileSync(source, systemPath(to), COPYFILE_EXCL);
    finish(to, from, found);
    const [wanted, copied] = [await readContent(from, undefined, ground), await readContent(to, undefined, ground)];
    if (!wanted || wanted.digest !== copied?.digest)
      throw new TransferError('mismatch', 'The copy of a file does not read as the file.');
    return found;
  } finally {
    closeSync(original);
  }
}

function finish(to: string, from: string, { uid, gid, mode, mtimeNs }: BigIntStats): void {
  const fd = openSync(systemPath(to), O_RDONLY | O_NOFOLLOW);
  try {
    attempt(() => fchownSync(fd, Number(uid), Number(gid)));
    attempt(() => {
      const calls = xattrCalls();
      for (const name of calls?.names(systemPath(from)) ?? []) {
        const value = calls?.value(systemPath(from), name);
        if (value) calls?.set(fd, name, value);
      }
    });
    attempt(() => fchmodSync(fd, Number(mode & 0o7777n)));
    attempt(() => setFileTime(fd, mtimeNs));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** An attribute of the original that cannot be set is no reason not to have the copy. */
function attempt(change: () => void): void {
  try {
    change();
  } catch (error) {
    trace('a copy is not in everything as its original: %o', error);
  }
}
