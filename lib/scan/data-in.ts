// How much of a sparse file is there.
import { closeSync, openSync } from 'node:fs';
import { systemCalls } from '../threads/system-calls';
import { readFlags } from '../threads/walker';
import { trace } from '../trace';

/** Pieces of data after which the rest counts as data: this only estimates room. */
const mostPieces = 10_000;

/**
 * How many of the `size` bytes of the file at `path` are in no hole; undefined where the system does not tell. Reads
 * none of them.
 */
export function dataIn(path: string | Buffer, size: number): number | undefined {
  const calls = systemCalls();
  if (!calls) return undefined;
  try {
    const fd = openSync(path, readFlags);
    try {
      let data = 0;
      let at = 0;
      for (let pieces = 0; at < size && pieces < mostPieces; pieces++) {
        const begin = calls.nextData(fd, at) ?? size;
        const end = begin < size ? (calls.nextHole(fd, begin) ?? size) : size;
        data += Math.max(0, end - begin);
        at = end;
      }
      return Math.min(size, data + (size - at));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    trace('the holes of %s are not known: %o', path, error);
    return undefined; // whoever sends it is told why it cannot be read
  }
}
