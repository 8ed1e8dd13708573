import path from 'node:path';
import { asTransferError, type TransferError } from '../../errors';
import { makePath } from '../../make-path';
import { type EntryName, printable } from '../../name';
import type { Digests } from '../../progress';
import type { Entry, FileEntry as OfferedFile } from '../../wire/session-list';
import type { Directory } from '../../store/local/directory';
import { LocalStore } from '../../store/local/local';
import { openPrivate } from '../../store/local/receive-directory';
import { diskError } from '../../store/local/disk-error';
import type { Destination } from '../../receive/destinations';
import type { Earlier, SnapshotStage, StageRequest } from '../../receive/snapshot-stage';
import { lockBackup, type LockedBackup, lockWordsOf } from '../backup/backup-lock';
import { Catalog, within } from '../manifest/catalog';
import { digestIn } from '../verify/compare';
import { Healing } from './healing';
import { Removal } from '../prune/removal';
import { ownPlaceOf } from '../register/register';
import { WantedFiles } from './wanted-files';

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
  private readonly wanted: WantedFiles;
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
    const { directory, allowance } = request.destination;
    this.destination = { directory: tree, store, allowance };
    this.wanted = new WantedFiles(new Catalog(directory), request.name);
  }

  /** Locks the backup. Rejects with `directory` while another process makes, prunes or heals snapshots of it. */
  static async open(request: StageRequest): Promise<RepairStage> {
    const { destination, name } = request;
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
    return (await this.wanted.find(entries)).map((found) => {
      if (!found) return undefined;
      const { snapshot, entry, algorithm } = found;
      // Never linked: what is there is damaged, and good for the pieces that are not.
      return {
        file: {
          root: snapshot.directory,
          name: within(snapshot, entry.name).below as EntryName,
          size: entry.size,
          mode: entry.mode,
          mtime: entry.mtime,
        },
        digest: digestIn(entry, algorithm),
        unchanged: false,
        linkable: false,
      };
    });
  }

  refusal(name: EntryName): TransferError | undefined {
    return this.wanted.refusal(name);
  }

  stored(entry: Entry, digests: Digests = {}): void {
    if (this.wanted.isWanted(entry, digests)) this.here.add(entry.name);
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
