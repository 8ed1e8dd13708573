import { asTransferError, TransferError } from '../../errors';
import { type EntryName, parseEntryName } from '../../name';
import type { Bucket } from '../../store/object/bucket';
import { nameOfEscaped } from '../../store/object/records';
import { objectError } from '../../store/object/requests';
import { notingContent, SourceCounts } from '../backup/shrinking';
import type { OwnedSnapshots, Snapshot } from '../manifest/snapshot-catalog';
import { SnapshotCatalog } from '../manifest/snapshot-catalog';
import type { RegisteredSnapshot } from '../register/register-text';
import { parseSnapshotRecord, recordKey, recordsOf, type SnapshotRecord, snapshotsPrefix } from './snapshot-record';

/** A snapshot in an object store. */
export interface ObjectSnapshot extends Snapshot {
  readonly record: SnapshotRecord;
  /** The number of the snapshot before, which by this record was the last one to have what sources have lost. */
  readonly compared: number | undefined;
}

const readAtOnce = 16;
/** Bytes of a manifest that are read at a time. */
const pieceSize = 8 * 1024 * 1024;

/**
 * The snapshots in an object store, as their records and manifests say. Methods reject as those of `SnapshotCatalog`,
 * and with `disk` where the store does not answer.
 */
export class ObjectCatalog extends SnapshotCatalog {
  /** `directory` is the URL of the store. */
  constructor(
    readonly bucket: Bucket,
    readonly directory: string,
  ) {
    super();
  }

  async names(): Promise<EntryName[]> {
    const names = new Set<EntryName>();
    for await (const { key } of this.bucket.list(snapshotsPrefix)) {
      const name = nameOfEscaped(key.slice(snapshotsPrefix.length, key.lastIndexOf('/')));
      names.add(parseEntryName(name));
    }
    return [...names].sort();
  }

  async snapshots(name: EntryName): Promise<ObjectSnapshot[]> {
    const records = await this.records(name);
    let entries: RegisteredSnapshot[] = [];
    for (const [at, record] of records.entries()) {
      const shrunk = Object.entries(record.shrunk).map(([path, had]) => ({
        path,
        before: had,
        entries: record.sources[path] ?? 0,
      }));
      const { number, id, owner, manifest, size } = record;
      entries = [
        ...notingContent(entries, SourceCounts.from(record.sources), shrunk, comparedWith(records, at)),
        { number, id, owner, manifest, size },
      ];
    }
    return records.map((record, at) => ({
      name,
      id: record.id,
      pathname: `${this.directory.replace(/\/$/, '')}/${recordKey(record)}`,
      directory: this.directory,
      entry: entries[at] as RegisteredSnapshot,
      head: record,
      lost: false,
      record,
      compared: comparedWith(records, at),
    }));
  }

  async owned(name: EntryName): Promise<OwnedSnapshots> {
    const snapshots = await this.snapshots(name);
    return { owner: snapshots[0]?.entry.owner, snapshots };
  }

  /** The records of a backup, the oldest first. Rejects with `mismatch` for one that is damaged. */
  async records(name: string): Promise<SnapshotRecord[]> {
    const keys: string[] = [];
    for await (const { key } of this.bucket.list(recordsOf(name))) keys.push(key);
    const records: SnapshotRecord[] = [];
    for (let at = 0; at < keys.length; at += readAtOnce) {
      const read = await Promise.all(
        keys.slice(at, at + readAtOnce).map(async (key) => {
          const found = await this.bucket.get(key);
          return found && parseSnapshotRecord(found.text, key);
        }),
      );
      // One that is gone was pruned in the meantime.
      records.push(...read.filter((record) => record !== undefined));
    }
    return records;
  }

  /** Whether the manifest of a snapshot is there, as long as it should be. */
  async hasManifest({ record: { content, size } }: ObjectSnapshot): Promise<boolean> {
    return (await this.bucket.sizeOf(content)) === size;
  }

  protected hint(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  protected async *bytesOf(snapshot: Snapshot): AsyncGenerator<Uint8Array> {
    const { content, size } = (snapshot as ObjectSnapshot).record;
    try {
      for (let at = 0; at < size; at += pieceSize) {
        const pieces: Buffer[] = [];
        await this.bucket.read(content, at, Math.min(pieceSize, size - at), (bytes) => pieces.push(bytes));
        yield* pieces;
      }
    } catch (error) {
      const failure = objectError(error, 'A manifest cannot be read');
      throw failure.code === 'mismatch'
        ? new TransferError('mismatch', 'A manifest is missing in the object store, or shorter than it was.', {
            cause: error,
            hint: 'Nothing in this snapshot is vouched for. Verify the others.',
          })
        : asTransferError(failure, 'disk', 'A manifest cannot be read');
    }
  }
}

function comparedWith(records: readonly SnapshotRecord[], at: number): number | undefined {
  return records[at]?.compared ?? records[at - 1]?.number;
}
