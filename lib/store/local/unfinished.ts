// How a directory that is not finished is told from others, also by the next process.
import { fchmodSync } from 'node:fs';
import { trace } from '../../trace';

/**
 * The mode of a directory that a session has made and not finished: ours alone, since it may be meant to be private;
 * and marked by setuid, which means nothing for a directory, together with the sticky bit, so that nobody's own
 * directory is taken for one. One that is found with it gets its mode and mtime as if it were new.
 */
export const unfinishedMode = 0o5700;

/**
 * Marks a directory that was not there when it was offered. On a disk without modes there is no mark, and after a kill
 * it stays as it is.
 */
export function markIfFresh(
  thing: { readonly kind: string; readonly fresh?: boolean },
  descriptor: () => number,
): void {
  if (thing.fresh !== true) return;
  try {
    fchmodSync(descriptor(), unfinishedMode);
  } catch (error) {
    trace('a new directory is not marked: %o', error);
  }
}
