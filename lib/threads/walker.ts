import { closeSync, constants, lstatSync, openSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf } from '../errors';
import { systemPath } from '../name-bytes';
import type { EntryStats } from './entry-stats';
import type { FileCalls, LinuxFileCalls } from './file-calls';

/**
 * How everything is reached that lies below a directory which its owner named: one component at a time, each by a
 * descriptor of the directory that it is in, and none of them through a symbolic link. Whoever puts a link there,
 * before or while it is read, gets an error out of it and nothing else. Systems without /proc get paths, of which each
 * component is looked at first.
 */

const { O_DIRECTORY = 0, O_NOFOLLOW = 0 } = constants;
/**
 * open(2): a descriptor from which one can go on, for which a directory need not be readable. Node does not name it.
 */
const O_PATH = 0o10000000; // the same on x64 and arm64
/** Of open(2) for what is to be a file: a named pipe without a writer is not waited for. */
export const readFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
const byDescriptor = process.platform === 'linux';
/** Deep trees are walked again rather than held open. */
const mostOpen = 64;
/** Calls by which the foreign functions cost as much as they have saved: it takes 2 ms to load them in a thread. */
const fewCalls = 512;

/** Where something is: below a path that its owner named and that is followed, under names that never are. */
export interface Located {
  readonly path: string;
  /** Components with `/` between them, text as `nameOfBytes` makes it; absent or '' where it is `path` itself. */
  readonly below?: string | undefined;
}

/** The path of what is located, for people. */
export function shownPath({ path, below = '' }: Located): string {
  return below === '' ? path : `${path.replace(/\/$/, '')}/${below}`;
}

/** Whether an error says that something on the way is no directory, or that a symbolic link is in it. */
export function isBarred(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOTDIR' || code === 'ELOOP';
}

/**
 * Walks by synchronous calls, and keeps directories open until `close`, since what is asked for one after another
 * mostly lies in the same ones. Everything throws the errors of the operating system: ENOTDIR or ELOOP where something
 * is in the way.
 */
export class Walker {
  /** Descriptors of directories, by `path`, NUL and what is below it. */
  private readonly opened = new Map<string, number>();
  private last: { readonly path: string; readonly directory: string; readonly fd: number } | undefined;
  private callsMade = 0;
  private linux: LinuxFileCalls | undefined;

  /** `calls`: by what to look at many, and to open them; asked for once it is worth it. Absent: by what Node has. */
  constructor(private readonly calls?: () => FileCalls) {}

  /** The path by which the operating system reaches it, good until the next call. */
  at({ path, below = '' }: Located): string | Buffer {
    if (below === '') return systemPath(path);
    const { directory, base } = partsOf(below);
    return systemPath(
      `${byDescriptor ? viaDescriptor(this.reach(path, directory)) : checked(path, directory)}/${base}`,
    );
  }

  /** Opens a file that exists; what is below `path` is not followed if it is a symbolic link. */
  open(located: Located, flags: number): number {
    const { path, below = '' } = located;
    if (below === '') return openSync(systemPath(path), flags);
    const linux = this.foreign();
    if (!linux) return openSync(this.at(located), flags | O_NOFOLLOW);
    const { directory, base } = partsOf(below);
    return linux.openIn(this.reach(path, directory), base, flags | O_NOFOLLOW);
  }

  /** What is there, a symbolic link itself; undefined where nothing is. */
  look(located: Located): EntryStats | undefined {
    const { path, below = '' } = located;
    const linux = below === '' ? undefined : this.foreign();
    if (linux) {
      const { directory, base } = partsOf(below);
      return linux.look(this.reach(path, directory), base);
    }
    try {
      return lstatSync(this.at(located), { bigint: true, throwIfNoEntry: false });
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Gives up the directories that are kept open. */
  close(): void {
    this.last = undefined;
    for (const fd of this.opened.values()) closeSync(fd);
    this.opened.clear();
  }

  /** Undefined before many calls were made, and where there are none. */
  private foreign(): LinuxFileCalls | undefined {
    if (++this.callsMade === fewCalls) this.linux = this.calls?.().linux;
    return this.linux;
  }

  /** A descriptor of a directory, good until the next call. */
  private reach(path: string, directory: string): number {
    if (this.last?.path === path && this.last.directory === directory) return this.last.fd;
    const fd = this.descriptor(path, directory);
    this.last = { path, directory, fd };
    return fd;
  }

  private descriptor(path: string, directory: string): number {
    const key = `${path}\0${directory}`;
    const known = this.opened.get(key);
    if (known !== undefined) return known;
    const end = directory.lastIndexOf('/');
    const fd =
      directory === ''
        ? openSync(systemPath(path), O_PATH | O_DIRECTORY)
        : openSync(
            systemPath(
              `${viaDescriptor(this.descriptor(path, end === -1 ? '' : directory.slice(0, end)))}/${directory.slice(end + 1)}`,
            ),
            O_PATH | O_DIRECTORY | O_NOFOLLOW,
          );
    if (this.opened.size >= mostOpen) this.closeOldest();
    this.opened.set(key, fd);
    return fd;
  }

  private closeOldest(): void {
    this.last = undefined; // its descriptor may be among them
    for (const [key, fd] of [...this.opened].slice(0, mostOpen / 2)) {
      this.opened.delete(key);
      closeSync(fd);
    }
  }
}

/**
 * Opens a single file in the same way, with nothing kept open but that. Rejects with the errors of the operating
 * system.
 */
export async function openLocated(located: Located, flags = readFlags): Promise<FileHandle> {
  const { path, below = '' } = located;
  if (below === '') return open(systemPath(path), flags);
  const components = below.split('/');
  const base = components.pop() ?? '';
  if (!byDescriptor) return open(systemPath(`${checked(path, components.join('/'))}/${base}`), flags | O_NOFOLLOW);
  let directory = await open(systemPath(path), O_PATH | O_DIRECTORY);
  try {
    for (const component of components) {
      const next = await open(
        systemPath(`${viaDescriptor(directory.fd)}/${component}`),
        O_PATH | O_DIRECTORY | O_NOFOLLOW,
      );
      await directory.close();
      directory = next;
    }
    return await open(systemPath(`${viaDescriptor(directory.fd)}/${base}`), flags | O_NOFOLLOW);
  } finally {
    await directory.close();
  }
}

/** Runs `work` with a walker that is closed after it. */
export function walking<Result>(work: (walker: Walker) => Result): Result {
  const walker = new Walker();
  try {
    return work(walker);
  } finally {
    walker.close();
  }
}

function partsOf(below: string): { readonly directory: string; readonly base: string } {
  const end = below.lastIndexOf('/');
  return { directory: end === -1 ? '' : below.slice(0, end), base: below.slice(end + 1) };
}

function viaDescriptor(fd: number): string {
  return `/proc/self/fd/${String(fd)}`;
}

/** The path of a directory, where each component below `path` is a directory at this moment. */
function checked(path: string, directory: string): string {
  let at = path;
  for (const component of directory === '' ? [] : directory.split('/')) {
    at = `${at}/${component}`;
    if (!lstatSync(systemPath(at)).isDirectory())
      throw Object.assign(new Error(`ENOTDIR: not a directory, open '${at}'`), { code: 'ENOTDIR', syscall: 'open' });
  }
  return at;
}
