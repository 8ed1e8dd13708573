import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { AlignedMemory, type Lease } from '../../threads/aligned-memory';
import type { DirectoryEntry, SymlinkEntry } from '../../wire/session-list';
import { longestBundle } from '../../wire/session-message';
import type {
  Batch,
  BatchLimits,
  BatchOutcome,
  DirectoryTime,
  EarlierFile,
  ExistingContent,
  OfferedFile,
  SmallFile,
  StoreUse,
} from '../session-store';
import type { Committed, Lost } from '../store';
import type { Digests } from '../../progress';
import { digestContent } from './contents';
import { ExistingObject } from './existing-object';
import type { ObjectGround } from './ground';
import type { Published } from './names';
import { notAsSent, Pack } from './pack';
import { fileRecord, metadataLost, metadataOf, neverPublished, sameContent } from './publish-file';
import { type FileRecord, newRecordId } from './records';
import { objectError } from './requests';
import { ignored } from '../../trace';

/** Bundles that may be in memory at once. */
const bundles = 8;
/** Records that are written at once. */
const recordsAtOnce = 24;
/** The records of one batch are as many requests as a store likes. */
const limits: BatchLimits = { entries: 4096, bytes: 48 * 1024 * 1024, waits: 1_000, commits: 1 };
/** A snapshot is made of whole packs, each of which costs, however small, and nobody else waits for single files. */
const limitsOfSnapshot: BatchLimits = { ...limits, waits: 8_000 };

/** An entry of the open batch and what commits it. */
interface ObjectEntry {
  readonly file: number;
  /** Of a small file. */
  readonly pack?: Pack;
  readonly commit: () => Promise<BatchOutcome>;
}

/**
 * `Batch` in an object store: packs of small files, and a record for each name. See the contract for each method.
 * Failures of the store come out of `commit` and the like as `disk` or `space`, beside `mismatch`, `exists` and `name`.
 */
export class ObjectBatch implements Batch {
  readonly memory = new AlignedMemory(longestBundle, bundles, true);
  readonly limits: BatchLimits;
  private entries: ObjectEntry[] = [];
  private packs: Pack[] = [];

  constructor(
    private readonly use: StoreUse,
    private readonly ground: ObjectGround,
  ) {
    this.limits = ground.contents === 'snapshots' ? limitsOfSnapshot : limits;
  }

  get open(): { readonly entries: number; readonly bytes: number } {
    return { entries: this.entries.length, bytes: this.packs.reduce((sum, { length }) => sum + length, 0) };
  }

  warm(): void {
    // Nothing here takes long to start.
  }

  async write(lease: Lease, files: readonly SmallFile[]): Promise<void> {
    try {
      await this.ground.parts.room();
      let at = 0;
      for (const small of files) {
        const { size = 0, file } = small.entry;
        const pack = this.pack(small, lease.bytes.subarray(at, at + size));
        const packed = pack.files - 1;
        at += size;
        this.entries.push({ file, pack, commit: () => this.commitFile(small, pack, packed) });
      }
    } finally {
      lease.release();
    }
  }

  existing(file: SmallFile, content: ExistingContent): void {
    if (!(content instanceof ExistingObject)) throw new TypeError('This content was not read by this store.');
    const { entry } = file;
    const found = content.record;
    this.entries.push({
      file: entry.file,
      commit: async () =>
        this.use.ifExists === 'replace'
          ? this.touch(entry, found.digests)
          : { path: entry.name, outcome: 'identical', verified: this.ground.verified },
    });
  }

  symlink(entry: SymlinkEntry): void {
    const { file, name, target, mtime } = entry;
    const record = { type: 'symlink', id: newRecordId(), target, mtime, ...metadataOf(entry, this.use) } as const;
    this.entries.push({
      file,
      commit: async () =>
        this.committed(
          await this.ground.names.publish(name, record, this.use.ifExists, (existing) =>
            Promise.resolve(existing.type === 'symlink' && existing.target === target),
          ),
          metadataLost(entry, this.use),
        ),
    });
  }

  directory({ file, name }: DirectoryEntry): void {
    this.entries.push({
      file,
      commit: async () => {
        const made = await this.ground.names.makeDirectory(name, { type: 'directory', id: newRecordId() });
        return made ? 'stored' : { path: name, outcome: 'identical', verified: this.ground.verified };
      },
    });
  }

  async commit(): Promise<ReadonlyMap<number, BatchOutcome>> {
    const packs = this.packs;
    const all = this.entries;
    // The last pack of a snapshot is left to the next commit, unless there is no other one: more may come into it.
    const unfilled = this.ground.contents === 'snapshots' && packs.length > 1 ? packs.pop() : undefined;
    this.packs = unfilled ? [unfilled] : [];
    this.entries = unfilled ? all.filter(({ pack }) => pack === unfilled) : [];
    const entries = unfilled ? all.filter(({ pack }) => pack !== unfilled) : all;
    try {
      return await this.commitAll(entries, await storeAll(packs));
    } finally {
      await Promise.all(packs.map((pack) => pack.removeIfUnused()));
    }
  }

  /** Bytes that never change may have any number of names; only that they are one file is lost. */
  link(
    entries: readonly { readonly file: number; readonly name: EntryName; readonly target: EntryName }[],
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    return this.commitAll(
      entries.map(({ file, name, target }) => ({
        file,
        commit: async () => {
          const found = await this.ground.names.look(target);
          if (found?.record.type !== 'file')
            throw new TransferError('exists', `${printable(target)} is not stored here.`, {
              hint: 'See what became of that file, and send both again.',
            });
          // A manifest says of which file it is another name.
          if (this.ground.contents === 'snapshots') return 'stored';
          const record: FileRecord = { ...found.record, id: newRecordId() };
          const published = await this.publishFile(name, record);
          const committed = this.committed(published, ['link']);
          return committed === 'stored' ? committed : { ...committed, kept: { apart: true }, lost: ['link'] };
        },
      })),
    );
  }

  /** The same bytes, where they are; read back where that is demanded. */
  linkEarlier(
    files: readonly (SmallFile & { readonly earlier: EarlierFile })[],
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    return this.commitAll(
      files.map(({ entry, digest, earlier: { size, content, readBack } }) => ({
        file: entry.file,
        commit: async () => {
          const { algorithm } = this.use;
          const stored = { size, content };
          if (readBack !== undefined && (await digestContent(this.ground.bucket, stored, algorithm)) !== readBack)
            throw new TransferError('mismatch', `${printable(entry.name)} does not read back as it was stored.`);
          const record = fileRecord({ ...entry, size }, this.use, { [algorithm]: digest }, content, this.ground);
          await this.ground.names.write(entry.name, record);
          return 'stored';
        },
      })),
    );
  }

  retouch(files: readonly (OfferedFile & { readonly digests: Digests })[]): Promise<ReadonlyMap<number, BatchOutcome>> {
    return this.commitAll(files.map((entry) => ({ file: entry.file, commit: () => this.touch(entry, entry.digests) })));
  }

  finishDirectories(entries: readonly DirectoryEntry[]): Promise<ReadonlyMap<number, BatchOutcome>> {
    return this.commitAll(
      entries.map((entry) => ({
        file: entry.file,
        commit: async () => {
          const { name, mode, mtime } = entry;
          const record = { type: 'directory', id: newRecordId(), mode, mtime, ...metadataOf(entry, this.use) } as const;
          // A directory never becomes anything else, so that nothing else is written over.
          await this.ground.names.write(name, record);
          return this.committed({ path: name, outcome: 'stored', record }, metadataLost(entry, this.use));
        },
      })),
    );
  }

  /** What comes into a directory does not touch its record. */
  putTimesBack(directories: readonly DirectoryTime[]): Promise<ReadonlyMap<number, BatchOutcome>> {
    return Promise.resolve(new Map(directories.map(({ file }) => [file, 'stored'])));
  }

  /** Throws away what was not committed. */
  async close(): Promise<void> {
    this.entries = [];
    await Promise.all(this.packs.splice(0).map((pack) => pack.removeIfUnused()));
  }

  /** The pack that takes a file, which it has taken. One that is full is sent at once. */
  private pack({ digest }: SmallFile, bytes: Uint8Array): Pack {
    const last = this.packs[this.packs.length - 1];
    if (last?.add(bytes, digest)) return last;
    void last?.store().catch(ignored('whoever commits is told'));
    const pack = new Pack(this.ground, this.use.algorithm);
    pack.add(bytes, digest);
    this.packs.push(pack);
    return pack;
  }

  private async commitFile({ entry, digest }: SmallFile, pack: Pack, packed: number): Promise<BatchOutcome> {
    if ((await pack.store()).has(packed)) throw notAsSent(entry.name);
    const { size = 0 } = entry;
    const digests = { [this.use.algorithm]: digest };
    const content = size === 0 ? undefined : { key: pack.key, offset: pack.startOf(packed) };
    const record = fileRecord({ ...entry, size }, this.use, digests, content, this.ground);
    // Who makes a snapshot looks at all that it needs at once.
    if (this.ground.contents === 'names') await pack.mayBeNamed();
    pack.used++;
    try {
      const published = await this.publishFile(entry.name, record);
      if (published.outcome === 'identical') pack.used--;
      return this.committed(published, metadataLost(entry, this.use));
    } catch (error) {
      if (neverPublished(error)) pack.used--;
      throw error;
    }
  }

  private publishFile(name: EntryName, record: FileRecord): Promise<Published> {
    const { ground, use } = this;
    return ground.names.publish(name, record, use.ifExists, (existing) => sameContent(existing, record, use, ground));
  }

  /** Gives a file that is there the mode and mtime that were offered, if it is still the one that is meant. */
  private async touch(entry: OfferedFile, digests: Digests): Promise<BatchOutcome> {
    const { abilities, names, verified } = this.ground;
    const { algorithm } = this.use;
    const { name, mode, mtime, ctime } = entry;
    const committed: Committed = { path: name, outcome: 'identical', verified };
    const found = await names.look(name);
    const record = found?.record;
    if (found === undefined || record?.type !== 'file' || record.digests[algorithm] !== digests[algorithm])
      throw new TransferError('exists', 'Another one has changed it meanwhile.', {
        fileName: name,
        hint: 'Send it again.',
      });
    if (record.mode === mode && record.mtime === mtime && record.ctime === ctime) return committed;
    const touched = { ...record, id: newRecordId(), mode, mtime, ctime, ...metadataOf(entry, this.use) };
    if (abilities.replace && (await names.writeOver(name, touched, found))) return committed;
    // Where nobody keeps a store from writing over what another one has put there, it is left as it is.
    const kept = {
      ...(record.mode !== undefined && record.mode !== mode ? { mode: record.mode } : {}),
      ...(record.mtime !== undefined && record.mtime !== mtime ? { mtime: record.mtime } : {}),
    };
    const lost = Object.keys(kept) as Lost[];
    return lost.length === 0 ? committed : { ...committed, kept, lost };
  }

  private committed({ path, outcome }: Published, lost: readonly Lost[]): 'stored' | Committed {
    const without = lost.length > 0 && outcome !== 'identical';
    if (outcome === 'stored' && !without) return 'stored';
    return { path, outcome, verified: this.ground.verified, ...(without ? { lost } : {}) };
  }

  /** Several at once; the outcomes are in the order in which the entries came. */
  private async commitAll(
    entries: readonly ObjectEntry[],
    failed?: TransferError,
  ): Promise<ReadonlyMap<number, BatchOutcome>> {
    const outcomes = new Map<number, BatchOutcome>();
    for (const { file } of entries) outcomes.set(file, failed ?? 'stored');
    if (failed) return outcomes;
    let next = 0;
    const work = async (): Promise<void> => {
      for (let entry = entries[next++]; entry; entry = entries[next++])
        outcomes.set(
          entry.file,
          await entry.commit().catch((error: unknown) => objectError(error, 'It could not be stored')),
        );
    };
    await Promise.all(Array.from({ length: Math.min(recordsAtOnce, entries.length) }, work));
    return outcomes;
  }
}

/** Why a pack could not be stored: then nothing of the batch is. */
async function storeAll(packs: readonly Pack[]): Promise<TransferError | undefined> {
  const stored = await Promise.allSettled(packs.map((pack) => pack.store()));
  const failed = stored.find((each) => each.status === 'rejected');
  return failed && objectError(failed.reason, 'Small files could not be stored');
}
