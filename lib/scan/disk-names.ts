import { type Dirent, readdirSync, readlinkSync } from 'node:fs';
import { nameOfBytes, systemPath } from '../name-bytes';

// On the disks of Unix a name is bytes. Node decodes them as UTF-8 and puts U+FFFD for what is wrong, which is another
// name.

/** An entry of a directory. Its name is text as `nameOfBytes` makes it. */
export type DiskEntry = Pick<Dirent, 'name' | 'isDirectory' | 'isFile'>;

/** What is in a directory, by the code units of the names. Throws the errors of the operating system. */
export function readDirectory(path: string | Buffer): readonly DiskEntry[] {
  const at = typeof path === 'string' ? systemPath(path) : path;
  const entries: DiskEntry[] = readdirSync(at, { withFileTypes: true });
  // Names as bytes cost more, and are needed only where something may be wrong in one.
  const named = entries.some(({ name }) => name.includes('\ufffd')) ? readDirectoryBytes(at) : entries;
  return named.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function readDirectoryBytes(at: string | Buffer): DiskEntry[] {
  const raw = readdirSync(at, { withFileTypes: true, encoding: 'buffer' }) as unknown as readonly (Omit<
    Dirent,
    'name'
  > & { readonly name: Buffer })[];
  return raw.map((entry) => ({
    name: nameOfBytes(entry.name),
    isDirectory: () => entry.isDirectory(),
    isFile: () => entry.isFile(),
  }));
}

/** Where a symbolic link points, as `nameOfBytes` makes text of it. Throws the errors of the operating system. */
export function readTarget(path: string | Buffer): string {
  return nameOfBytes(readlinkSync(typeof path === 'string' ? systemPath(path) : path, { encoding: 'buffer' }));
}
