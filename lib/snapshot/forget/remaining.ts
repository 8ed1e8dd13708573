// What is left of a snapshot's manifest when some of its paths are taken out.
import type { Manifest, ManifestEntry } from '../manifest/manifest';
import type { Finished } from '../manifest/write-lists';

/** Chooses a path, with all that is below it, by a pattern. */
export class Chosen {
  /** Directories that were asked about. */
  private readonly directories = new Map<string, boolean>();

  constructor(private readonly matches: (name: string, isDirectory: boolean) => boolean) {}

  /** Whether `name` is chosen, or something above it. */
  has(name: string, isDirectory: boolean): boolean {
    return this.matches(name, isDirectory) || this.isBelow(name);
  }

  private isBelow(name: string): boolean {
    const end = name.lastIndexOf('/');
    if (end === -1) return false;
    const above = name.slice(0, end);
    const known = this.directories.get(above) ?? this.has(above, true);
    this.directories.set(above, known);
    return known;
  }
}

/** What of a manifest goes, and what stays. */
export interface Remaining {
  readonly taken: readonly ManifestEntry[];
  readonly finished: Finished;
}

/** Another name of a file that goes becomes the file, and the others are names of that one. */
export function remainingOf({ head, entries, totals }: Manifest, chosen: Chosen): Remaining {
  const taken = entries.filter(({ name, type }) => chosen.has(name, type === 'directory'));
  const gone = new Map(taken.map((entry) => [entry.name, entry]));
  const heirs = new Map<string, ManifestEntry>();
  const left: ManifestEntry[] = [];
  for (const entry of entries) {
    if (gone.has(entry.name)) continue;
    const file = entry.type === 'link' ? gone.get(entry.target) : undefined;
    if (entry.type !== 'link' || file?.type !== 'file') left.push(entry);
    else {
      const heir = heirs.get(file.name);
      const named: ManifestEntry = heir
        ? { type: 'link', name: entry.name, target: heir.name as typeof entry.target, mtime: entry.mtime }
        : { ...file, name: entry.name };
      if (!heir) heirs.set(file.name, named);
      left.push(named);
    }
  }
  const bytes = left.reduce((sum, entry) => sum + (entry.type === 'file' ? entry.size : 0), 0);
  const missing = left.filter(({ type }) => type === 'missing').length;
  // Which of the files that are left were new is not noted; more than all of them there were not.
  const newBytes = Math.min(totals.newBytes, bytes);
  return { taken, finished: { head, entries: left, totals: { entries: left.length, bytes, newBytes, missing } } };
}
