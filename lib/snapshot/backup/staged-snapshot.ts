import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, errnoOf } from '../../errors';
import { type EntryName, printable } from '../../name';
import { Directory } from '../../store/local/directory';
import { LocalStore } from '../../store/local/local';
import { diskError } from '../../store/local/staged-bytes';
import { openPrivate, removeEmpty, stagingName } from '../../store/local/receive-directory';
import { lockWordsOf, ownPlaceOf, snapshotsName } from './backup-lock';
import { latestName } from '../manifest/catalog';
import { checksumLines, checksumListName } from '../manifest/checksum-list';
import { type ManifestEntry, ManifestEncoder, type ManifestHead, manifestName, type ManifestTotals } from '../manifest/manifest';
import { removeForeign } from '../prune/remove-foreign';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
const treeName = 'tree';
const ownerName = 'owner';
const stagerName = 'stager';
/** Lines are written so many characters at a time. */
const writtenAtOnce = 256 * 1024;

/** What a snapshot will be when it is complete. */
export interface Finished {
  readonly head: ManifestHead;
  /** Sorted by name. */
  readonly entries: readonly ManifestEntry[];
  readonly totals: ManifestTotals;
}

/** The next snapshot of a backup in its private place, and the step from there to its final name. */
export class StagedSnapshot {
  private committed = false;

  private constructor(
    private readonly directory: string,
    readonly name: EntryName,
    private readonly own: string,
    /** Whether an earlier run has left something in it. */
    private readonly resumed: boolean,
    /** Whether all that is staged was brought by this peer. */
    readonly ours: boolean,
    /** Where its files are received. */
    readonly store: LocalStore,
    /** The peer that made the snapshot before; undefined where nobody knows. */
    readonly owner: string | undefined,
  ) {}

  /** Locks the backup and opens its staged snapshot, made if there is none; `peer` is who brings it. Rejects with `directory`. */
  static async open(directory: string, name: EntryName, peer: string): Promise<StagedSnapshot> {
    try {
      return await StagedSnapshot.make(directory, name, peer);
    } catch (error) {
      throw asTransferError(error, 'directory', `${printable(directory)} cannot be used for backups`);
    }
  }

  private static async make(directory: string, name: EntryName, peer: string): Promise<StagedSnapshot> {
    const own = ownPlaceOf(directory, name);
    await makeOwn(directory, name);
    const tree = path.join(own, treeName);
    const resumed = await mkdir(tree).then(
      () => false,
      (error: unknown) => {
        if (errnoOf(error) === 'EEXIST') return true;
        throw error;
      },
    );
    const store = await LocalStore.open(tree, { path: own, lock: lockWordsOf(name) });
    try {
      const [owner, stager] = await Promise.all([ownerName, stagerName].map((file) => readFile(path.join(own, file), 'utf8').catch(() => undefined)));
      const ours = !resumed || stager === peer;
      await writeFile(path.join(own, stagerName), ours ? peer : '', { mode: 0o600 });
      return new StagedSnapshot(directory, name, own, resumed, ours, store, owner);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** Its path while it is staged. */
  get tree(): string {
    return path.join(this.own, treeName);
  }

  /**
   * Gives it its final name: everything in it is durable already, then the list of digests, the manifest last of all, and one
   * rename. What an earlier run left and this one does not know is removed. Rejects with `disk` or `space`.
   */
  async commit(finished: Finished, owner: string): Promise<void> {
    try {
      await this.finish(finished, owner);
    } catch (error) {
      throw diskError(error, this);
    }
  }

  private async finish(finished: Finished, owner: string): Promise<void> {
    const { id } = finished.head;
    await this.removeLeftovers(finished);
    const { digest } = finished.head;
    await this.write(checksumListName(digest), checksumLines(finished.entries, digest));
    await this.write(manifestName, manifestLines(finished));
    await syncDirectory(this.tree);
    const root = await Directory.open(this.directory, true);
    try {
      await mkdir(root.at(this.name)).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
      await root.sync();
      const home = await Directory.open(root.at(this.name));
      try {
        await rename(this.tree, home.at(id));
        await home.sync();
        this.committed = true;
        await this.pointTo(home, id);
      } finally {
        await home.close();
      }
    } finally {
      await root.close();
    }
    await syncDirectory(this.own);
    // A change as well: where the disk takes none any more, nothing of this is believed (`Directory.confirm`).
    await this.forget(owner);
  }

  /** Unlocks the backup. What is staged and was not committed stays for the next run. */
  async close(): Promise<void> {
    try {
      // Where nothing came, nothing is left.
      if (!this.committed) await removeEmpty(this.tree);
    } finally {
      await this.store.close();
    }
    if (!this.committed) return;
    // The snapshot is made: what stays of these now is overwritten for the next one.
    for (const file of [stagerName, 'receipts']) await rm(path.join(this.own, file), { force: true }).catch(() => undefined);
  }

  /** What an earlier run has left, and what was refused when it had its name already, since its directory could not be flushed. */
  private async removeLeftovers({ entries, totals }: Finished): Promise<void> {
    if (!this.resumed && totals.missing === 0) return;
    for (const name of [manifestName, checksumListName('sha256'), checksumListName('md5'), checksumListName('blake3')]) await rm(path.join(this.tree, name), { force: true });
    await removeForeign(this.tree, entries);
  }

  private async write(name: string, lines: Iterable<string>): Promise<void> {
    const file = await open(path.join(this.tree, name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666);
    try {
      await writeLines(file, lines);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** `latest` is for people and scripts; whoever needs to know looks at the numbers. */
  private async pointTo(home: Directory, id: string): Promise<void> {
    const fresh = path.join(this.own, latestName);
    await rm(fresh, { force: true });
    await symlink(id, fresh);
    await rename(fresh, home.at(latestName));
    await home.sync();
  }

  /** What was kept for this snapshot is of no use for the next one. */
  private async forget(owner: string): Promise<void> {
    const file = await open(path.join(this.own, ownerName), 'w', 0o600);
    try {
      await file.writeFile(owner);
    } finally {
      await file.close();
    }
  }
}

/** `.sendall/snapshots/NAME` in the receive directory, each of them private to us. */
async function makeOwn(directory: string, name: EntryName): Promise<void> {
  const opened = [await Directory.open(directory, true)];
  try {
    for (const each of [stagingName, snapshotsName, name]) {
      const parent = opened.at(-1);
      if (parent) opened.push(await openPrivate(parent, each));
    }
  } finally {
    await Promise.all(opened.map((each) => each.close()));
  }
}

async function syncDirectory(place: string): Promise<void> {
  const directory = await Directory.open(place);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function writeLines(file: FileHandle, lines: Iterable<string>): Promise<void> {
  let text = '';
  for (const line of lines) {
    text += line;
    if (text.length < writtenAtOnce) continue;
    await file.writeFile(text);
    text = '';
  }
  await file.writeFile(text);
}

function* manifestLines({ head, entries, totals }: Finished): Generator<string> {
  const encoder = new ManifestEncoder();
  yield encoder.head(head);
  for (const entry of entries) yield encoder.entry(entry);
  yield encoder.end(totals);
}
