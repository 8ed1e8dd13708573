import { setImmediate as nextTurn } from 'node:timers/promises';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import { matcher } from '../../scan/exclude';
import type { ManifestEntry } from '../manifest/manifest';
import { isPattern, plainPath } from './asked-names';

const mostPaths = 4096;
const mostPatterns = 256;

type Chooses = (name: string) => boolean;

/** Entries looked at in one go, times patterns: half a millisecond or so each thousand. */
const atOnce = 8192;

/**
 * The entries of a snapshot that `paths` choose, in their order, with the directories above them; all of them without
 * any path. A path is a name in the snapshot, and of a directory it means everything below; where nothing has that
 * name, it is a pattern from the top of the snapshot, in which `*` and `?` stay within a component and `**` is any
 * number of them. A hard link whose file was not chosen is that file, under its own name. One pass over the entries, in
 * turns with whatever else is going on.
 * @throws TransferError `usage` for a path that chooses nothing, and for more than 4096 paths or 256 patterns.
 */
export async function chooseEntries(
  entries: readonly ManifestEntry[],
  paths: readonly string[],
): Promise<ManifestEntry[]> {
  if (paths.length === 0) return [...entries];
  if (paths.length > mostPaths) throw tooMany('paths', mostPaths);
  const plain = new Map(paths.map((path) => [plainPath(path), path]));
  const everything = plain.has('') || plain.has('.');
  const names = new Set<string>();
  const directories = new Set<string>();
  await inTurns(entries, 1, ({ name }) => {
    if (plain.has(name)) names.add(name);
    for (let above = parent(name); above !== '' && !directories.has(above); above = parent(above)) {
      directories.add(above);
      if (plain.has(above)) names.add(above);
    }
  });
  const patterns = [...plain.keys()]
    .filter((path) => !names.has(path) && isPattern(path))
    .map((path) => ({ path, matches: matcher([`/${path}`]) }));
  if (patterns.length > mostPatterns) throw tooMany('patterns', mostPatterns);
  const matched = new Set<string>();
  const chooses = under((name) => {
    let chosen = names.has(name);
    for (const { path, matches } of patterns) {
      if (!matches(name, true)) continue;
      matched.add(path);
      chosen = true;
    }
    return chosen;
  });
  const wanted = new Set<ManifestEntry>();
  await inTurns(entries, 1 + patterns.length, (entry) => {
    if (chooses(entry.name) || everything) wanted.add(entry);
  });
  for (const [path, given] of plain) {
    if (path === '' || path === '.' || names.has(path) || matched.has(path)) continue;
    throw new TransferError('usage', printable(`Nothing in this snapshot is called ${given}.`), {
      hint: 'Paths begin at the top of the snapshot; patterns such as "photos/*.jpg" or "**/*.txt" need quotes in a shell.',
    });
  }
  const above = new Set([...wanted].flatMap(({ name }) => ancestors(name)));
  return withFiles(
    entries,
    entries.filter((entry) => wanted.has(entry) || (entry.type === 'directory' && above.has(entry.name))),
  );
}

async function inTurns(
  entries: readonly ManifestEntry[],
  weight: number,
  look: (entry: ManifestEntry) => void,
): Promise<void> {
  const some = Math.ceil(atOnce / weight);
  for (let at = 0; at < entries.length; at += some) {
    for (const entry of entries.slice(at, at + some)) look(entry);
    await nextTurn();
  }
}

function tooMany(what: string, most: number): TransferError {
  return new TransferError('usage', `More than ${String(most)} ${what} at once are not looked for.`, {
    hint: 'Name the directory that they are in, or restore in several steps.',
  });
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

function parent(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/')));
}

function ancestors(name: string): string[] {
  const components = name.split('/');
  return components.slice(1).map((_, at) => components.slice(0, at + 1).join('/'));
}

/** The first link to each file that is not there becomes that file, and the others links to it. */
function withFiles(all: readonly ManifestEntry[], chosen: readonly ManifestEntry[]): ManifestEntry[] {
  const selected = new Set<string>(chosen.flatMap((entry) => (entry.type === 'file' ? [entry.name] : [])));
  if (chosen.every((entry) => entry.type !== 'link' || selected.has(entry.target))) return [...chosen];
  const files = new Map<string, ManifestEntry>(
    all.flatMap((entry) => (entry.type === 'file' ? [[entry.name, entry]] : [])),
  );
  const stands = new Map<string, ManifestEntry & { readonly type: 'link' }>();
  return chosen.map((entry) => {
    if (entry.type !== 'link' || selected.has(entry.target)) return entry;
    const first = stands.get(entry.target);
    if (first) return { ...entry, target: first.name };
    const file = files.get(entry.target);
    if (file?.type !== 'file') return entry;
    stands.set(entry.target, entry);
    return { ...file, name: entry.name };
  });
}
