import { closeSync, constants, mkdirSync, openSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { collationKey, printable } from '../../name';
import { nameOfBytes, systemPath } from '../../name-bytes';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const byDescriptor = process.platform === 'linux';
/** Deep trees are walked again rather than held open. */
const mostOpen = 64;

/**
 * The directories below a root by synchronous calls, for one turn of a worker: reached one component at a time without
 * following symbolic links, and kept open until `close`. Directories are named relative to the root, `.` is the root
 * itself.
 */
export class OpenDirectories {
  private readonly open = new Map<string, number>();
  private readonly listed = new Map<string, Map<string, string>>();
  /** Directories whose entries were changed through `create`. */
  readonly touched = new Set<string>();

  /** `root` is the path of a directory that is trusted. */
  constructor(
    private readonly root: string,
    private readonly foldsNames: boolean,
  ) {}

  /**
   * The path by which to reach `base` in `directory`, good until the next call: text, of which `systemPath` makes what
   * the system takes. What is missing on the way is made with `create`, else that throws ENOENT. Throws ENOTDIR or
   * ELOOP where something else than a directory is in the way, and `name` where `create` finds a directory that differs
   * only by case or Unicode form, on a disk that folds names.
   */
  at(directory: string, base: string, create: boolean): string {
    return `${this.reach(directory, create)}/${base}`;
  }

  /** A descriptor of `directory`, good until the next call. Throws like `at`. */
  descriptor(directory: string): number {
    this.reach(directory, false);
    return this.open.get(directory) ?? this.enter(directory, this.root, false);
  }

  /** Walks to `directory` and those below it anew the next time. */
  forget(directory: string): void {
    for (let at = directory; at !== '.'; at = path.posix.dirname(at)) this.closeOne(at);
  }

  /** Throws `name` where the disk folds names and something that differs only by case or Unicode form stands there. */
  refuseCollision(directory: string, base: string): void {
    if (!this.foldsNames) return;
    const names = this.listed.get(directory) ?? this.list(directory);
    const other = names.get(collationKey(base));
    if (other !== undefined && other !== base)
      throw new TransferError('name', `${printable(base)} collides with ${printable(other)} on the receiver's disk.`);
  }

  /** Says that `base` stands in `directory` now. */
  appeared(directory: string, base: string): void {
    this.touched.add(directory);
    this.listed.get(directory)?.set(collationKey(base), base);
  }

  close(): void {
    for (const directory of [...this.open.keys()]) this.closeOne(directory);
  }

  private reach(directory: string, create: boolean): string {
    if (directory === '.') return this.root;
    const known = this.open.get(directory);
    if (known !== undefined && byDescriptor) return pathOf(known);
    const parent = this.reach(path.posix.dirname(directory), create);
    const fd = known ?? this.enter(directory, parent, create);
    return byDescriptor ? pathOf(fd) : `${parent}/${path.posix.basename(directory)}`;
  }

  private enter(directory: string, parent: string, create: boolean): number {
    const base = path.posix.basename(directory);
    const pathname = directory === '.' ? parent : `${parent}/${base}`;
    if (create) this.refuseCollision(path.posix.dirname(directory), base);
    let fd: number;
    try {
      fd = openSync(systemPath(pathname), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    } catch (error) {
      if (!create || errnoOf(error) !== 'ENOENT') throw error;
      mkdirSync(systemPath(pathname));
      this.appeared(path.posix.dirname(directory), base);
      fd = openSync(systemPath(pathname), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    }
    if (this.open.size >= mostOpen)
      for (const oldest of [...this.open.keys()].slice(0, mostOpen / 2)) this.closeOne(oldest);
    this.open.set(directory, fd);
    return fd;
  }

  private list(directory: string): Map<string, string> {
    const names = new Map(
      readdirSync(`${this.reach(directory, false)}/.`, { encoding: 'buffer' })
        .map(nameOfBytes)
        .map((name) => [collationKey(name), name]),
    );
    this.listed.set(directory, names);
    return names;
  }

  private closeOne(directory: string): void {
    const fd = this.open.get(directory);
    if (fd === undefined) return;
    this.open.delete(directory);
    this.listed.delete(directory);
    closeSync(fd);
  }
}

function pathOf(fd: number): string {
  return `/proc/self/fd/${String(fd)}`;
}
