// The calls of the operating system that a batch of small files makes for each of its files, for one thread.
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { alignment, AlignedMemory } from './aligned-memory';
import { type ForeignFunctions, foreignFunctions, nameForC, setFileTime, systemError } from './system-calls';
import { carriedTime } from './carried-time';
import { type EntryStats, StatxStats, statxFields } from './entry-stats';

/** A directory that is open. */
export interface OpenDirectory {
  readonly fd: number;
  /** A path by which to reach it, as bytes without NUL. */
  readonly path: Uint8Array;
}

/**
 * Names as bytes, each ended by NUL, in memory that does not move: one that has come from another thread, or is shared.
 */
export interface NameBytes {
  readonly bytes: Uint8Array;
}

/** The state of a file. Times are ns since 1970, as near as 64 bits get. */
export interface FileStat {
  readonly ino: bigint;
  /** Permission bits, setuid and the like included. */
  readonly mode: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/**
 * Everything is synchronous and throws an Error with `code`, `errno` and `syscall` like those of `node:fs`. `from` is
 * where in `names` the one component begins that is meant.
 */
export interface FileCalls {
  /** openat(2); close-on-exec. Returns the descriptor. */
  open(directory: OpenDirectory, names: NameBytes, from: number, flags: number, mode: number): number;
  /** unlinkat(2) */
  unlink(directory: OpenDirectory, names: NameBytes, from: number): void;
  /**
   * renameat2(2) with RENAME_NOREPLACE: false if something is at the new name; undefined where this file system, or
   * this machine, has no such rename.
   */
  renameNoReplace(source: OpenDirectory, target: OpenDirectory, names: NameBytes, from: number): boolean | undefined;
  /** pwrite(2) */
  write(fd: number, memory: Uint8Array, from: number, length: number, offset: number): number;
  /** pread(2); 0 at the end of the file. */
  read(fd: number, memory: Uint8Array, from: number, length: number, offset: number): number;
  /** futimens(2): sets the modification time, in ns since 1970. */
  setTime(fd: number, mtime: bigint): void;
  /** fchmod(2) */
  setMode(fd: number, mode: number): void;
  /** fsync(2) */
  sync(fd: number): void;
  /** fstat(2). `kind` is the type in st_mode. */
  stat(fd: number): FileStat & { readonly isFile: boolean };
  /**
   * fcntl(2) with F_SETFL: reads of this descriptor go past the page cache from now on. False where that cannot be had.
   */
  readPastCache(fd: number): boolean;
  /** close(2) */
  close(fd: number): void;
  /** What Linux alone can do; absent elsewhere. */
  readonly linux: LinuxFileCalls | undefined;
}

export interface LinuxFileCalls {
  /**
   * What is at the one component `name` in a directory that is open, a symbolic link itself; undefined where nothing
   * is. A third of the cost of lstat(2) by way of /proc. statx(2) with AT_SYMLINK_NOFOLLOW
   */
  look(directory: number, name: string): EntryStats | undefined;
  /** Opens the one component `name` in a directory that is open; close-on-exec. openat(2) */
  openIn(directory: number, name: string, flags: number): number;
  /** posix_fadvise(2) with POSIX_FADV_DONTNEED: whatever of the file is in the page cache and clean is dropped. */
  dropFromCache(fd: number): void;
  /** posix_fadvise(2) with POSIX_FADV_WILLNEED: starts reading `length` bytes from the start of the file. */
  readAhead(fd: number, length: number): void;
  /** How many pages of the first `length` bytes are in the page cache, by cachestat(2); undefined before Linux 6.5. */
  cachedPages(fd: number, length: number): number | undefined;
  /** The address of memory that does not move. */
  addressOf(memory: Uint8Array): number;
  /** syscall(2) with up to six numbers. Returns what it returns; `errno` tells why that is negative. */
  syscall(number: number, ...values: readonly [number, number, number, number, number, number]): number;
  errno(): number;
  /** mmap(2) of a descriptor's `length` bytes from `offset` on, shared and writable. */
  map(fd: number, length: number, offset: number): ArrayBuffer;
}

const { O_CLOEXEC = 0, O_DIRECT = 0 } = {
  O_CLOEXEC: process.platform === 'linux' ? 0o2000000 : 0,
  ...(constants as { readonly O_DIRECT?: number }),
};
const setStatusFlags = 4;
const statusFlags = constants.O_RDWR | O_DIRECT;
const renameExclusively = 1;
const [adviseWillNeed, adviseDontNeed] = [3, 4];
/** Of cachestat(2), on x64 and arm64. */
const cachestatNumber = 451;
const emptyPath = 0x1000;
const symlinkNoFollow = 0x100;
const second = 1_000_000_000n;
const permissions = 0o7777n;
/** Codes with which a file system says that it has no such rename. */
const noSuchRename = new Set(['EINVAL', 'ENOSYS', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP']);

let made: FileCalls | undefined;

/** Those of this machine, the fastest that it has. */
export function fileCalls(): FileCalls {
  made ??= foreignFunctions(bind) ?? plainFileCalls;
  return made;
}

function bind(foreign: ForeignFunctions): FileCalls {
  const library = foreign.load(null);
  const memmove = library.func('int64_t memmove(void *to, void *from, size_t length)');
  const openat = library.func('int openat(int directory, int64_t name, int flags, int mode)');
  const openNamed = library.func('int openat(int directory, const char *name, int flags, int mode)');
  const unlinkat = library.func('int unlinkat(int directory, int64_t name, int flags)');
  const renameat2 = library.func(
    'int renameat2(int fromDirectory, int64_t from, int toDirectory, int64_t to, uint flags)',
  );
  const pwrite = library.func('int64_t pwrite(int fd, int64_t memory, int64_t length, int64_t offset)');
  const pread = library.func('int64_t pread(int fd, int64_t memory, int64_t length, int64_t offset)');
  const futimens = library.func('int futimens(int fd, int64_t times)');
  const fchmod = library.func('int fchmod(int fd, uint mode)');
  const fsync = library.func('int fsync(int fd)');
  const statx = library.func('int statx(int fd, int64_t path, int flags, uint mask, int64_t found)');
  const statxNamed = library.func('int statx(int directory, const char *name, int flags, uint mask, int64_t found)');
  const fcntl = library.func('int fcntl(int fd, int command, long value)');
  const close = library.func('int close(int fd)');
  const fadvise = library.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
  const system = library.func('long syscall(long number, long a, long b, long c, long d, long e, long f)');
  const mmap = library.func(
    'void *mmap(void *address, int64_t length, int protection, int flags, int fd, int64_t offset)',
  );

  /** Of the memory last asked for: mostly it is the same again. */
  let known: { readonly buffer: unknown; readonly address: number } = { buffer: undefined, address: 0 };
  const addressOf = (memory: Uint8Array): number => {
    if (known.buffer !== memory.buffer) {
      const all = new Uint8Array(memory.buffer);
      known = { buffer: memory.buffer, address: Number(memmove(all, all, 0)) };
    }
    return known.address + memory.byteOffset;
  };
  const check = (result: number | bigint, syscall: string): number => {
    const number = Number(result);
    if (number < 0) throw systemError(foreign.errno(), syscall);
    return number;
  };
  // A timespec for the access time, which becomes the present one (a disk in user space takes none alone), and one for
  // the modification time; a struct statx; the arguments of cachestat.
  const { buffer } = new AlignedMemory(alignment, 1);
  const scratch = new Uint8Array(buffer);
  const base = Number(memmove(scratch, scratch, 0));
  const times = new BigInt64Array(buffer, 0, 4);
  const presentTime = 0x3fffffffn; // UTIME_NOW
  const statAt = 256;
  const stat = new DataView(buffer, statAt, 256);
  const rangeAt = 1024;
  const range = new BigUint64Array(buffer, rangeAt, 8);
  times[1] = presentTime;

  const linux: LinuxFileCalls = {
    look(directory, name) {
      if (Number(statxNamed(directory, nameForC(name), symlinkNoFollow, statxFields, base + statAt)) === 0)
        return new StatxStats(stat);
      const error = systemError(foreign.errno(), 'statx');
      if (error.code === 'ENOENT') return undefined;
      throw error;
    },
    openIn: (directory, name, flags) => check(openNamed(directory, nameForC(name), flags | O_CLOEXEC, 0), 'openat'),
    dropFromCache: (fd) => void fadvise(fd, 0, 0, adviseDontNeed),
    readAhead: (fd, length) => void fadvise(fd, 0, length, adviseWillNeed),
    cachedPages(fd, length) {
      range[0] = 0n;
      range[1] = BigInt(length);
      const result = Number(system(cachestatNumber, fd, base + rangeAt, base + rangeAt + 16, 0, 0, 0));
      return result < 0 ? undefined : Number(range[2]);
    },
    addressOf,
    syscall: (number, ...values) => Number(system(number, ...values)),
    errno: () => foreign.errno(),
    map(fd, length, offset) {
      const [readWrite, sharedPopulated] = [3, 0x8001];
      const address = mmap(null, length, readWrite, sharedPopulated, fd, offset);
      if (foreign.address(address) === 0xffffffffffffffffn) throw systemError(foreign.errno(), 'mmap');
      return foreign.view(address, length);
    },
  };
  return {
    open: (directory, names, from, flags, mode) =>
      check(openat(directory.fd, addressOf(names.bytes) + from, flags | O_CLOEXEC, mode), 'openat'),
    unlink: (directory, names, from) =>
      void check(unlinkat(directory.fd, addressOf(names.bytes) + from, 0), 'unlinkat'),
    renameNoReplace(source, target, names, from) {
      const name = addressOf(names.bytes) + from;
      if (Number(renameat2(source.fd, name, target.fd, name, renameExclusively)) === 0) return true;
      const error = systemError(foreign.errno(), 'renameat2');
      if (error.code === 'EEXIST') return false;
      if (noSuchRename.has(error.code)) return undefined;
      throw error;
    },
    write: (fd, memory, from, length, offset) => check(pwrite(fd, addressOf(memory) + from, length, offset), 'pwrite'),
    read: (fd, memory, from, length, offset) => check(pread(fd, addressOf(memory) + from, length, offset), 'pread'),
    setTime(fd, mtime) {
      const seconds = (mtime - (((mtime % second) + second) % second)) / second;
      times[2] = seconds;
      times[3] = mtime - seconds * second;
      check(futimens(fd, base), 'futimens');
    },
    setMode: (fd, mode) => void check(fchmod(fd, mode), 'fchmod'),
    sync: (fd) => void check(fsync(fd), 'fsync'),
    stat(fd) {
      check(statx(fd, base + statAt + 256, emptyPath, statxFields, base + statAt), 'statx');
      return withKind(new StatxStats(stat));
    },
    readPastCache: (fd) => O_DIRECT !== 0 && Number(fcntl(fd, setStatusFlags, statusFlags)) === 0,
    close: (fd) => void close(fd),
    linux,
  };
}

/** The same by what every system has. Less is told of a directory: everything goes by its path. */
export const plainFileCalls: FileCalls = {
  open: (directory, names, from, flags, mode) => openSync(pathOf(directory, names, from), flags, mode),
  unlink: (directory, names, from) => unlinkSync(pathOf(directory, names, from)),
  renameNoReplace: () => undefined,
  write: (fd, memory, from, length, offset) => writeSync(fd, memory, from, length, offset),
  read: (fd, memory, from, length, offset) => readSync(fd, memory, from, length, offset),
  setTime: setFileTime,
  setMode: fchmodSync,
  sync: fsyncSync,
  stat: (fd) => withKind(fstatSync(fd, { bigint: true })),
  readPastCache: () => false,
  close: closeSync,
  linux: undefined,
};

/** The state of what `stats` tell of; times as near as 64 bits get. */
export function fileStat({ ino, mode, size, mtimeNs, ctimeNs }: EntryStats): FileStat {
  return {
    ino,
    mode: Number(mode & permissions),
    size: Number(size),
    mtimeNs: carriedTime(mtimeNs),
    ctimeNs: carriedTime(ctimeNs),
  };
}

function withKind(stats: EntryStats): FileStat & { readonly isFile: boolean } {
  return { ...fileStat(stats), isFile: stats.isFile() };
}

/** The name that begins at `from`, without its NUL. */
export function nameAt({ bytes }: NameBytes, from: number): Uint8Array {
  return bytes.subarray(from, bytes.indexOf(0, from));
}

function pathOf(directory: OpenDirectory, names: NameBytes, from: number): Buffer {
  return Buffer.concat([directory.path, Buffer.from('/'), nameAt(names, from)]);
}
