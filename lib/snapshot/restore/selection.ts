import { TransferError } from '../../errors';
import { printable } from '../../name';
import { matcher } from '../../scan/exclude';
import type { ManifestEntry } from '../manifest/manifest';

type Chooses = (name: string) => boolean;

/**
 * The entries of a snapshot that `paths` choose, in their order, with the directories above them; all of them without any path. A path
 * is a name in the snapshot, and of a directory it means everything below; where nothing has that name, it is a pattern from the
 * top of the snapshot, in which `*` and `?` stay within a component and `**` is any number of them. A hard link whose file was not
 * chosen is that file, under its own name.
 * @throws TransferError `usage` for a path that chooses nothing.
 */
export function chooseEntries(entries: readonly ManifestEntry[], paths: readonly string[]): ManifestEntry[] {
  if (paths.length === 0) return [...entries];
  const wanted = new Set<ManifestEntry>();
  for (const path of paths) {
    const chosen = chosenBy(path, entries);
    if (chosen.length === 0) {
      throw new TransferError('usage', printable(`Nothing in this snapshot is called ${path}.`), { hint: 'Paths begin at the top of the snapshot; patterns such as "photos/*.jpg" or "**/*.txt" need quotes in a shell.' });
    }
    for (const entry of chosen) wanted.add(entry);
  }
  const above = new Set([...wanted].flatMap(({ name }) => ancestors(name)));
  return withFiles(entries, entries.filter((entry) => wanted.has(entry) || (entry.type === 'directory' && above.has(entry.name))));
}

function chosenBy(path: string, entries: readonly ManifestEntry[]): ManifestEntry[] {
  const plain = path.replace(/^(\.?\/+)+/, '').replace(/\/+$/, '');
  if (plain === '' || plain === '.') return [...entries];
  const literal = under((name) => name === plain);
  const named = entries.filter(({ name }) => literal(name));
  if (named.length > 0 || !/[*?[\\]/.test(plain)) return named;
  const matches = matcher([`/${plain}`]);
  const pattern = under((name) => matches(name, true));
  return entries.filter(({ name }) => pattern(name));
}

/** Chooses also what is below. */
function under(chooses: Chooses): Chooses {
  // Thousands of files are below the same few directories.
  const known = new Map<string, boolean>();
  const isBelow = (name: string): boolean => {
    const end = name.lastIndexOf('/');
    if (end === -1) return false;
    const directory = name.slice(0, end);
    const before = known.get(directory);
    if (before !== undefined) return before;
    const found = chooses(directory) || isBelow(directory);
    known.set(directory, found);
    return found;
  };
  return (name) => chooses(name) || isBelow(name);
}

function ancestors(name: string): string[] {
  const components = name.split('/');
  return components.slice(1).map((_, at) => components.slice(0, at + 1).join('/'));
}

/** The first link to each file that is not there becomes that file, and the others links to it. */
function withFiles(all: readonly ManifestEntry[], chosen: readonly ManifestEntry[]): ManifestEntry[] {
  const there = new Set<string>(chosen.flatMap((entry) => (entry.type === 'file' ? [entry.name] : [])));
  if (chosen.every((entry) => entry.type !== 'link' || there.has(entry.target))) return [...chosen];
  const files = new Map<string, ManifestEntry>(all.flatMap((entry) => (entry.type === 'file' ? [[entry.name, entry]] : [])));
  const stands = new Map<string, ManifestEntry & { readonly type: 'link' }>();
  return chosen.map((entry) => {
    if (entry.type !== 'link' || there.has(entry.target)) return entry;
    const first = stands.get(entry.target);
    if (first) return { ...entry, target: first.name };
    const file = files.get(entry.target);
    if (file?.type !== 'file') return entry;
    stands.set(entry.target, entry);
    return { ...file, name: entry.name };
  });
}
