import type { Damage } from '../../progress';
import { look, existingOf } from '../../store/local/existing-look';
import { type Catalog, type Snapshot, within } from '../manifest/catalog';
import { compareFile, digestIn, type FileToCompare } from '../verify/compare';
import type { SharedFile } from '../verify/verify-snapshot';
import { ignored } from '../../trace';

/**
 * The names that damaged files of a backup have in another snapshot of it, which was not looked at by itself: by the
 * digest that is expected there, and the inode. Empty for a snapshot whose manifest cannot be believed. `files` are by
 * inode.
 */
export async function sharedDamage(
  catalog: Catalog,
  snapshot: Snapshot,
  files: ReadonlyMap<bigint, SharedFile>,
): Promise<Damage[]> {
  const digests = new Set([...files.values()].map(({ digest }) => digest));
  const manifest = await catalog.manifest(snapshot).catch(ignored('it is not what was asked about'));
  if (!manifest) return [];
  const { head, entries } = manifest;
  const same = entries.filter(
    (entry): entry is FileToCompare => entry.type === 'file' && digests.has(digestIn(entry, head.digest)),
  );
  const existing = existingOf(
    look(
      same.map(({ name }) => within(snapshot, name).below),
      snapshot.directory,
    ),
  );
  return same.flatMap((entry, at): Damage[] => {
    const found = existing[at];
    const shared = found && files.get(found.ino);
    if (!shared || shared.digest !== digestIn(entry, head.digest)) return [];
    const reason =
      shared.reason === 'metadata' ? compareFile(entry, { ...found, mtime: found.mtimeNs }) : shared.reason;
    return reason === undefined ? [] : [{ snapshot: `${snapshot.name}/${snapshot.id}`, path: entry.name, reason }];
  });
}
