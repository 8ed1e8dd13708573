import { fstatSync, futimesSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { withAddon } from './addon';
import { foreignAddon } from './program-parts';
import { systemPath } from '../name-bytes';

/**
 * What Linux can do with files and Node cannot. Everything is synchronous, costs a microsecond or two besides the work
 * of the kernel, and throws an Error with `code`, `errno` and `syscall` like those of `node:fs`.
 */
export interface SystemCalls {
  /**
   * Sets the modification time, in ns since 1970, and makes the access time the present one: a disk in user space
   * (FUSE 2) takes none of them alone, and says nothing. futimens(2)
   */
  setTime(fd: number, mtime: bigint): void;
  /** The same for a symbolic link itself, or whatever else is at `path`. utimensat(2) with AT_SYMLINK_NOFOLLOW */
  setLinkTime(path: string, mtime: bigint): void;
  /**
   * Flushes the file system on which `fd` lies. Throws what writing back failed with since `fd` was opened. syncfs(2)
   */
  syncFileSystem(fd: number): void;
  /**
   * Renames unless `to` exists, which throws EEXIST; EINVAL where the file system cannot. renameat2(2) with
   * RENAME_NOREPLACE
   */
  renameNoReplace(from: string, to: string): void;
  /** Each of two gets the name of the other, at once; EINVAL where the file system cannot. RENAME_EXCHANGE */
  exchange(one: string, other: string): void;
  /**
   * Where the next byte that is not in a hole lies, from `offset` on; undefined if there is none. Moves the
   * descriptor's own offset. lseek(2)
   */
  nextData(fd: number, offset: number): number | undefined;
  /**
   * Where the next hole begins, from `offset` on, the end of the file counting as one; undefined from that end on.
   * Moves the descriptor's own offset. lseek(2)
   */
  nextHole(fd: number, offset: number): number | undefined;
  /**
   * Says that the file will be read once, from its start to its end. Never throws. posix_fadvise(2) with
   * POSIX_FADV_SEQUENTIAL
   */
  willReadOnce(fd: number): void;
  /**
   * Locks what is open, for others to see or `alone`, until it is closed, as the end of the process does; false where
   * another has a lock against that. flock(2) with LOCK_NB
   */
  lock(fd: number, alone: boolean): boolean;
}

/** The part of koffi, a foreign function interface, that is used here. */
export interface ForeignFunctions {
  /** `null` stands for what this process has loaded already, the C library among it. */
  load(library: null): { func(prototype: string): ForeignFunction };
  /** That of the last call in this thread. */
  errno(): number;
  address(pointer: unknown): bigint;
  /** The memory at a pointer, which has to stay mapped. */
  view(pointer: unknown, length: number): ArrayBuffer;
}

/** Memory is given as it is, and may be shared with other threads. */
export type ForeignFunction = (
  ...values: readonly (number | string | bigint | BigInt64Array | Int32Array | Uint8Array | Uint32Array | null)[]
) => number | bigint;

// The same on x64 and arm64; a timespec is two int64 on both, with glibc and with musl.
const atCurrentDirectory = -100;
const symlinkNoFollow = 0x100;
/** UTIME_NOW */
const presentTime = 0x3fffffffn;
const [renameExclusively, renameExchange] = [1, 2];
const seekData = 3;
const seekHole = 4;
const adviseSequential = 2;
const [lockShared, lockAlone, lockAtOnce] = [1, 2, 4];

const noSuchOffset = 'ENXIO';
/** M_ARENA_MAX of glibc. */
const mostArenas = -8;

/** The calls by way of `foreign`; undefined without it, and where the C library lacks one of them. */
export function bindSystemCalls(foreign: ForeignFunctions | undefined): SystemCalls | undefined {
  if (foreign === undefined) return undefined;
  try {
    return bind(foreign);
  } catch {
    return undefined; // musl had no renameat2 for long
  }
}

function bind(foreign: ForeignFunctions): SystemCalls {
  const library = foreign.load(null);
  const futimens = library.func('int futimens(int fd, _In_ int64_t *times)');
  const utimensat = library.func('int utimensat(int directory, const char *path, _In_ int64_t *times, int flags)');
  const syncfs = library.func('int syncfs(int fd)');
  const renameat2 = library.func(
    'int renameat2(int fromDirectory, const char *from, int toDirectory, const char *to, uint flags)',
  );
  const lseek = library.func('int64_t lseek(int fd, int64_t offset, int whence)');
  const fadvise = library.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
  const flock = library.func('int flock(int fd, int operation)');

  /** Access time and modification time, a timespec each. */
  const times = new BigInt64Array([0n, presentTime, 0n, 0n]);
  const timesOf = (mtime: bigint): BigInt64Array => {
    const seconds = floorSeconds(mtime);
    times[2] = seconds;
    times[3] = mtime - seconds * second;
    return times;
  };
  const check = (result: number | bigint, syscall: string): void => {
    if (Number(result) < 0) throw systemError(foreign.errno(), syscall);
  };
  const seek = (fd: number, offset: number, whence: number): number | undefined => {
    const found = Number(lseek(fd, offset, whence));
    if (found >= 0) return found;
    const error = systemError(foreign.errno(), 'lseek');
    if (error.code === noSuchOffset) return undefined;
    throw error;
  };
  return {
    setTime: (fd, mtime) => check(futimens(fd, timesOf(mtime)), 'futimens'),
    setLinkTime: (path, mtime) =>
      check(utimensat(atCurrentDirectory, nameForC(path), timesOf(mtime), symlinkNoFollow), 'utimensat'),
    syncFileSystem: (fd) => check(syncfs(fd), 'syncfs'),
    renameNoReplace: (from, to) =>
      check(
        renameat2(atCurrentDirectory, nameForC(from), atCurrentDirectory, nameForC(to), renameExclusively),
        'renameat2',
      ),
    exchange: (one, other) =>
      check(
        renameat2(atCurrentDirectory, nameForC(one), atCurrentDirectory, nameForC(other), renameExchange),
        'renameat2',
      ),
    nextData: (fd, offset) => seek(fd, offset, seekData),
    nextHole: (fd, offset) => seek(fd, offset, seekHole),
    willReadOnce: (fd) => void fadvise(fd, 0, 0, adviseSequential),
    lock: (fd, alone) => {
      if (Number(flock(fd, (alone ? lockAlone : lockShared) | lockAtOnce)) >= 0) return true;
      const error = systemError(foreign.errno(), 'flock');
      if (error.code === 'EAGAIN') return false;
      throw error;
    },
  };
}

const second = 1_000_000_000n;

/** BigInts divide towards zero, times before 1970 count towards the past. */
function floorSeconds(time: bigint): bigint {
  const seconds = time / second;
  return time < seconds * second ? seconds - 1n : seconds;
}

const nul = Buffer.of(0);

/** Text for a parameter of type `const char *`: with the bytes that `systemPath` would make of it. */
export function nameForC(text: string | Buffer): string | Buffer {
  const name = typeof text === 'string' ? systemPath(wholePath(text)) : text;
  return typeof name === 'string' ? name : Buffer.concat([name, nul]);
}

/** C ends a text at NUL: what follows would be cut off, and another file meant. */
function wholePath(path: string): string {
  if (!path.includes('\0')) return path;
  throw Object.assign(new Error('EINVAL: the path contains NUL'), { code: 'EINVAL' });
}

/** The error of a system call, by its errno. */
export function systemError(number: number, syscall: string): NodeJS.ErrnoException & { readonly code: string } {
  const [code, text] = getSystemErrorMap().get(-number) ?? [`Unknown system error ${-number}`, 'unknown error'];
  return Object.assign(new Error(`${code}: ${text}, ${syscall}`), { code, errno: -number, syscall });
}

let bound: { readonly calls: SystemCalls | undefined } | undefined;

/**
 * Undefined where the machine gives none: on other systems, without the optional dependency, with a C library that
 * lacks some. Tried once.
 */
export function systemCalls(): SystemCalls | undefined {
  bound ??= { calls: withAddon(() => bindSystemCalls(loadForeign())) };
  return bound.calls;
}

/**
 * Has all threads that are started later allocate from what is free already, instead of each keeping some MiB for
 * itself. For the whole process, so it is for programs to decide, not for us. Does nothing where the C library knows no
 * such thing.
 */
export function shareFreeMemory(): void {
  try {
    loadForeign()?.load(null).func('int mallopt(int parameter, int value)')(mostArenas, 1);
  } catch {
    // musl has no arenas
  }
}

/**
 * What `bind` makes of the foreign functions; undefined where the machine has none, and where the C library lacks what
 * is asked of it.
 */
export function foreignFunctions<Bound>(bind: (foreign: ForeignFunctions) => Bound): Bound | undefined {
  return withAddon(() => {
    const foreign = loadForeign();
    try {
      return foreign && bind(foreign);
    } catch {
      return undefined; // another C library
    }
  });
}

function loadForeign(): ForeignFunctions | undefined {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) return undefined;
  try {
    return foreignAddon() as ForeignFunctions;
  } catch {
    return undefined; // an optional dependency: it may be missing
  }
}

/**
 * Sets a file's modification time, in ns since 1970, as exactly as this machine can. Throws the errors of the operating
 * system.
 */
export function setFileTime(fd: number, mtime: bigint): void {
  const calls = systemCalls();
  if (calls) calls.setTime(fd, mtime);
  else setFileTimeNearly(fd, mtime);
}

/**
 * As near as a double of seconds gets, which is within a microsecond; within a millisecond before 1970. The access time
 * stays as nearly.
 */
export function setFileTimeNearly(fd: number, mtime: bigint): void {
  const seconds = floorSeconds(mtime);
  const near = Number(seconds) + Number(mtime - seconds * second) / 1e9;
  // Node takes a negative number for the present time, a Date for what it is.
  futimesSync(fd, fstatSync(fd).atime, seconds < 0n ? new Date(near * 1000) : near);
}
