import type { EntryName } from '../../name';
import type { SnapshotCatalog } from './snapshot-catalog';
import type { Manifest, ManifestEntry } from './manifest';

type Stored = Exclude<ManifestEntry, { readonly type: 'missing' }>;
/** What is compared of a manifest. */
type ComparedEntries = Pick<Manifest, 'entries'>;
type ComparedFile = Extract<ManifestEntry, { readonly type: 'file' }>;

/** Something that only one of two snapshots has. */
export interface OneSided {
  readonly path: EntryName;
  readonly type: Stored['type'];
  /** Of a file. */
  readonly bytes?: number;
  /** Why the other snapshot could not have it, where that is known. */
  readonly missing?: string;
}

/**
 * Something that both have, but not alike. `metadata`: the content is the same; the mode or the modification time is
 * not.
 */
export interface ChangedEntry {
  readonly path: EntryName;
  readonly type: Stored['type'];
  readonly what: 'content' | 'metadata';
  /** Of a file as it is in the later one. */
  readonly bytes?: number;
}

/** What became of the first of two snapshots in the second one; by path. */
export interface Difference {
  readonly added: readonly OneSided[];
  readonly removed: readonly OneSided[];
  readonly changed: readonly ChangedEntry[];
}

/**
 * Compares two snapshots, each `NAME/ID` or `NAME/latest`, by their manifests; no file is read. The modification time
 * of a directory is that of a change in it, which is told by itself. Rejects with `usage` where there is no such
 * snapshot, with `mismatch` for a manifest that is damaged.
 */
export async function diffSnapshots(catalog: SnapshotCatalog, a: string, b: string): Promise<Difference> {
  const [first, second] = [await catalog.find(a), await catalog.find(b)];
  return differenceOf(await catalog.manifest(first), await catalog.manifest(second));
}

/** What became of the first manifest's entries in the second one. */
export function differenceOf(first: ComparedEntries, second: ComparedEntries): Difference {
  const [before, after] = [new Tree(first), new Tree(second)];
  const changed: ChangedEntry[] = [];
  for (const [path, entry] of after.stored) {
    const old = before.stored.get(path);
    const what = old && changeOf(before.resolve(old), after.resolve(entry));
    if (what !== undefined) changed.push({ path, type: entry.type, what, ...after.bytesOf(entry) });
  }
  return { added: after.without(before), removed: before.without(after), changed: changed.sort(byPath) };
}

/** The entries of a manifest by their names. */
class Tree {
  readonly stored = new Map<EntryName, Stored>();
  private readonly missing = new Map<string, string>();

  constructor({ entries }: ComparedEntries) {
    for (const entry of entries) {
      if (entry.type === 'missing') this.missing.set(entry.name, entry.reason);
      else this.stored.set(entry.name, entry);
    }
  }

  /** The file that an entry is another name of, or the entry itself. */
  resolve(entry: Stored): Stored {
    const target = entry.type === 'link' ? this.stored.get(entry.target) : undefined;
    return target?.type === 'file' ? target : entry;
  }

  bytesOf(entry: Stored): { readonly bytes?: number } {
    const file = this.resolve(entry);
    return file.type === 'file' ? { bytes: file.size } : {};
  }

  /** What is here and not in `other`. */
  without(other: Tree): OneSided[] {
    const found: OneSided[] = [];
    for (const [path, entry] of this.stored) {
      if (other.stored.has(path)) continue;
      const missing = other.missing.get(path);
      found.push({ path, type: entry.type, ...this.bytesOf(entry), ...(missing === undefined ? {} : { missing }) });
    }
    return found.sort(byPath);
  }
}

function changeOf(old: Stored, entry: Stored): ChangedEntry['what'] | undefined {
  if (old.type === 'file' && entry.type === 'file') {
    if (!sameContent(old, entry)) return 'content';
    return old.mode === entry.mode && old.mtime === entry.mtime ? undefined : 'metadata';
  }
  if (old.type === 'directory' && entry.type === 'directory') return old.mode === entry.mode ? undefined : 'metadata';
  if (old.type === 'symlink' && entry.type === 'symlink' && old.target === entry.target)
    return old.mtime === entry.mtime ? undefined : 'metadata';
  return 'content';
}

/** By a digest that both have. Without one, nothing but the same time speaks for the same content. */
function sameContent(old: ComparedFile, file: ComparedFile): boolean {
  if (old.size !== file.size) return false;
  const common = (['blake3', 'sha256', 'md5'] as const).find(
    (each) => old.digests[each] !== undefined && file.digests[each] !== undefined,
  );
  return common === undefined ? old.mtime === file.mtime : old.digests[common] === file.digests[common];
}

function byPath(one: { readonly path: string }, other: { readonly path: string }): number {
  return one.path < other.path ? -1 : 1;
}
