import path from 'node:path';
import { userCache } from '../user-directory';
import { changePrivateFile, entriesOf, readPrivateFile } from './private-file';

/**
 * Where on this machine the files are that were backed up, by the names of the backups, as of the last run of each: in
 * the user's cache, since it can be said again.
 */
export class BackedUp {
  /** `file` defaults to `backed-up.json` in the user's cache. */
  constructor(private readonly file: string = path.join(userCache(), 'backed-up.json')) {}

  /**
   * Notes what a run of the backup `name` was about. Rejects with `usage` where others can read the file, `unexpected`
   * where it cannot be written.
   */
  async remember(name: string, paths: readonly string[]): Promise<void> {
    const pathnames = paths.map((each) => path.resolve(each));
    await changePrivateFile(
      this.file,
      (text) => `${JSON.stringify(Object.fromEntries([...entriesOf(text, this.file), [name, pathnames]]), null, 2)}\n`,
    );
  }

  /**
   * What was backed up as `name`, or under any name; nothing where nobody knows. Rejects with `usage` for a file that
   * others can read or that is damaged.
   */
  async paths(name?: string): Promise<string[]> {
    const all = entriesOf(readPrivateFile(this.file), this.file).filter(
      ([each]) => name === undefined || each === name,
    );
    return [
      ...new Set(
        all.flatMap(([, pathnames]) =>
          Array.isArray(pathnames)
            ? pathnames.filter((pathname): pathname is string => typeof pathname === 'string')
            : [],
        ),
      ),
    ];
  }
}
