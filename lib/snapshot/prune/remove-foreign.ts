import { chmod, open, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { Directory } from '../../store/local/directory';
import { setFileTime } from '../../threads/system-calls';
import type { ManifestEntry } from '../manifest/manifest';
import { Removal } from './removal';
import { nameOfBytes, systemPath } from '../../name-bytes';

type DirectoryLine = Extract<ManifestEntry, { readonly type: 'directory' }>;

/**
 * Removes what stands below `pathname`, a private directory, and none of `entries` speaks of. Directories that hold
 * entries stay, named or not, with their modes and times; symbolic links are never followed.
 */
export async function removeForeign(pathname: string, entries: readonly ManifestEntry[]): Promise<void> {
  const known = new Map<string, DirectoryLine | undefined>();
  for (const entry of entries) {
    if (entry.type === 'missing') continue;
    for (let at = path.posix.dirname(entry.name); at !== '.' && !known.has(at); at = path.posix.dirname(at))
      known.set(at, undefined);
    known.set(entry.name, entry.type === 'directory' ? entry : undefined);
  }
  await removeBelow(pathname, '', known);
}

async function removeBelow(
  pathname: string,
  inside: string,
  known: ReadonlyMap<string, DirectoryLine | undefined>,
): Promise<void> {
  const entries = await listed(pathname);
  for (const entry of entries)
    if (entry.isDirectory() && known.has(inside + entry.name))
      await removeBelow(`${pathname}/${entry.name}`, `${inside}${entry.name}/`, known);
  const foreign = entries.filter(({ name }) => !known.has(inside + name));
  if (foreign.length === 0) return;
  await chmod(systemPath(pathname), 0o700);
  const directory = await Directory.open(pathname);
  try {
    for (const entry of foreign)
      await (entry.isDirectory()
        ? new Removal().remove(directory, entry.name)
        : rm(systemPath(directory.at(entry.name))));
  } finally {
    await directory.close();
  }
  await restore(pathname, known.get(inside.slice(0, -1)));
}

/** As it was before something was taken out of it. */
async function restore(pathname: string, line: DirectoryLine | undefined): Promise<void> {
  const directory = await open(systemPath(pathname));
  try {
    await directory.chmod(line?.mode ?? 0o777 & ~process.umask());
    if (line) setFileTime(directory.fd, line.mtime);
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function listed(pathname: string): Promise<{ readonly name: string; isDirectory(): boolean }[]> {
  const entries = (await readdir(systemPath(pathname), {
    withFileTypes: true,
    encoding: 'buffer',
  })) as unknown as readonly { readonly name: Buffer; isDirectory(): boolean }[];
  return entries.map((entry) => ({ name: nameOfBytes(entry.name), isDirectory: () => entry.isDirectory() }));
}
