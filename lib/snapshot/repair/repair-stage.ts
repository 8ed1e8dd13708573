import path from 'node:path';
import { asTransferError, TransferError } from '../../errors';
import { makePath } from '../../make-path';
import { type EntryName, printable } from '../../name';
import type { Digests } from '../../progress';
import type { Entry, FileEntry as OfferedFile } from '../../wire/session-list';
import type { Directory } from '../../store/local/directory';
import { LocalStore } from '../../store/local/local';
import { ObjectStore } from '../../store/object/object-store';
import { openPrivate } from '../../store/local/receive-directory';
import { diskError } from '../../store/local/disk-error';
import type { Destination } from '../../receive/destinations';
import type { Earlier, SnapshotStage, StageRequest } from '../../receive/snapshot-stage';
import { lockBackup, type LockedBackup, lockWordsOf } from '../backup/backup-lock';
import { Catalog, within } from '../manifest/catalog';
import { digestIn, type FileToCompare } from '../verify/compare';
import { Healing } from './healing';
import { Removal } from '../prune/removal';
import { isSnapshotId } from '../manifest/snapshot-id';
import { ownPlaceOf } from '../register/register';
import { ignored } from '../../trace';

/** Beside the snapshots: what is kept while files are brought to heal them. */
const ownName = 'repair';
const treeName = 'tree';

/**
 * What snapshots of a backup once had, on its way to heal them: each entry is called `ID/NAME`, as it is in one of
 * them. What comes whole, and is what that manifest says, replaces every damaged file of the backup that should be the
 * same.
 */
export class RepairStage implements SnapshotStage {
  readonly mayKnow = true;
  /** A repair is left to its end. */
  readonly superseded = new Promise<never>(() => undefined);
  readonly destination: Destination;
  /** What the manifests say of the entries that were offered. */
  private readonly wanted = new Map<EntryName, { readonly entry: FileToCompare; readonly algorithm: keyof Digests }>();
  /** The names of those that are here. */
  private readonly here = new Set<EntryName>();
  private healed = false;

  private constructor(
    private readonly request: StageRequest,
    private readonly locked: LockedBackup,
    private readonly own: Directory,
    private readonly tree: string,
    private readonly store: LocalStore,
  ) {
    this.destination = { directory: tree, store, allowance: request.destination.allowance };
  }

  /**
   * Locks the backup. Rejects with `directory` while another process makes, prunes or heals snapshots of it, with
   * `usage` for an object store.
   */
  static async open(request: StageRequest): Promise<RepairStage> {
    const { destination, name } = request;
    if (destination.store instanceof ObjectStore)
      throw new TransferError('usage', 'A receiver does not repair snapshots in an object store.');
    const locked = await lockBackup(destination.directory, name);
    let own: Directory | undefined;
    try {
      own = await openPrivate(locked.own, ownName);
      const place = path.join(ownPlaceOf(destination.directory, name), ownName);
      const tree = path.join(place, treeName);
      await makePath(tree, 0o700);
      return new RepairStage(
        request,
        locked,
        own,
        tree,
        await LocalStore.open(tree, { path: place, lock: lockWordsOf(name) }),
      );
    } catch (error) {
      await own?.close();
      await locked.release();
      throw asTransferError(error, 'directory', `The backup ${printable(name)} cannot be repaired`);
    }
  }

  get id(): string {
    return this.request.name;
  }

  async earlier(entries: readonly OfferedFile[]): Promise<(Earlier | undefined)[]> {
    const catalog = new Catalog(this.request.destination.directory);
    const bySnapshot = new Map<string, Map<string, OfferedFile>>();
    for (const entry of entries) {
      const [id = '', ...rest] = entry.name.split('/');
      const files = bySnapshot.get(id) ?? new Map<string, OfferedFile>();
      bySnapshot.set(id, files.set(rest.join('/'), entry));
    }
    const found = new Map<OfferedFile, Earlier>();
    for (const [id, files] of bySnapshot) {
      if (!isSnapshotId(id)) continue;
      // What names no snapshot that can be believed is refused below.
      const snapshot = await catalog
        .find(`${this.request.name}/${id}`)
        .catch(ignored('what has no manifest repairs nothing'));
      const manifest =
        snapshot && (await catalog.manifest(snapshot).catch(ignored('what has no manifest repairs nothing')));
      for (const entry of manifest?.entries ?? []) {
        const offered = entry.type === 'file' ? files.get(entry.name) : undefined;
        if (
          !snapshot ||
          !manifest ||
          !offered ||
          entry.type !== 'file' ||
          entry.size !== offered.size ||
          entry.mtime !== offered.mtime
        )
          continue;
        this.wanted.set(offered.name, { entry, algorithm: manifest.head.digest });
        // Never linked: what is there is damaged, and good for the pieces that are not.
        found.set(offered, {
          file: {
            root: snapshot.directory,
            name: within(snapshot, entry.name).below as EntryName,
            size: entry.size,
            mode: entry.mode,
            mtime: entry.mtime,
          },
          digest: digestIn(entry, manifest.head.digest),
          unchanged: false,
          linkable: false,
        });
      }
    }
    return entries.map((entry) => found.get(entry));
  }

  refusal(name: EntryName): TransferError | undefined {
    return this.wanted.has(name)
      ? undefined
      : new TransferError('name', `${printable(name)} is no file of a snapshot here.`, { fileName: name, hint: '' });
  }

  stored(entry: Entry, digests: Digests = {}): void {
    const wanted = this.wanted.get(entry.name);
    if (entry.type === 'file' && wanted && digests[wanted.algorithm] === digestIn(wanted.entry, wanted.algorithm))
      this.here.add(entry.name);
  }

  missing(): void {
    // The sender knows; what does not come heals nothing.
  }

  alarm(): undefined {
    return undefined;
  }

  async commit(): Promise<undefined> {
    const { destination, name } = this.request;
    const healing = await Healing.open(destination.directory, name, this.own);
    try {
      for (const each of this.here) {
        const wanted = this.wanted.get(each);
        if (wanted) await healing.heal(path.join(this.tree, each), wanted.entry, wanted.algorithm);
      }
      this.healed = true;
    } catch (error) {
      throw diskError(error, { name });
    } finally {
      await healing.close();
    }
  }

  async leave(): Promise<void> {
    await this.store.close();
    await this.own.close();
    if (this.healed) await new Removal().remove(this.locked.own, ownName);
    await this.locked.release();
  }
}
