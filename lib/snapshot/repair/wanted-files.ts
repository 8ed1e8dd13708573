import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests } from '../../progress';
import { ignored } from '../../trace';
import type { Entry, FileEntry as OfferedFile } from '../../wire/session-list';
import type { Snapshot, SnapshotCatalog } from '../manifest/snapshot-catalog';
import { isSnapshotId } from '../manifest/snapshot-id';
import { digestIn, type FileToCompare } from '../verify/compare';

/** A file that an offer would heal. */
export interface FileToHeal {
  readonly snapshot: Snapshot;
  /** What its manifest says. */
  readonly entry: FileToCompare;
  readonly algorithm: keyof Digests;
}

/** What the manifests of one backup say of the files that are offered to heal it, each as `ID/NAME`. */
export class WantedFiles {
  private readonly files = new Map<EntryName, FileToHeal>();

  constructor(
    private readonly catalog: SnapshotCatalog,
    private readonly backup: EntryName,
  ) {}

  /** Undefined for what no manifest that can be believed has with this size and mtime: it is refused. */
  async find(entries: readonly OfferedFile[]): Promise<(FileToHeal | undefined)[]> {
    const bySnapshot = new Map<string, Map<string, OfferedFile>>();
    for (const entry of entries) {
      const [id = '', ...rest] = entry.name.split('/');
      const files = bySnapshot.get(id) ?? new Map<string, OfferedFile>();
      bySnapshot.set(id, files.set(rest.join('/'), entry));
    }
    for (const [id, files] of bySnapshot) {
      if (!isSnapshotId(id)) continue;
      const snapshot = await this.catalog
        .find(`${this.backup}/${id}`)
        .catch(ignored('what has no manifest repairs nothing'));
      const manifest =
        snapshot && (await this.catalog.manifest(snapshot).catch(ignored('what has no manifest repairs nothing')));
      if (!snapshot || !manifest) continue;
      for (const entry of manifest.entries) {
        const offered = entry.type === 'file' ? files.get(entry.name) : undefined;
        if (entry.type === 'file' && offered && entry.size === offered.size && entry.mtime === offered.mtime)
          this.files.set(offered.name, { snapshot, entry, algorithm: manifest.head.digest });
      }
    }
    return entries.map(({ name }) => this.files.get(name));
  }

  get(name: EntryName): FileToHeal | undefined {
    return this.files.get(name);
  }

  /** Why an entry is not taken; undefined for one that was found. */
  refusal(name: EntryName): TransferError | undefined {
    return this.files.has(name)
      ? undefined
      : new TransferError('name', `${printable(name)} is no file of a snapshot here.`, { fileName: name, hint: '' });
  }

  /** Whether what came is what the manifest says. */
  isWanted(entry: Entry, digests: Digests): boolean {
    const wanted = this.files.get(entry.name);
    return (
      entry.type === 'file' &&
      wanted !== undefined &&
      digests[wanted.algorithm] === digestIn(wanted.entry, wanted.algorithm)
    );
  }
}
