import { isUntouched, mostLooks } from '../scan/edges';
import type { FileCalls } from '../threads/file-calls';
import { fillBy } from '../threads/fill';
import { type Located, readFlags, type Walker } from '../threads/walker';
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

/** For the byte of a file that should have none. */
const one = new Uint8Array(1);
const nothing = new Uint8Array();

/**
 * Reads a file into `memory` if it has at most `smallFile` bytes, between two looks at it, without giving way to
 * anything else meanwhile. One that has grown between them is looked at again, up to `mostLooks` times. `allocate`
 * tells from where on, once the size of a look is known; undefined where there is no room, which is then what comes
 * back. Throws the operating system's errors.
 */
export function readSmallSource(
  source: Located,
  { walker, calls }: SmallReading,
  memory: Uint8Array,
  allocate: (size: number) => number | undefined,
): SmallContent | SmallFlaw | undefined {
  const fd = walker.open(source, readFlags);
  try {
    let last = nothing;
    for (let look = 0; look < mostLooks; look++) {
      const before = calls.stat(fd);
      if (!before.isFile) return 'not a file';
      const { size } = before;
      if (size > smallFile) return 'large';
      const begin = allocate(size);
      if (begin === undefined) return undefined;
      const isWhole = fillBy(calls, fd, memory, begin, size);
      const tellsSize = size > 0 || calls.read(fd, one, 0, 1, 0) === 0;
      const after = calls.stat(fd);
      if (!isWhole) return 'changed';
      if (isUntouched(before, after)) return tellsSize ? { begin, size, grew: false } : 'sizeless';
      const again = new Uint8Array(size);
      const content = memory.subarray(begin, begin + size);
      const hasGrown = after.size > size && fillBy(calls, fd, again, 0, size) && Buffer.compare(again, content) === 0;
      if (!hasGrown) return 'changed';
      // Which may be the beginning of a longer one that was written in its place before it was read. Only what begins
      // with what was there before this look has merely been appended to.
      if (last.length > 0 && beginsWith(content, last)) return { begin, size, grew: true };
      last = again;
    }
    return 'changed';
  } finally {
    calls.close(fd);
  }
}

function beginsWith(content: Uint8Array, beginning: Uint8Array): boolean {
  return content.length >= beginning.length && Buffer.compare(content.subarray(0, beginning.length), beginning) === 0;
}
