/** What lies among the snapshots of a receive directory and is none of them: it is named, and never read. */
import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../errors';
import { type EntryName, printable } from '../../name';
import { isSnapshotId } from './snapshot-id';

const latestName = 'latest';

/** What is known of a receive directory's snapshots. */
interface KnownSnapshots {
  /** Its path. */
  readonly directory: string;
  names(): Promise<EntryName[]>;
  snapshots(name: EntryName): Promise<readonly { readonly id: string }[]>;
}

/**
 * What lies beside the snapshots under the names of all backups, as `NAME/WHAT`, and what looks like a backup that is
 * not registered; with `wanted`, under the name of this one. Sorted.
 */
export async function foreignIn(known: KnownSnapshots, wanted?: string): Promise<string[]> {
  const names = await known.names();
  const found: string[] = wanted === undefined ? await unregisteredBackups(known.directory, names) : [];
  for (const name of names)
    if (wanted === undefined || wanted === name)
      found.push(...(await foreignUnder(known.directory, name, await known.snapshots(name))));
  return found.sort();
}

/** `latest` belongs to a backup, unless it is a directory. */
async function foreignUnder(
  directory: string,
  name: EntryName,
  snapshots: readonly { readonly id: string }[],
): Promise<string[]> {
  const own = new Set<string>(snapshots.map(({ id }) => id));
  const found = await entriesOf(path.join(directory, name));
  return found
    .filter((entry) => !own.has(entry.name) && !(entry.name === latestName && !entry.isDirectory()))
    .map((entry) => `${name}/${entry.name}`);
}

/**
 * Directories at the top of `directory` that look as if backups had been made there, and are not among those
 * `registered`; sorted.
 */
export async function unregisteredBackups(directory: string, registered: readonly EntryName[]): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await entriesOf(directory)) {
    if (!entry.isDirectory() || entry.name.startsWith('.') || registered.some((each) => each === entry.name)) continue;
    if (await looksLikeBackup(path.join(directory, entry.name))) names.push(entry.name);
  }
  return names.sort();
}

/** The hint where `name`, or anything, looks like a backup and is not registered; undefined where nothing does. */
export async function unregisteredHint(directory: string, name?: string): Promise<string | undefined> {
  const found =
    name === undefined
      ? await unregisteredBackups(directory, [])
      : (await looksLikeBackup(path.join(directory, name)))
        ? [name]
        : [];
  if (found.length === 0) return undefined;
  return printable(
    `What lies at ${found.join(', ')} is not on the register of that directory: sendall adopt DIR reads it back, and registers what is whole.`,
  );
}

async function looksLikeBackup(pathname: string): Promise<boolean> {
  // Not through a symbolic link: what is elsewhere is not a snapshot of this directory.
  const isDirectory = await lstat(pathname).then(
    (found) => found.isDirectory(),
    () => false,
  );
  return isDirectory && (await entriesOf(pathname)).some((entry) => entry.isDirectory() && isSnapshotId(entry.name));
}

/** Nothing where there is no such directory, or one that is closed to us (lost+found): no backup that we made. */
function entriesOf(pathname: string): Promise<Dirent[]> {
  return readdir(pathname, { withFileTypes: true }).catch((error: unknown): Dirent[] => {
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  });
}
