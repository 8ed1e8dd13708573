import { mkdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from './errors';
import { systemPath } from './name-bytes';

/**
 * Makes a directory, and those above it that are missing; resolves with the first that was made, undefined if all
 * existed. Rejects with an error of the operating system, ENOENT where the directory that it would lie in was removed:
 * Node's recursive mkdir tries that again for ever, and no signal ends it.
 */
export async function makePath(directory: string, mode?: number): Promise<string | undefined> {
  const options = mode === undefined ? {} : { mode };
  try {
    await mkdir(systemPath(directory), options);
    return directory;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return undefined;
    const above = path.dirname(directory);
    if (errnoOf(error) !== 'ENOENT' || above === directory) throw error;
    const first = await makePath(above, mode);
    await mkdir(systemPath(directory), options).catch((again: unknown) => {
      if (errnoOf(again) !== 'EEXIST') throw again;
    });
    return first ?? directory;
  }
}

/** The same by synchronous calls, for a thread that has nothing else to do. */
export function makePathSync(directory: string): void {
  try {
    mkdirSync(systemPath(directory));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    const above = path.dirname(directory);
    if (errnoOf(error) !== 'ENOENT' || above === directory) throw error;
    makePathSync(above);
    // Once: whatever is missing still was removed meanwhile.
    mkdirSync(systemPath(directory));
  }
}
