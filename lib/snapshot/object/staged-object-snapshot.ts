import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { condemnedKeys, refuseCondemned } from '../../store/object/condemned';
import type { ObjectStore } from '../../store/object/object-store';
import type { ContentLocation } from '../../store/object/records';
import { objectError } from '../../store/object/requests';
import type { StagedObjects } from '../../store/object/staged-objects';
import { StagedNames } from '../../store/object/staged-names';
import { ignored } from '../../trace';
import type { SourceCounts } from '../backup/shrinking';
import { otherOwner, type SnapshotInStage } from '../backup/staged-snapshot';
import { freeIdAfter } from '../backup/free-snapshot-id';
import type { ManifestHead } from '../manifest/manifest';
import type { Finished } from '../manifest/write-lists';
import type { RegisteredBackup } from '../register/register-text';
import type { ShrunkSource } from '../../progress';
import { writeManifest } from './manifest-object';
import { ObjectCatalog } from './object-catalog';
import {
  encodeSnapshotRecord,
  notedSources,
  parseSnapshotRecord,
  recordKey,
  type SnapshotRecord,
} from './snapshot-record';

/** Most attempts: each fails where another backup of the same name was faster. */
const mostAttempts = 100;
/** What is condemned is listed for longer than twice that, in ms. */
const longestBackup = 14 * 24 * 3_600_000;

/**
 * The next snapshot of a backup, before it is committed to an object store. Nothing is locked: two backups of one name
 * at once both become snapshots, one after the other. See `SnapshotInStage`; `commit` also rejects with `exists` where
 * a copy cannot keep its id, and with `mismatch` where what was written does not read back.
 */
export class StagedObjectSnapshot implements SnapshotInStage {
  readonly ours = true;
  private committed = false;
  private readonly began = Date.now();

  private constructor(
    private readonly objects: ObjectStore,
    readonly store: StagedObjects,
    readonly catalog: ObjectCatalog,
    readonly register: RegisteredBackup,
    private readonly condemned: ReadonlySet<string>,
    private readonly peer: string,
    /** Whether its id is that of another place, and stays. */
    private readonly keepsId: boolean,
  ) {}

  /** Rejects with `exists` where the name is that of another one's backup. */
  static async open(
    objects: ObjectStore,
    name: EntryName,
    peer: string,
    keepsId = false,
  ): Promise<StagedObjectSnapshot> {
    try {
      const { bucket, url } = objects;
      const catalog = new ObjectCatalog(bucket, url);
      const condemned = await condemnedKeys(bucket);
      const register = await registerOf(catalog, name, peer);
      const names = await StagedNames.open(
        bucket,
        { backup: name, peer, verified: objects.verified },
        ({ key }) => !condemned.has(key),
      );
      return new StagedObjectSnapshot(
        objects,
        objects.staged(names, name),
        catalog,
        register,
        condemned,
        peer,
        keepsId,
      );
    } catch (error) {
      throw objectError(error, `${objects.url} cannot be used for backups`);
    }
  }

  get name(): EntryName {
    return this.register.name;
  }

  get tree(): string {
    return this.objects.url;
  }

  /** What is about to go is as if it were not there. */
  usable({ content }: { readonly content?: ContentLocation | undefined }): boolean {
    return content === undefined || !this.condemned.has(content.key);
  }

  contentOf(name: string): ContentLocation | undefined {
    return this.store.names.file(name)?.content;
  }

  freeId(time: Date): Promise<ManifestHead['id']> {
    return Promise.resolve(freeIdAfter(this.register, time));
  }

  /**
   * Gives the snapshot its number: the manifest is written and read back, what it counts on is looked at among what is
   * condemned, and one conditional PUT makes it. Resolves with the head as it is then. Rejects with `disk`.
   */
  async commit(
    finished: Finished,
    counts: SourceCounts,
    shrunk: readonly ShrunkSource[],
    compared: number | undefined,
  ): Promise<ManifestHead> {
    const { bucket } = this.objects;
    try {
      const contents = contentsOf(finished);
      let { head } = finished;
      for (let attempt = 0; attempt < mostAttempts; attempt++) {
        const written = await writeManifest(bucket, { ...finished, head }, this.objects.trusts);
        // This machine may sleep between any two requests: its own manifest is old then.
        const needed = new Set([...contents, written.content]);
        await this.refuseLost(needed);
        const record: SnapshotRecord = {
          ...head,
          ...written,
          owner: this.peer,
          totals: finished.totals,
          verified: this.objects.verified,
          sources: notedSources(counts.asRecord()),
          shrunk: Object.fromEntries(shrunk.map(({ path, before }) => [path, before])),
          compared,
        };
        if (await this.take(record)) {
          await this.confirm(record, needed);
          this.committed = true;
          await this.store.names.forget().catch(ignored('notes that stay are removed when they are old'));
          return head;
        }
        await bucket.delete(written.content).catch(ignored('what is left is collected later'));
        const register = await registerOf(this.catalog, this.name, this.peer);
        if (this.keepsId && register.snapshots.some(({ id }) => id === head.id))
          throw new TransferError('exists', `${printable(`${this.name}/${head.id}`)} is there already.`);
        head = {
          ...head,
          number: nextNumber(register),
          id: this.keepsId ? head.id : freeIdAfter(register, new Date()),
        };
      }
      throw new TransferError('exists', `Too many backups ${printable(this.name)} are made at once.`);
    } catch (error) {
      throw objectError(error, 'The snapshot could not be made');
    }
  }

  /** What is staged and was not committed is noted for the next run. */
  async close(): Promise<void> {
    await this.store.close();
    if (!this.committed) await this.store.names.settle();
  }

  /** Rejects with `disk` where something that it needs is condemned, or was before the lists that are there now. */
  private async refuseLost(needed: ReadonlySet<string>): Promise<void> {
    refuseCondemned(needed, await condemnedKeys(this.objects.bucket));
    if (Date.now() - this.began > longestBackup)
      throw new TransferError('disk', 'This backup took longer than 14 days, and may count on what is gone by now.', {
        hint: 'Start the same backup again: what is there is not sent again.',
      });
  }

  /** Whether the snapshot has its number now. The answer to an earlier attempt may be lost. */
  private async take(record: SnapshotRecord): Promise<boolean> {
    const { bucket, keepsFree } = this.objects;
    const key = recordKey(record);
    if (keepsFree && (await bucket.put(key, encodeSnapshotRecord(record), 'free')) !== undefined) return true;
    const found = await bucket.get(key);
    if (found) return parseSnapshotRecord(found.text, key).content === record.content;
    if (keepsFree) return false;
    await bucket.put(key, encodeSnapshotRecord(record));
    return true;
  }

  /** A snapshot that took its number while what it counts on was condemned is taken back. */
  private async confirm(record: SnapshotRecord, needed: ReadonlySet<string>): Promise<void> {
    const { bucket } = this.objects;
    const key = recordKey(record);
    try {
      await this.refuseLost(needed);
    } catch (error) {
      await bucket.delete(key);
      throw error;
    }
    if (this.objects.trusts) return;
    const found = await bucket.get(key);
    if (!found || parseSnapshotRecord(found.text, key).content !== record.content)
      throw new TransferError('mismatch', 'The record of the snapshot does not read back from the object store.');
  }
}

/** Objects with the bytes of a snapshot. */
export function contentsOf({ entries }: Pick<Finished, 'entries'>): ReadonlySet<string> {
  return new Set(entries.flatMap((entry) => (entry.type === 'file' && entry.content ? [entry.content.key] : [])));
}

function nextNumber({ snapshots }: RegisteredBackup): number {
  return (snapshots.at(-1)?.number ?? 0) + 1;
}

async function registerOf(catalog: ObjectCatalog, name: EntryName, peer: string): Promise<RegisteredBackup> {
  const snapshots = (await catalog.snapshots(name)).map(({ entry }) => entry);
  const owner = snapshots[0]?.owner ?? peer;
  if (owner !== peer) throw otherOwner(name, catalog.directory);
  return { name, owner, snapshots };
}
