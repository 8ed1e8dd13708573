import { setImmediate as turn } from 'node:timers/promises';
import { TransferError } from '../../errors';
import type { EntryName } from '../../name';
import type { Digests } from '../../progress';
import { smallFile } from '../../wire/segment';
import { sameMetadata } from '../../wire/metadata';
import type { FileEntry } from '../../wire/session-list';
import { isReadable } from '../../store/local/mode-on-disk';
import { ignored } from '../../trace';
import type { Earlier } from '../../receive/snapshot-stage';
import { type Snapshot, within } from '../manifest/catalog';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import { digestInLine, type UnreadFile, UnchangedFile } from '../manifest/file-line';
import { type ManifestFile, parseFileLine } from '../manifest/manifest';
import { SourceCounts } from './shrinking';

/** Entries in one turn of the event loop; lines, where each has to be taken apart. */
const takenAtOnce = 20_000;
const takenApartAtOnce = 2_000;

/** A file in a snapshot. */
interface KeptEarlier {
  readonly snapshot: Snapshot;
  readonly line: ManifestFile;
  readonly digest: string;
}

/**
 * What earlier snapshots of a backup have: under the same name in the newest one, or, for what was moved or renamed, of
 * the same size and modification time anywhere. The older ones are read once something turns up that the newest does
 * not have.
 */
export class EarlierFiles {
  /**
   * In the newest snapshot, taken apart or as the line that it is there. Hard links stand for the file that they are.
   */
  private readonly newest = new Map<string, ManifestFile | string>();
  private newestSnapshot: Snapshot | undefined;
  /** Made once somebody asks. */
  private gathered: Promise<EarlierContents> | undefined;
  /** For what is not under the same name: made once somebody asks. */
  private alike: Promise<AlikeFiles> | undefined;
  /** How many entries are below each source in the newest snapshot. */
  readonly counts = new SourceCounts();
  /** The number of that; undefined where there is none. */
  number: number | undefined;
  private others: Promise<EarlierContents> | undefined;

  private constructor(
    private readonly catalog: SnapshotCatalog,
    private readonly algorithm: keyof Digests,
    private readonly usable: (line: ManifestFile) => boolean,
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
    usable: (line: ManifestFile) => boolean = () => true,
  ): Promise<EarlierFiles> {
    const older = (await catalog.snapshots(name)).filter(({ entry }) => entry.damaged !== true);
    for (let last = older.pop(); last; last = older.pop()) {
      const files = new EarlierFiles(catalog, algorithm, usable, older);
      if (await files.takeNewest(last)) return files;
    }
    return new EarlierFiles(catalog, algorithm, usable, []);
  }

  /**
   * The earlier file that an offered one can be linked to or compared with. With `checksum`, no file counts as
   * unchanged, and none is linked without being read back.
   */
  async find(entry: FileEntry, checksum: boolean): Promise<Earlier | undefined> {
    const { size, mtime, mode } = entry;
    if (size === undefined || size === 0) return undefined;
    const before = this.keptBefore(entry.name);
    const moved =
      before && before.line.size === size && before.line.mtime === mtime ? undefined : await this.moved(size, mtime);
    const kept = moved ?? before ?? (size > smallFile ? (await this.alikeFiles()).bySize.get(size) : undefined);
    if (!kept) return undefined;
    const { snapshot, line, digest } = kept;
    const modeThere = line.kept?.mode ?? line.mode;
    // Earlier versions stored it so that it cannot be read back: it comes anew.
    if (!line.content && !isReadable(modeThere)) return undefined;
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
      mode: modeThere,
      mtime: line.kept?.mtime ?? line.mtime,
      ...(line.content ? { content: line.content } : {}),
    };
    return { file: checksum ? { ...file, readBack: digest } : file, digest, unchanged, linkable };
  }

  /** The file of that name in the newest snapshot, if it has the same size and modification time: its digest. */
  digestBefore({ name, size, mtime }: FileEntry): string | undefined {
    const before = this.inNewest(name);
    return before && before.size === size && before.mtime === mtime ? before.digests[this.algorithm] : undefined;
  }

  /**
   * The line of a file as it was found in the newest snapshot, if it is the same file of the same disk and was not
   * changed in any way since; undefined for any other one, and for an empty one.
   */
  unchanged(found: UnreadFile): ManifestFile | undefined {
    const { name, size, mode, mtime, source, metadata } = found;
    const text = this.newest.get(name);
    const asItWas = typeof text === 'string' && size > 0 ? UnchangedFile.of(text, found, this.algorithm) : undefined;
    if (asItWas) return this.usable(asItWas) ? asItWas : undefined;
    const line = this.inNewest(name);
    const same =
      line?.name === name &&
      size > 0 &&
      line.size === size &&
      line.mtime === mtime &&
      line.mode === mode &&
      line.source.ctime === source.ctime &&
      line.source.inode === source.inode &&
      sameMetadata(line.metadata, metadata);
    return same ? line : undefined;
  }

  /** What is in the newest snapshot, and in those before once `allContents` was asked for. Other work has its turns. */
  contents(): Promise<EarlierContents> {
    return (this.gathered ??= this.gatherContents());
  }

  /** The same, with what is in the snapshots before the newest, which are read for it. */
  allContents(): Promise<EarlierContents> {
    return (this.others ??= this.takeOthers());
  }

  private async gatherContents(): Promise<EarlierContents> {
    const contents = new EarlierContents(this.algorithm, this.usable);
    let taken = 0;
    for (const line of this.newest.values()) {
      if (++taken % takenApartAtOnce === 0) await turn();
      contents.add(line);
    }
    return contents;
  }

  private async moved(size: number, mtime: bigint): Promise<KeptEarlier | undefined> {
    const key = keyOf(size, mtime);
    const { bySizeAndTime } = await this.alikeFiles();
    if (!bySizeAndTime.has(key)) await this.allContents();
    return bySizeAndTime.get(key);
  }

  /** The file of that name in the newest snapshot, taken apart from now on. */
  private inNewest(name: string): ManifestFile | undefined {
    const found = this.newest.get(name);
    if (typeof found !== 'string') return found;
    const line = this.takenApart(found);
    if (line) this.newest.set(name, line);
    else this.newest.delete(name);
    return line;
  }

  private takenApart(text: string): ManifestFile | undefined {
    return fileOf(text, this.algorithm, this.usable);
  }

  private keptBefore(name: string): KeptEarlier | undefined {
    const line = this.inNewest(name);
    return line && this.newestSnapshot ? this.keptOf(this.newestSnapshot, line) : undefined;
  }

  private keptOf(snapshot: Snapshot, line: ManifestFile): KeptEarlier {
    return { snapshot, line, digest: line.digests[this.algorithm] ?? '' };
  }

  private alikeFiles(): Promise<AlikeFiles> {
    return (this.alike ??= this.gatherAlike());
  }

  private async gatherAlike(): Promise<AlikeFiles> {
    const alike = new AlikeFiles();
    if (!this.newestSnapshot) return alike;
    // What was read first is the newest, and stays; another name of a file is one as well.
    let taken = 0;
    for (const name of this.newest.keys()) {
      if (++taken % takenApartAtOnce === 0) await turn();
      const line = this.inNewest(name);
      if (line?.name === name) alike.add(this.keptOf(this.newestSnapshot, line));
    }
    return alike;
  }

  private async takeOthers(): Promise<EarlierContents> {
    const contents = await this.contents();
    const alike = await this.alikeFiles();
    for (const snapshot of [...this.older].reverse()) {
      const files = await this.believed(snapshot, () =>
        this.catalog.otherFiles(snapshot, (digest) => contents.has(digest)),
      );
      for (const [at, line] of files?.entries() ?? []) {
        if (at % takenAtOnce === takenAtOnce - 1) await turn();
        const kept = this.keptOf(snapshot, line);
        if (!this.usable(line) || contents.has(kept.digest)) continue;
        contents.add(line);
        alike.add(kept);
      }
    }
    return contents;
  }

  private async takeNewest(snapshot: Snapshot): Promise<boolean> {
    const manifest = await this.believed(snapshot, () => this.catalog.lines(snapshot));
    this.newestSnapshot = snapshot;
    if (!manifest) return false;
    let taken = 0;
    for (const [name, line] of manifest.files) {
      if (++taken % takenAtOnce === 0) await turn();
      // Of what is a source by itself it counts whether it has content.
      this.counts.add((name.includes('/') ? undefined : this.takenApart(line)) ?? { type: 'file', name });
      this.newest.set(name, line);
    }
    for (const line of manifest.entries) {
      if (++taken % takenAtOnce === 0) await turn();
      this.counts.add(line);
      if (line.type === 'file' && this.usable(line)) this.newest.set(line.name, line);
      const target = line.type === 'link' ? this.newest.get(line.target) : undefined;
      if (target !== undefined) this.newest.set(line.name, target);
    }
    this.number = snapshot.entry.number;
    return true;
  }

  /** What is read of a manifest; undefined if that cannot be believed, or has other digests. */
  private async believed<Read>({ head }: Snapshot, read: () => Promise<Read>): Promise<Read | undefined> {
    if (head instanceof TransferError || head.digest !== this.algorithm) return undefined;
    return read().catch((error: unknown) => {
      if (error instanceof TransferError && error.code === 'mismatch') return undefined;
      throw error;
    });
  }
}

/** Where the contents of earlier files are, by their digests. */
export class EarlierContents {
  /** What comes first stays. */
  private readonly files = new Map<string, ManifestFile | string>();

  constructor(
    private readonly algorithm: keyof Digests,
    private readonly usable: (line: ManifestFile) => boolean,
  ) {}

  /** Whether a content is in one of the snapshots that were read. */
  has(digest: string): boolean {
    return this.files.has(digest);
  }

  /** Where bytes of this digest and size are. */
  at(digest: string, size: number): ManifestFile['content'] {
    const found = this.files.get(digest);
    const line = typeof found === 'string' ? fileOf(found, this.algorithm, this.usable) : found;
    return line?.size === size ? line.content : undefined;
  }

  /** Takes a file, taken apart or as its line. */
  add(line: ManifestFile | string): void {
    const seen = typeof line === 'string' ? digestInLine(line, this.algorithm) : undefined;
    const file = typeof line === 'string' && seen === undefined ? fileOf(line, this.algorithm, this.usable) : line;
    const digest = seen ?? (typeof file === 'string' ? undefined : file?.digests[this.algorithm]);
    if (digest !== undefined && !this.files.has(digest)) this.files.set(digest, line);
  }
}

/** The file of a line; undefined for anything else, and for a file that is not usable. */
function fileOf(
  text: string,
  algorithm: keyof Digests,
  usable: (line: ManifestFile) => boolean,
): ManifestFile | undefined {
  try {
    const line = parseFileLine(text, { digest: algorithm });
    return line.type === 'file' && usable(line) ? line : undefined;
  } catch (error) {
    ignored('it is as if it were not there')(error);
    return undefined;
  }
}

/** Files that may be what was moved or renamed. */
class AlikeFiles {
  readonly bySizeAndTime = new Map<string, KeptEarlier>();
  readonly bySize = new Map<number, KeptEarlier>();

  /** What comes first stays. */
  add(kept: KeptEarlier): void {
    const { size, mtime } = kept.line;
    if (size === 0) return;
    const key = keyOf(size, mtime);
    if (!this.bySizeAndTime.has(key)) this.bySizeAndTime.set(key, kept);
    if (size > smallFile && !this.bySize.has(size)) this.bySize.set(size, kept);
  }
}

function keyOf(size: number, mtime: bigint): string {
  return `${String(size)} ${String(mtime)}`;
}
