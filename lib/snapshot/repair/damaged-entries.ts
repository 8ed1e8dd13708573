import type { Damage, Digests } from '../../progress';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import type { FileToCompare } from '../verify/compare';
import { ignored } from '../../trace';

/** What the manifest of a snapshot has for a file that is damaged there. */
export interface DamagedEntry {
  /** `NAME/ID` */
  readonly snapshot: string;
  /** Where it is damaged: the name of the file, or another name of it. */
  readonly path: string;
  readonly entry: FileToCompare;
  /** By which its content is known. */
  readonly algorithm: keyof Digests;
}

/**
 * The files that the manifests have for damages; nothing for damages that are of no file. A hard link stands for its
 * file.
 */
export async function damagedEntries(catalog: SnapshotCatalog, damages: readonly Damage[]): Promise<DamagedEntry[]> {
  const paths = new Map<string, string[]>();
  for (const { snapshot, path } of damages) {
    const known = paths.get(snapshot);
    if (known) known.push(path);
    else paths.set(snapshot, [path]);
  }
  const found: DamagedEntry[] = [];
  for (const [snapshot, damaged] of paths) {
    const manifest = await catalog
      .find(snapshot)
      .then((each) => catalog.manifest(each))
      .catch(ignored('a snapshot without a manifest to be believed was told of as damage itself'));
    if (!manifest) continue;
    const files = new Map<string, FileToCompare>();
    for (const entry of manifest.entries) if (entry.type === 'file') files.set(entry.name, entry);
    for (const entry of manifest.entries) {
      const target = entry.type === 'link' ? files.get(entry.target) : undefined;
      if (target) files.set(entry.name, target);
    }
    for (const path of damaged) {
      const entry = files.get(path);
      if (entry) found.push({ snapshot, path, entry, algorithm: manifest.head.digest });
    }
  }
  return found;
}
