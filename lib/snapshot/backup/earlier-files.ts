import { setImmediate as turn } from 'node:timers/promises';
import { TransferError } from '../../errors';
import type { EntryName } from '../../name';
import type { Digests } from '../../progress';
import { smallFile } from '../../wire/segment';
import { sameMetadata } from '../../wire/metadata';
import type { FileEntry } from '../../wire/session-list';
import type { Earlier } from '../../receive/snapshot-stage';
import { type Snapshot, within } from '../manifest/catalog';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import type { ManifestEntry } from '../manifest/manifest';
import { SourceCounts } from './shrinking';

/** So many entries are taken before others have their turn. */
const takenAtOnce = 20_000;

export type FileLine = Extract<ManifestEntry, { readonly type: 'file' }>;

/** A file in a snapshot. */
interface KeptEarlier {
  readonly snapshot: Snapshot;
  readonly line: FileLine;
  readonly digest: string;
}

/**
 * What earlier snapshots of a backup have: under the same name in the newest one, or, for what was moved or renamed, of
 * the same size and modification time anywhere. The older ones are read once something turns up that the newest does
 * not have.
 */
export class EarlierFiles {
  /** In the newest snapshot. Hard links stand for the file that they are. */
  private readonly newest = new Map<string, KeptEarlier>();
  private readonly bySizeAndTime = new Map<string, KeptEarlier>();
  private readonly bySize = new Map<number, KeptEarlier>();
  private readonly contents = new Set<string>();
  /** How many entries are below each source in the newest snapshot. */
  readonly counts = new SourceCounts();
  /** The number of that; undefined where there is none. */
  number: number | undefined;
  private others: Promise<void> | undefined;

  private constructor(
    private readonly catalog: SnapshotCatalog,
    private readonly algorithm: keyof Digests,
    private readonly usable: (line: FileLine) => boolean,
    /** The oldest first. */
    private readonly older: readonly Snapshot[],
  ) {}

  /**
   * Reads the manifest of the newest snapshot; those that cannot be believed, or were registered as damaged, are as if
   * they were not there. So are files that are not `usable`.
   */
  static async of(
    catalog: SnapshotCatalog,
    name: EntryName,
    algorithm: keyof Digests,
    usable: (line: FileLine) => boolean = () => true,
  ): Promise<EarlierFiles> {
    const older = (await catalog.snapshots(name)).filter(({ entry }) => entry.damaged !== true);
    for (let last = older.pop(); last; last = older.pop()) {
      const files = new EarlierFiles(catalog, algorithm, usable, older);
      if (await files.takeNewest(last)) return files;
    }
    return new EarlierFiles(catalog, algorithm, usable, []);
  }

  /**
   * What there is for a file that is offered; with `checksum`, no file passes for unchanged, and none is linked without
   * being read back.
   */
  async find(entry: FileEntry, checksum: boolean): Promise<Earlier | undefined> {
    const { size, mtime, mode } = entry;
    if (size === undefined || size === 0) return undefined;
    const before = this.newest.get(entry.name);
    const moved = before?.line.size === size && before.line.mtime === mtime ? undefined : await this.moved(size, mtime);
    const kept = moved ?? before ?? (size > smallFile ? this.bySize.get(size) : undefined);
    if (!kept) return undefined;
    const { snapshot, line, digest } = kept;
    const linkable =
      line.size === size &&
      line.mtime === mtime &&
      line.mode === mode &&
      (!line.metadata?.owner || !entry.metadata?.owner || sameMetadata(line.metadata, entry.metadata));
    const { ctime, inode } = line.source;
    const unchanged =
      linkable && !checksum && kept === before && ctime !== undefined && ctime === entry.ctime && inode === entry.inode;
    const file = {
      root: snapshot.directory,
      name: within(snapshot, line.name).below as EntryName,
      size: line.size,
      mode: line.kept?.mode ?? line.mode,
      mtime: line.kept?.mtime ?? line.mtime,
      ...(line.content ? { content: line.content } : {}),
    };
    return { file: checksum ? { ...file, readBack: digest } : file, digest, unchanged, linkable };
  }

  /** The file of that name in the newest snapshot, if it has the same size and modification time: its digest. */
  digestBefore({ name, size, mtime }: FileEntry): string | undefined {
    const before = this.newest.get(name);
    return before?.line.size === size && before?.line.mtime === mtime ? before?.digest : undefined;
  }

  /** Whether a content is in one of the snapshots that were read. */
  has(digest: string): boolean {
    return this.contents.has(digest);
  }

  private async moved(size: number, mtime: bigint): Promise<KeptEarlier | undefined> {
    const key = keyOf(size, mtime);
    if (!this.bySizeAndTime.has(key)) await (this.others ??= this.takeOthers());
    return this.bySizeAndTime.get(key);
  }

  private async takeOthers(): Promise<void> {
    for (const snapshot of [...this.older].reverse()) {
      const files = await this.believed(snapshot, () =>
        this.catalog.otherFiles(snapshot, (digest) => this.contents.has(digest)),
      );
      for (const [at, line] of files?.entries() ?? []) {
        if (at % takenAtOnce === takenAtOnce - 1) await turn();
        this.add({ snapshot, line, digest: line.digests[this.algorithm] ?? '' }, false);
      }
    }
  }

  private async takeNewest(snapshot: Snapshot): Promise<boolean> {
    const manifest = await this.believed(snapshot, () => this.catalog.manifest(snapshot));
    for (const [at, line] of manifest?.entries.entries() ?? []) {
      if (at % takenAtOnce === takenAtOnce - 1) await turn();
      this.counts.add(line);
      if (line.type === 'file') this.add({ snapshot, line, digest: line.digests[this.algorithm] ?? '' }, true);
      const target = line.type === 'link' ? this.newest.get(line.target) : undefined;
      if (target) this.newest.set(line.name, target);
    }
    if (manifest) this.number = snapshot.entry.number;
    return manifest !== undefined;
  }

  /** What is read of a manifest; undefined if that cannot be believed, or has other digests. */
  private async believed<Read>({ head }: Snapshot, read: () => Promise<Read>): Promise<Read | undefined> {
    if (head instanceof TransferError || head.digest !== this.algorithm) return undefined;
    return read().catch((error: unknown) => {
      if (error instanceof TransferError && error.code === 'mismatch') return undefined;
      throw error;
    });
  }

  /** What was read first is the newest, and stays. */
  private add(kept: KeptEarlier, newest: boolean): void {
    const { line, digest } = kept;
    if (!this.usable(line)) return;
    if (newest) this.newest.set(line.name, kept);
    else if (this.contents.has(digest)) return;
    this.contents.add(digest);
    if (line.size === 0) return;
    const key = keyOf(line.size, line.mtime);
    if (!this.bySizeAndTime.has(key)) this.bySizeAndTime.set(key, kept);
    if (line.size > smallFile && !this.bySize.has(line.size)) this.bySize.set(line.size, kept);
  }
}

function keyOf(size: number, mtime: bigint): string {
  return `${String(size)} ${String(mtime)}`;
}
