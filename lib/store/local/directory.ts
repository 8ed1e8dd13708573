import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { errnoOf } from '../../errors';
import { collationKey } from '../../name';
import { nameOfBytes, systemPath } from '../../name-bytes';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
/** Of the directories that are private to us. */
export const privateMode = 0o700;
const byDescriptor = process.platform === 'linux';

/**
 * A directory held open. On Linux everything in it is addressed through the descriptor (`/proc/self/fd/N/name`), so
 * that whoever swaps a symbolic link for a directory on the way there cannot lead us elsewhere. Other systems get the
 * path, checked one component at a time.
 */
export class Directory {
  private constructor(
    private readonly handle: FileHandle | undefined,
    private readonly pathname: string,
  ) {}

  /** Opens a directory. `follow` is for the one that the user named; everything below is never followed. */
  static async open(pathname: string, follow = false): Promise<Directory> {
    if (process.platform === 'win32') return new Directory(undefined, pathname);
    const handle = await open(systemPath(pathname), O_RDONLY | O_DIRECTORY | (follow ? 0 : O_NOFOLLOW));
    return new Directory(handle, byDescriptor ? `/proc/self/fd/${String(handle.fd)}` : pathname);
  }

  /**
   * The path by which to reach `name`, one component, in this directory: text, of which `systemPath` makes what the
   * system takes.
   */
  at(name: string): string {
    return `${this.pathname}/${name}`;
  }

  async look(name: string): Promise<Stats | undefined> {
    try {
      return await lstat(systemPath(this.at(name)));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** The names of what is in it. */
  async list(): Promise<string[]> {
    const at = byDescriptor ? `${this.pathname}/.` : this.pathname;
    const names = await readdir(at);
    if (!names.some((name) => name.includes('\ufffd'))) return names;
    return (await readdir(at, { encoding: 'buffer' })).map(nameOfBytes);
  }

  /**
   * The name under which this directory already has something that collides with `name`, where the disk folds names.
   */
  async collision(name: string): Promise<string | undefined> {
    const key = collationKey(name);
    return (await this.list()).find((other) => other !== name && collationKey(other) === key);
  }

  /** Makes the entries of this directory durable. */
  async sync(): Promise<void> {
    await this.handle?.sync();
  }

  /**
   * Rejects where the disk takes no changes any more, found out by changes that change nothing; only for a directory
   * that is private to us. A `sync` is believed only if this succeeds after it: once a commit of ext4's journal has
   * failed, the next fsync finds nothing left to commit, and says that all is well (seen with Linux 6.18). The first
   * change has the file system find that out, the second is refused.
   */
  async confirm(): Promise<void> {
    for (let times = 0; times < 2; times++) await this.handle?.chmod(privateMode);
  }

  async close(): Promise<void> {
    await this.handle?.close();
  }
}
