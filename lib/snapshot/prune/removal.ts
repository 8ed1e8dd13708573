import { constants, type Stats } from 'node:fs';
import { chmod, open, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../errors';
import { Directory } from '../../store/local/directory';
import { systemPath } from '../../name-bytes';

const { O_DIRECTORY, O_NOFOLLOW } = constants;
/**
 * Refers to a directory that may be neither read nor entered; open(2). The same on x64 and arm64, and Node does not
 * name it.
 */
const O_PATH = 0o10000000;
const allOfOwner = 0o700;
/** Files of a directory that are removed at once. */
const together = 16;

/**
 * Removes whole directory trees, whatever the modes in them, or only counts what that would free. Reaches everything by
 * descriptors and never follows a symbolic link. Files may have names in several trees: a file is free when the last of
 * its names has gone.
 */
export class Removal {
  /** How many names are left of a file that had several when it was first met; by device and inode. */
  private readonly left = new Map<string, number>();

  constructor(private readonly signal?: AbortSignal) {}

  /**
   * The bytes of the files whose last name would go with the directory `name` in `parent`, as if all that was counted
   * before had gone. Without what is in directories that may not be read as they are.
   */
  count(parent: Directory, name: string): Promise<number> {
    return this.enter(parent, name, 'count');
  }

  /**
   * Removes the directory `name` in `parent`; resolves with the bytes of the files whose last name went. Durable after
   * a sync of `parent`.
   */
  remove(parent: Directory, name: string): Promise<number> {
    return this.enter(parent, name, 'remove');
  }

  /** Removes everything in the directory `name` in `parent`, and leaves that; otherwise as `remove`. */
  empty(parent: Directory, name: string): Promise<number> {
    return this.enter(parent, name, 'empty');
  }

  private async enter(parent: Directory, name: string, how: 'count' | 'remove' | 'empty'): Promise<number> {
    const removes = how !== 'count';
    if (removes) await allowAll(parent, name);
    const directory = await Directory.open(parent.at(name)).catch((error: unknown) => {
      if (removes || errnoOf(error) !== 'EACCES') throw error;
    });
    if (!directory) return 0;
    const below: string[] = [];
    let freed = 0;
    try {
      const names = await directory.list();
      for (let at = 0; at < names.length; at += together) {
        this.signal?.throwIfAborted();
        const taken = await Promise.allSettled(
          names.slice(at, at + together).map((each) => this.take(directory, each, removes, below)),
        );
        // All have ended by now: what still ran when the descriptor is closed would reach into another directory.
        for (const end of taken) {
          if (end.status === 'rejected') throw end.reason;
          freed += end.value;
        }
      }
      for (const each of below) freed += await this.enter(directory, each, removes ? 'remove' : 'count');
    } finally {
      await directory.close();
    }
    if (how === 'remove') await rmdir(systemPath(parent.at(name)));
    return freed;
  }

  /** Removes or counts one file, a link or whatever it is; adds a directory to `below` instead. */
  private async take(directory: Directory, name: string, removes: boolean, below: string[]): Promise<number> {
    const found = await directory.look(name);
    if (found?.isDirectory()) below.push(name);
    if (found === undefined || found.isDirectory()) return 0;
    const freed = this.freedBy(found);
    if (removes) await unlink(systemPath(directory.at(name)));
    return freed;
  }

  private freedBy(file: Stats): number {
    const key = `${String(file.dev)} ${String(file.ino)}`;
    const left = (this.left.get(key) ?? file.nlink) - 1;
    if (left > 0) this.left.set(key, left);
    else this.left.delete(key);
    return left > 0 || !file.isFile() ? 0 : file.size;
  }
}

/** Removes the directory at `pathname` and all that is in it, whatever the modes in there. */
export async function removeTree(pathname: string): Promise<void> {
  const parent = await Directory.open(path.dirname(pathname), true);
  try {
    await new Removal().remove(parent, path.basename(pathname));
  } finally {
    await parent.close();
  }
}

/** Gives the owner of the directory `name` in `parent` all rights on it. */
export async function allowAll(parent: Directory, name: string): Promise<void> {
  const found = await parent.look(name);
  if (!found?.isDirectory() || (found.mode & allOfOwner) === allOfOwner) return;
  const mode = (found.mode & 0o777) | allOfOwner;
  if (process.platform !== 'linux') return chmod(systemPath(parent.at(name)), mode);
  // By its descriptor: chmod would follow a symbolic link that stands there by now.
  const handle = await open(systemPath(parent.at(name)), O_PATH | O_NOFOLLOW | O_DIRECTORY);
  try {
    await chmod(`/proc/self/fd/${String(handle.fd)}`, mode);
  } finally {
    await handle.close();
  }
}
