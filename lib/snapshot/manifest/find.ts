// What is in snapshots, by name: manifests are read, and no file.
import { asTransferError, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Digests } from '../../progress';
import { matcher } from '../../scan/exclude';
import { AskedNames } from '../restore/asked-names';
import type { Snapshot, SnapshotCatalog } from './snapshot-catalog';
import type { ManifestEntry } from './manifest';
import type { SnapshotDamaged } from './snapshots';
import { manifestName } from './manifest';

/** One entry of a snapshot. */
export interface FoundInSnapshot {
  readonly event: 'found';
  /** `NAME/ID` */
  readonly snapshot: string;
  readonly path: string;
  readonly type: ManifestEntry['type'];
  /** Of a file, also under another name of it. */
  readonly bytes?: number;
  readonly digests?: Digests;
  /** Permission bits, of a file or directory. */
  readonly mode?: number;
  /** In ns since 1970, as a decimal number. */
  readonly mtime?: string;
  /** Where a symbolic link points; of another name, the file. */
  readonly target?: string;
  /** Why it is not there, of what is `missing`. */
  readonly reason?: string;
  /**
   * Of what is looked for in several snapshots: 1 for its first content under this path, and one more for each other.
   */
  readonly version?: number;
}

export type FoundEvent = FoundInSnapshot | SnapshotDamaged;

interface Telling {
  /** Where the snapshots are. */
  readonly catalog: SnapshotCatalog;
  readonly signal?: AbortSignal;
  readonly on: (event: FoundEvent) => void;
  /** Resolves when whoever hears it has room for more. */
  readonly heard?: () => Promise<void>;
}

export interface LocalEntriesOptions extends Telling {
  /** `NAME/ID` or `NAME/latest`. */
  readonly snapshot: string;
  /** As a path of a restore: a name with all that is below, or a pattern from the top. Default: everything. */
  readonly pattern?: string;
}

export interface LocalFindOptions extends Telling {
  /** As in gitignore(5): without a slash before its end at any depth, else from the top. */
  readonly pattern: string;
  /** The backup; all of them unless told. */
  readonly name?: string;
}

/** Events in one turn of the event loop. */
const reportedAtOnce = 1_000;

/**
 * Tells the entries of a snapshot, in their order. Rejects with `usage` where there is no such snapshot, with
 * `mismatch` for one whose manifest cannot be believed, and with `interrupted`.
 */
export async function listEntries({
  catalog,
  snapshot: wanted,
  pattern,
  ...telling
}: LocalEntriesOptions): Promise<void> {
  const snapshot = await catalog.find(wanted);
  const asked = new AskedNames(pattern === undefined ? [] : [pattern]);
  await tellEntries(catalog, snapshot, (name) => asked.chosen(name), telling);
}

/**
 * Tells in which snapshots something is that a pattern matches, and which of its versions differ: by the names of the
 * backups, the oldest snapshot first. Rejects with `usage` for a backup that is not there, with `mismatch` where the
 * manifest of a snapshot cannot be believed, after everything else was told, and with `interrupted`.
 */
export async function findEntries({ catalog, pattern, name: wanted, ...telling }: LocalFindOptions): Promise<void> {
  const names = await catalog.names();
  if (wanted !== undefined && !names.some((each) => each === wanted)) throw await catalog.noBackup(wanted);
  const matches = matcher([pattern]);
  let damaged: TransferError | undefined;
  for (const name of names) {
    if (wanted !== undefined && name !== wanted) continue;
    const versions = new Map<string, string[]>();
    for (const snapshot of await catalog.snapshots(name)) {
      try {
        await tellEntries(catalog, snapshot, matches, telling, versions);
      } catch (error) {
        const failure = asTransferError(error, 'mismatch', 'The manifest cannot be read');
        if (failure.code !== 'mismatch') throw failure;
        damaged ??= failure;
        const path = manifestName;
        telling.on({ event: 'damaged', snapshot: `${name}/${snapshot.id}`, path, reason: 'manifest', failure });
      }
    }
  }
  if (damaged) throw damaged;
}

async function tellEntries(
  catalog: SnapshotCatalog,
  snapshot: Snapshot,
  wants: (name: string, isDirectory: boolean) => boolean,
  { on, signal, heard }: Omit<Telling, 'catalog'>,
  versions?: Map<string, string[]>,
): Promise<void> {
  const called = `${snapshot.name}/${snapshot.id}`;
  const entries = await catalog.matching(snapshot, wants);
  const files = await filesOf(catalog, snapshot, entries);
  for (const [at, entry] of entries.entries()) {
    if (signal?.aborted === true) throw new TransferError('interrupted', 'Interrupted.');
    const found = foundOf(called, entry, files);
    const version = versions && versionOf(found, versions);
    on(version === undefined ? found : { ...found, version });
    // At the end, too: the next snapshot may have as many.
    if (at % reportedAtOnce === reportedAtOnce - 1 || at === entries.length - 1) await heard?.();
  }
}

/** The files by their names, those included of which an entry is another name. */
async function filesOf(
  catalog: SnapshotCatalog,
  snapshot: Snapshot,
  entries: readonly ManifestEntry[],
): Promise<ReadonlyMap<string, ManifestEntry>> {
  const files = new Map<string, ManifestEntry>();
  for (const entry of entries) if (entry.type === 'file') files.set(entry.name, entry);
  const others = new Set<string>();
  for (const entry of entries) if (entry.type === 'link' && !files.has(entry.target)) others.add(entry.target);
  if (others.size === 0) return files;
  for (const entry of await catalog.matching(snapshot, (name) => others.has(name))) files.set(entry.name, entry);
  return files;
}

function foundOf(snapshot: string, entry: ManifestEntry, files: ReadonlyMap<string, ManifestEntry>): FoundInSnapshot {
  const base = { event: 'found', snapshot, path: entry.name, type: entry.type } as const;
  switch (entry.type) {
    case 'file':
      return { ...base, ...contentOf(entry), mode: entry.mode, mtime: String(entry.mtime) };
    case 'directory':
      return { ...base, mode: entry.mode, mtime: String(entry.mtime) };
    case 'symlink':
      return { ...base, mtime: String(entry.mtime), target: entry.target };
    case 'link':
      return { ...base, ...contentOf(files.get(entry.target)), mtime: String(entry.mtime), target: entry.target };
    case 'missing':
      return { ...base, reason: printable(entry.reason) };
  }
}

function contentOf(entry: ManifestEntry | undefined): Pick<FoundInSnapshot, 'bytes' | 'digests'> {
  return entry?.type === 'file' ? { bytes: entry.size, digests: entry.digests } : {};
}

/** Which content this is of those that its path has had. Undefined for what has none. */
function versionOf(found: FoundInSnapshot, versions: Map<string, string[]>): number | undefined {
  const { path, type, digests, target } = found;
  const content = digests ? JSON.stringify(digests) : type === 'symlink' ? `-> ${String(target)}` : undefined;
  if (content === undefined) return undefined;
  const known = versions.get(path) ?? [];
  versions.set(path, known);
  const at = known.indexOf(content);
  return at === -1 ? known.push(content) : at + 1;
}
