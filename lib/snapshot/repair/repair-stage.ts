import path from 'node:path';
import { asTransferError } from '../../errors';
import { makePath } from '../../make-path';
import { type EntryName, printable } from '../../name';
import type { FileEntry as OfferedFile } from '../../wire/session-list';
import type { Directory } from '../../store/local/directory';
import { LocalStore } from '../../store/local/local';
import { openPrivate } from '../../store/local/receive-directory';
import { diskError } from '../../store/local/disk-error';
import type { Destination } from '../../receive/destinations';
import type { Earlier, StageRequest } from '../../receive/snapshot-stage';
import { lockBackup, type LockedBackup, lockWordsOf } from '../backup/backup-lock';
import { Catalog, within } from '../manifest/catalog';
import { digestIn } from '../verify/compare';
import { Healing } from './healing';
import { HealingStage } from './healing-stage';
import { Removal } from '../prune/removal';
import { ownPathOf } from '../register/register';

/** Beside the snapshots: what is kept while files are brought to heal them. */
const ownName = 'repair';
const treeName = 'tree';

/** On a disk: what is here replaces every damaged file of the backup that should be the same. */
export class RepairStage extends HealingStage {
  readonly destination: Destination;

  private constructor(
    private readonly request: StageRequest,
    private readonly locked: LockedBackup,
    private readonly own: Directory,
    private readonly tree: string,
    private readonly store: LocalStore,
  ) {
    const { directory, allowance } = request.destination;
    super(request.name, new Catalog(directory));
    this.destination = { directory: tree, store, allowance };
  }

  /** Locks the backup. Rejects with `directory` while another process makes, prunes or heals snapshots of it. */
  static async open(request: StageRequest): Promise<RepairStage> {
    const { destination, name } = request;
    const locked = await lockBackup(destination.directory, name);
    let own: Directory | undefined;
    try {
      own = await openPrivate(locked.own, ownName);
      const pathname = path.join(ownPathOf(destination.directory, name), ownName);
      const tree = path.join(pathname, treeName);
      await makePath(tree, 0o700);
      return new RepairStage(
        request,
        locked,
        own,
        tree,
        await LocalStore.open(tree, { path: pathname, lock: lockWordsOf(name) }),
      );
    } catch (error) {
      await own?.close();
      await locked.release();
      throw asTransferError(error, 'directory', `The backup ${printable(name)} cannot be repaired`);
    }
  }

  async earlier(entries: readonly OfferedFile[]): Promise<(Earlier | undefined)[]> {
    return (await this.wanted.find(entries)).map((found) => {
      if (!found) return undefined;
      const { snapshot, entry, algorithm } = found;
      // Never linked: the existing file is damaged, but its intact pieces need not be sent.
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
