// Extended attributes, which Node does not reach: xattr(7). POSIX ACLs and capabilities are among them.
import { foreignFunctions, type ForeignFunctions, nameForC, systemError } from './system-calls';
import { nameOfBytes } from '../name-bytes';

/** Throws an Error with `code`, `errno` and `syscall` like those of `node:fs`. */
export interface XattrCalls {
  /** The names of those of what is at `path`, a symbolic link itself. llistxattr(2) */
  names(path: string | Buffer): string[];
  /** The value of one of them; undefined where it is gone. lgetxattr(2) */
  value(path: string | Buffer, name: string): Buffer | undefined;
  /** fsetxattr(2) */
  set(fd: number, name: string, value: Uint8Array): void;
  /** The same for a symbolic link itself. lsetxattr(2) */
  setOfLink(path: string, name: string, value: Uint8Array): void;
}

/** What one attribute, and the list of all names, may have at most, in bytes: Linux's XATTR_SIZE_MAX. */
const longest = 64 * 1024;
const nul = 0;

let made: { readonly calls: XattrCalls | undefined } | undefined;

/** Undefined where the machine gives none: on other systems, and without the optional dependency. */
export function xattrCalls(): XattrCalls | undefined {
  made ??= { calls: foreignFunctions(bind) };
  return made.calls;
}

function bind(foreign: ForeignFunctions): XattrCalls {
  const library = foreign.load(null);
  const llistxattr = library.func('int64_t llistxattr(const char *path, void *list, int64_t size)');
  const lgetxattr = library.func('int64_t lgetxattr(const char *path, const char *name, void *value, int64_t size)');
  const fsetxattr = library.func('int fsetxattr(int fd, const char *name, void *value, int64_t size, int flags)');
  const lsetxattr = library.func(
    'int lsetxattr(const char *path, const char *name, void *value, int64_t size, int flags)',
  );
  const memory = Buffer.alloc(longest);
  const check = (result: number | bigint, syscall: string): number => {
    const number = Number(result);
    if (number < 0) throw systemError(foreign.errno(), syscall);
    return number;
  };
  return {
    names(path) {
      const length = Number(llistxattr(nameForC(path), memory, longest));
      if (length === 0) return [];
      check(length, 'llistxattr');
      return memory
        .subarray(0, length - 1)
        .toString('latin1')
        .split('\0')
        .map((name) => nameOfBytes(Buffer.from(name, 'latin1')));
    },
    value(path, name) {
      const length = Number(lgetxattr(nameForC(path), nameForC(name), memory, longest));
      if (length >= 0) return Buffer.from(memory.subarray(0, length));
      const error = systemError(foreign.errno(), 'lgetxattr');
      if (error.code === 'ENODATA') return undefined;
      throw error;
    },
    set: (fd, name, value) =>
      void check(fsetxattr(fd, nameForC(name), nonEmpty(value), value.length, nul), 'fsetxattr'),
    setOfLink: (path, name, value) =>
      void check(lsetxattr(nameForC(path), nameForC(name), nonEmpty(value), value.length, nul), 'lsetxattr'),
  };
}

/** Memory of no length may have no address. */
function nonEmpty(value: Uint8Array): Uint8Array {
  return value.length > 0 ? value : new Uint8Array(1);
}
