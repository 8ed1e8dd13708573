import { asTransferError, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests, Verified } from '../../progress';
import { trace } from '../../trace';
import type {
  EarlierFile,
  Existing,
  ExistingContent,
  ExistingDirectory,
  OfferedFile,
  PartialFile,
  Room,
  SessionStore,
  StoreUse,
} from '../session-store';
import { digestContent } from './contents';
import { ExistingObject } from './existing-object';
import type { ObjectGround } from './ground';
import { ObjectBatch } from './object-batch';
import type { ObjectPartial } from './partial';
import type { FileRecord, NameRecord } from './records';
import { objectError } from './requests';
import { largestObject } from './upload';

/** Names that are looked up at once, and contents that are read at once. */
const looksAtOnce = 24;
const readsAtOnce = 4;

/** Opens the unfinished file of an offer, and ends what still uses it. */
export type TakePartial = (offer: OfferedFile, use: StoreUse) => Promise<ObjectPartial>;

/**
 * `SessionStore` in an object store. See the contract for each method; a store that does not answer is `disk`, and
 * `admit` refuses with `size` what is larger than 625 GiB.
 */
export class ObjectSession implements SessionStore {
  readonly algorithm: StoreUse['algorithm'];
  readonly verified: Verified;
  readonly batch: ObjectBatch;

  constructor(
    private readonly use: StoreUse,
    private readonly ground: ObjectGround,
    private readonly takePartial: TakePartial,
  ) {
    this.algorithm = use.algorithm;
    this.verified = ground.verified;
    this.batch = new ObjectBatch(use, ground);
  }

  lookup(files: readonly OfferedFile[]): Promise<(Existing | undefined)[]> {
    return eachOf(files, looksAtOnce, async (file) => {
      const record = await this.look(file.name);
      if (record === undefined) return undefined;
      const { mode, mtime } = record;
      return {
        kind: record.type,
        size: record.type === 'file' ? record.size : 0,
        known: this.known(file, record),
        asOffered: (file.mode ?? mode) === mode && (file.mtime ?? mtime) === mtime,
        ...(record.type === 'symlink' && { target: record.target }),
        identity: identityOf(record),
      };
    });
  }

  read(files: readonly OfferedFile[]): Promise<(ExistingContent | undefined)[]> {
    return eachOf(files, readsAtOnce, async ({ name }) => {
      const record = await this.look(name);
      if (record?.type !== 'file') return undefined;
      const digest = await this.digestOf(record);
      return digest === undefined ? undefined : new ExistingObject(record, digest);
    });
  }

  async check({ name, size }: OfferedFile, digests: Digests, onProgress: (done: number) => void) {
    const found = await this.ground.names.look(name).catch(diskError);
    if (found?.record.type !== 'file' || found.record.size !== size) return undefined;
    const digest = await this.digestOf(found.record, onProgress);
    if (digest === undefined || digest !== digests[this.algorithm]) return undefined;
    const verifiedAt = new Date().toISOString();
    // Where the store does not keep us from writing over another one's record, the old time stays in it.
    if (this.ground.abilities.replace)
      await this.ground.names
        .writeOver(name, { ...found.record, verified: 'store', verifiedAt }, found)
        .catch((error: unknown) => trace('when %s was read back is not kept: %o', name, error));
    return verifiedAt;
  }

  directories(names: readonly EntryName[]): Promise<(ExistingDirectory | undefined)[]> {
    return eachOf(names, looksAtOnce, async (name) => {
      const record = await this.look(name);
      return record === undefined || (record.type === 'directory' && record.mode === undefined)
        ? undefined
        : { mtime: record.mtime ?? 0n };
    });
  }

  owns(names: readonly EntryName[]): Promise<boolean[]> {
    return eachOf(names, looksAtOnce, async (name) => {
      const record = await this.look(name);
      return record?.type === 'file' && record.peer === this.use.peer;
    });
  }

  /** A store has as much room as it has, and says so when it has none left. */
  admit(files: readonly OfferedFile[]): Promise<(Room | TransferError)[]> {
    return Promise.resolve(
      files.map(({ name, size = 0 }) =>
        size > largestObject
          ? new TransferError('size', `${printable(name)} is larger than an object store takes from here: 625 GiB.`)
          : anyRoom,
      ),
    );
  }

  partial(entry: OfferedFile, _basis: 'existing' | EarlierFile | undefined): Promise<PartialFile> {
    return this.takePartial(entry, this.use);
  }

  release(): Promise<void> {
    return this.batch.close();
  }

  /** What is at a name; a name that no store takes has nothing, and is refused when it is to be stored. */
  private async look(name: EntryName): Promise<NameRecord | undefined> {
    const found = await this.ground.names.look(name).catch((error: unknown) => {
      if (error instanceof TransferError && error.code === 'name') return undefined;
      return diskError(error);
    });
    return found?.record;
  }

  private known({ size, mtime, ctime }: OfferedFile, record: NameRecord): Existing['known'] {
    if (record.type !== 'file' || record.peer !== this.use.peer || record.digests[this.algorithm] === undefined)
      return undefined;
    // Who only took a store's word has not read it.
    if (this.verified === 'store' && record.verified !== 'store') return undefined;
    const same = record.size === size && record.mtime === mtime && ctime !== undefined && record.ctime === ctime;
    return same ? { digests: record.digests, verifiedAt: record.verifiedAt } : undefined;
  }

  private async digestOf(record: FileRecord, onProgress?: (done: number) => void): Promise<string | undefined> {
    try {
      return await digestContent(this.ground.bucket, record, this.algorithm, onProgress);
    } catch (error) {
      trace('what the object store has cannot be read: %o', error);
      return undefined;
    }
  }
}

const anyRoom: Room = {
  grow: () => Promise.resolve(),
  wrote: () => undefined,
  settle: () => undefined,
  suspend: () => undefined,
};

function diskError(error: unknown): never {
  throw asTransferError(objectError(error, 'The object store does not answer'), 'disk', 'The object store failed');
}

/** Does it for each, several at once, with the results in their order. */
async function eachOf<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  action: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const left = items.entries();
  const work = async (): Promise<void> => {
    for (const [at, item] of left) results[at] = await action(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, work));
  return results;
}

/** A file and its links have the same bytes, and a record each. */
function identityOf(record: NameRecord): string {
  if (record.type !== 'file') return record.id;
  if (record.content === undefined) return 'empty';
  const { key, offset } = record.content;
  return `${key} ${String(offset)}`;
}
