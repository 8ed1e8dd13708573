import { constants } from 'node:fs';
import type { FileCalls, FileStat } from '../threads/file-calls';
import type { Located, Walker } from '../threads/walker';
import { smallFile } from '../wire/segment';

/** Why a small file's content is not there. */
export type SmallFlaw = 'large' | 'changed' | 'not a file' | 'sizeless';

/** With what a thread reads small files. */
export interface SmallReading {
  readonly walker: Walker;
  readonly calls: FileCalls;
}

/** A small file whose content is in memory from `begin` on; `grew`: the file is longer by now. */
export interface SmallContent {
  readonly begin: number;
  readonly size: number;
  readonly grew: boolean;
}

// A named pipe without a writer is not waited for.
const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
/** For the byte of a file that should have none. */
const one = new Uint8Array(1);

/**
 * Reads a file into `memory` if it has at most `smallFile` bytes, between two looks at it, without giving way to
 * anything else meanwhile. `allocate` tells from where on, once the size is known; undefined where there is no room,
 * which is then what comes back. Throws the operating system's errors.
 */
export function readSmallSource(
  source: Located,
  { walker, calls }: SmallReading,
  memory: Uint8Array,
  allocate: (size: number) => number | undefined,
): SmallContent | SmallFlaw | undefined {
  const fd = walker.open(source, flags);
  try {
    const before = calls.stat(fd);
    if (!before.isFile) return 'not a file';
    const { size } = before;
    if (size > smallFile) return 'large';
    const begin = allocate(size);
    if (begin === undefined) return undefined;
    const isWhole = readInto(calls, fd, memory, begin, size);
    const tellsSize = size > 0 || calls.read(fd, one, 0, 1, 0) === 0;
    const after = calls.stat(fd);
    if (!isWhole) return 'changed';
    if (isSame(before, after)) return tellsSize ? { begin, size, grew: false } : 'sizeless';
    // Of what has grown only a second look tells whether more than that was done to it.
    const again = new Uint8Array(size);
    const same =
      after.size > size &&
      readInto(calls, fd, again, 0, size) &&
      Buffer.compare(again, memory.subarray(begin, begin + size)) === 0;
    return same ? { begin, size, grew: true } : 'changed';
  } finally {
    calls.close(fd);
  }
}

function isSame(before: FileStat, after: FileStat): boolean {
  return after.size === before.size && after.mtimeNs === before.mtimeNs && after.ctimeNs === before.ctimeNs;
}

/** Reads the first `size` bytes of a file to `at`; false where it has fewer. */
function readInto(calls: FileCalls, fd: number, into: Uint8Array, at: number, size: number): boolean {
  for (let done = 0; done < size;) {
    const count = calls.read(fd, into, at + done, size - done, done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}
