import { link, rename } from 'node:fs/promises';
import { errnoOf } from '../../errors';
import { collationKey } from '../../name';
import type { Directory } from './directory';
import { systemPath } from '../../name-bytes';
import { ignored } from '../../trace';

/**
 * Gives the staged file at `staged` its final name, if that is free; false if something stands there. `link` fails when
 * the name is taken, atomically, which is what makes it the way to a name that must not be replaced. The staged name
 * may remain.
 */
export async function linkIfFree(staged: string, directory: Directory, base: string): Promise<boolean> {
  try {
    await link(staged, systemPath(directory.at(base)));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    if (!cannotLink(error)) throw error;
    return renameIfFree(staged, directory, base);
  }
}

/** Whether the disk has no hard links, as FAT. */
export function cannotLink(error: unknown): boolean {
  return ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '');
}

const turns = new Map<string, Promise<unknown>>();

/**
 * The same without links: look, then rename. The lock keeps other receivers out of the directory, and our own files
 * take turns by name; a foreign program could still slip in between.
 */
async function renameIfFree(staged: string, directory: Directory, base: string): Promise<boolean> {
  // The directory itself, since it may be open more than once; and one name for all that would be one on such a disk.
  const itself = await directory.look('.');
  const key = `${String(itself?.dev)}:${String(itself?.ino)}/${collationKey(base)}`;
  const before = turns.get(key);
  const turn = (async () => {
    await before?.catch(ignored('whoever had that turn is told'));
    if (await directory.look(base)) return false;
    await rename(staged, systemPath(directory.at(base)));
    return true;
  })();
  turns.set(key, turn);
  try {
    return await turn;
  } finally {
    if (turns.get(key) === turn) turns.delete(key);
  }
}
