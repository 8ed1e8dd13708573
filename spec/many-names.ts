import { linkSync, mkdirSync } from 'node:fs';

/** More names than a file can have with ext4, which has the lowest limit of those in use. */
const more = 65_001;

/** Gives a file all the names that its disk has for one; false where there is no end. */
export function exhaust(path: string, directory: string): boolean {
  mkdirSync(directory);
  try {
    for (let number = 0; number < more; number++) linkSync(path, `${directory}/${String(number)}`);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EMLINK') return true;
    throw error;
  }
}
