import { chmod, mkdir, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { Directory, privateMode } from './directory';
import { notAName } from './batch-failure';
import { notADirectory } from '../store';
import { unfinishedMode } from './unfinished';
import { syncTogether } from './sync-together';
import { systemPath } from '../../name-bytes';
import { ignored } from '../../trace';

/** A directory of the tree, in use until `release`. */
export interface DirectoryInUse {
  readonly directory: Directory;
  release(): void;
}

interface Cached {
  readonly walk: Promise<Walked>;
  readonly creates: boolean;
  readonly openedAt: number;
  users: number;
  stale: boolean;
}

interface Walked {
  readonly directory: Directory;
  /** Settles when the entry of this directory in its parent is durable, if it was made just now. */
  readonly durable: Promise<void>;
}

const mostIdle = 64;
/** Ms for which a directory is used without walking to it again. */
const trustFor = 1_000;
/** Most attempts to put a file into a directory that others remove under it. */
const mostAttempts = 10;

/**
 * The directories below a root, reached one component at a time without following symbolic links, and kept open for a
 * moment because many files go to the same one.
 */
export class DirectoryTree {
  private readonly cache = new Map<string, Cached>();
  /** Made by us, and nothing was committed in them yet. */
  private readonly unused = new Set<string>();
  /** Names of directories that get their mode later, whoever makes them: until then they are `unfinishedMode`. */
  readonly unfinished = new Set<string>();
  private closed = false;

  constructor(
    readonly root: Directory,
    private readonly foldsNames: boolean,
    /** A directory on the same disk that is private to us; those who only read need none. */
    private readonly own?: Directory,
  ) {}

  /**
   * The directory in which `name` stands or would stand, if there is one. Rejects with `exists` when something else is
   * in the way.
   */
  find(name: EntryName): Promise<DirectoryInUse | undefined> {
    return this.reach(path.posix.dirname(name), false);
  }

  /**
   * Runs `action` in the directory in which `name` belongs; directories that are missing are made, and durable before.
   * What finds that directory removed (ENOENT), for instance by the `prune` of another file, is done again in a new
   * one.
   */
  async within<T>(name: EntryName, action: (directory: Directory) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const reached = await this.make(name);
        return await action(reached.directory).finally(() => reached.release());
      } catch (cause) {
        if (errnoOf(cause) !== 'ENOENT') throw cause;
        if (attempt === mostAttempts)
          throw (await this.isPresent(name))
            ? notAName(name, cause)
            : new TransferError('directory', 'The receive directory was removed.', {
                cause,
                hint: 'Start the receiver again, which makes it anew.',
              });
        for (const at of above(name)) this.forget(at);
      }
    }
  }

  /** Whether the directory of `name` can be reached. */
  private async isPresent(name: EntryName): Promise<boolean> {
    const reached = await this.find(name);
    reached?.release();
    return reached !== undefined;
  }

  /** Says that `name` was committed, so that the directories above it stay. */
  keep(name: EntryName): void {
    if (this.unused.size === 0) return;
    for (const at of above(name)) this.unused.delete(at);
  }

  /** Removes those directories above `name` that were made in vain. */
  async prune(name: EntryName): Promise<void> {
    if (this.unused.size === 0) return;
    for (const at of above(name)) {
      if (!this.unused.has(at)) continue;
      this.forget(at);
      // What is no longer empty is not ours to remove any more.
      if (!(await this.removeEmpty(at))) return;
      this.unused.delete(at);
    }
  }

  /**
   * Closes the directories that are kept open, except the root. A walk under way reaches its directory, which is not
   * kept open afterwards.
   */
  close(): void {
    this.closed = true;
    for (const at of [...this.cache.keys()]) this.forget(at);
  }

  private async make(name: EntryName): Promise<DirectoryInUse> {
    const reached = await this.reach(path.posix.dirname(name), true);
    if (!reached) throw noSuchDirectory(name);
    return reached;
  }

  private async removeEmpty(at: string): Promise<boolean> {
    try {
      const parent = await this.reach(path.posix.dirname(at), false);
      await (parent && rmdir(systemPath(parent.directory.at(path.posix.basename(at)))).finally(() => parent.release()));
      return true;
    } catch (error) {
      return errnoOf(error) === 'ENOENT';
    }
  }

  private async reach(at: string, create: boolean): Promise<DirectoryInUse | undefined> {
    if (at === '.') return { directory: this.root, release: () => undefined };
    const cached = this.cached(at) ?? this.remember(at, create);
    cached.users++;
    const release = (): void => {
      cached.users--;
      this.closeIfDone(cached);
    };
    try {
      const { directory, durable } = await cached.walk;
      await durable;
      return { directory, release };
    } catch (error) {
      if (this.cache.get(at) === cached) this.cache.delete(at);
      cached.stale = true;
      release();
      if (errnoOf(error) !== 'ENOENT') throw error;
      return create && !cached.creates ? this.reach(at, true) : undefined;
    }
  }

  private cached(at: string): Cached | undefined {
    const cached = this.cache.get(at);
    if (!cached || Date.now() - cached.openedAt <= trustFor) return cached;
    this.forget(at);
    return undefined;
  }

  private remember(at: string, creates: boolean): Cached {
    const cached = { walk: this.walk(at, creates), creates, openedAt: Date.now(), users: 0, stale: this.closed };
    if (!this.closed) this.cache.set(at, cached);
    return cached;
  }

  private async walk(at: string, create: boolean): Promise<Walked> {
    // A deep name must not become a deep stack: a name may have two thousand components.
    await Promise.resolve();
    const parent = await this.reach(path.posix.dirname(at), create);
    if (!parent) throw noSuchDirectory(at);
    const name = path.posix.basename(at);
    let durable = Promise.resolve();
    try {
      if (create) {
        await this.refuseCollision(parent.directory, name);
        if (await makeDirectory(parent.directory.at(name), this.unfinished.has(at))) {
          this.unused.add(at);
          durable = this.sync(parent.directory);
        }
      }
      return { directory: await Directory.open(parent.directory.at(name)), durable };
    } catch (cause) {
      const code = errnoOf(cause);
      if (code !== 'ENOTDIR' && code !== 'ELOOP') throw cause;
      throw notADirectory(at, cause);
    } finally {
      // The sync addresses the parent by its descriptor, so that one stays open until then.
      void durable.catch(ignored('whoever waits for durable is told')).then(() => parent.release());
    }
  }

  /** Makes the entries of a directory durable, together with whoever asks for the same. */
  sync(directory: Directory): Promise<void> {
    return syncTogether(directory, this.own);
  }

  /** Throws `name` where the disk folds names and something that differs only by case or Unicode form stands there. */
  async refuseCollision(directory: Directory, name: string): Promise<void> {
    if (!this.foldsNames) return;
    const other = await directory.collision(name);
    if (other !== undefined)
      throw new TransferError('name', `${printable(name)} collides with ${printable(other)} on the receiver's disk.`);
  }

  private forget(at: string): void {
    const cached = this.cache.get(at);
    if (!cached) return;
    this.cache.delete(at);
    cached.stale = true;
    this.closeIfDone(cached);
  }

  private closeIfDone(cached: Cached): void {
    if (cached.users > 0) return;
    if (!cached.stale && this.cache.size > mostIdle) {
      for (const [at, other] of this.cache) if (other === cached) this.cache.delete(at);
      cached.stale = true;
    }
    if (cached.stale)
      cached.walk.then(({ directory }) => directory.close()).catch(ignored('a walk that failed has nothing open'));
  }
}

/** The directories above `name`, the nearest first, without the root. */
function above(name: string): string[] {
  const directories: string[] = [];
  for (let at = path.posix.dirname(name); at !== '.'; at = path.posix.dirname(at)) directories.push(at);
  return directories;
}

function noSuchDirectory(at: string): Error {
  return Object.assign(new Error(`no such directory: ${at}`), { code: 'ENOENT' });
}

async function makeDirectory(pathname: string, unfinished: boolean): Promise<boolean> {
  try {
    await mkdir(systemPath(pathname), unfinished ? privateMode : undefined);
    if (unfinished) await chmod(systemPath(pathname), unfinishedMode).catch(ignored('its batch marks it too'));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}
