// Sources that have become empty, or lost most of their entries, since the snapshot before: a disk that is not mounted,
// a directory that somebody removed by mistake.
import type { ShrunkSource } from '../../progress';
import type { ManifestEntry } from '../manifest/manifest';
import type { RegisteredSnapshot } from '../register/register';

/** Of fewer entries than that, losing most is nothing unusual. */
const fewEntries = 10;
/** Most sources that are reported and noted: the first by their names. */
const mostShrunk = 16;

/** What is counted of an entry: of a file also its size, in bytes, and what it was on the disk of its source. */
interface CountedEntry extends Pick<ManifestEntry, 'name' | 'type'> {
  readonly size?: number;
  readonly source?: { readonly ctime?: bigint | undefined };
}

/** How many entries are below each source of a snapshot, missing ones not counted. */
export class SourceCounts {
  private readonly counts = new Map<string, number>();
  /** Sources that are a file with content. */
  private readonly filled = new Set<string>();
  /** Sources that were read as a stream, standard input or a named pipe, of which nothing came. */
  private readonly dry = new Set<string>();

  add(entry: CountedEntry): void {
    const { name, type } = entry;
    if (type === 'missing') return;
    const slash = name.indexOf('/');
    const source = slash === -1 ? name : name.slice(0, slash);
    this.counts.set(source, (this.counts.get(source) ?? 0) + (slash === -1 ? 0 : 1));
    if (slash !== -1 || entry.size === undefined) return;
    if (entry.size > 0) this.filled.add(name);
    // A file on a disk may well be empty; what a program should have printed is not.
    else if (entry.source?.ctime === undefined) this.dry.add(name);
  }

  /** By the names of sources, what each has: how many entries are below it, or 1 for a file with content. */
  asRecord(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.counts.keys()].map((source) => [source, this.worth(source)]));
  }

  /** What a source has, as `asRecord` tells it; 0 for what is no source of the snapshot. */
  worth(source: string): number {
    return this.filled.has(source) ? 1 : (this.counts.get(source) ?? 0);
  }

  /** What `asRecord` gave. */
  static from(record: Readonly<Record<string, number>>): SourceCounts {
    const counts = new SourceCounts();
    for (const [source, entries] of Object.entries(record)) counts.counts.set(source, entries);
    return counts;
  }

  /** Undefined for what is no source of the snapshot. */
  of(source: string): number | undefined {
    return this.counts.get(source);
  }

  /** Those of `before` that are sources here too and have lost what they had. */
  shrunkSince(before: SourceCounts): ShrunkSource[] {
    const shrunk: ShrunkSource[] = [];
    for (const [path, had] of before.counts) {
      const entries = this.of(path);
      if (entries !== undefined && hasLost(had, entries)) shrunk.push({ path, entries, before: had });
    }
    for (const path of this.dry) if (before.filled.has(path)) shrunk.push({ path, entries: 0, before: 1 });
    return shrunk.sort((one, other) => (one.path < other.path ? -1 : 1)).slice(0, mostShrunk);
  }
}

/** "Became empty, or has less than half of at least ten entries." */
function hasLost(before: number, now: number): boolean {
  return before > 0 && (now === 0 || (before >= fewEntries && now * 2 < before));
}

/**
 * What is registered of the snapshots before one with these `counts`: the one numbered `compared` notes what its
 * sources had that are `shrunk` now, and none notes any more what is there again.
 */
export function notingContent(
  snapshots: readonly RegisteredSnapshot[],
  counts: SourceCounts,
  shrunk: readonly ShrunkSource[],
  compared: number | undefined,
): RegisteredSnapshot[] {
  return snapshots.map((snapshot) => {
    const lost = snapshot.number === compared ? shrunk.map(({ path, before }) => [path, before] as const) : [];
    return marked(snapshot, (path, had) => hasLost(had, counts.worth(path)), lost);
  });
}

/** What is registered of a snapshot that has only these `entries` now: it notes no content that it has not. */
export function withoutLostMarks(snapshot: RegisteredSnapshot, entries: readonly ManifestEntry[]): RegisteredSnapshot {
  const counts = new SourceCounts();
  for (const entry of entries) counts.add(entry);
  return marked(snapshot, (path, had) => !hasLost(had, counts.worth(path)), []);
}

/** With those of its marks that are kept, and more of them. */
function marked(
  snapshot: RegisteredSnapshot,
  keeps: (path: string, had: number) => boolean,
  more: readonly (readonly [string, number])[],
): RegisteredSnapshot {
  const { content = {}, ...rest } = snapshot;
  const kept = Object.entries(content).filter(([path, had]) => keeps(path, had));
  const all = Object.fromEntries([...kept, ...more]);
  return Object.keys(all).length === 0 ? rest : { ...rest, content: all };
}
