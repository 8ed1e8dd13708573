import { asTransferError, TransferError } from '../../errors';
import { AlignedMemory } from '../../threads/aligned-memory';
import { ignored, trace } from '../../trace';
import { pieceSize } from '../../wire/segment';
import type { KeptFiles } from '../limited';
import type { StoreRoot, SessionStore, StoreUse } from '../session-store';
import { formatObjectUrl, isObjectUrl, type ObjectAddress, parseObjectUrl } from '../../object-address';
import { Bucket, type SmallObject } from './bucket';
import { contentPrefixes } from './contents';
import type { ObjectGround } from './ground';
import { ObjectNames } from './names';
import { ObjectSession } from './object-session';
import { OpenPartials } from './open-partials';
import { partialsPrefix } from './partial-record';
import { PartMemory } from './part-memory';
import { probeStore } from './probe';
import type { ObjectVerified } from './records';
import { objectError, type BucketLocation, type RequestDeadlines } from './requests';
import { type StagedNames, stagesPrefix } from './staged-names';
import { StagedObjects } from './staged-objects';

/** Which object store it is, and what whoever runs the receiver says of it. */
export interface ObjectStoreOptions extends Omit<BucketLocation, 'bucket'>, ObjectAddress {
  /** Nothing is read back: receipts say `accepted`. */
  readonly trustStore?: boolean | undefined;
  /** No other receiver stores there: it need not keep two of them from one name. */
  readonly singleReceiver?: boolean | undefined;
  /** @internal Shorter ones, for tests. */
  readonly deadlines?: RequestDeadlines | undefined;
}

const format = 'sendall object store';
const formatVersion = 1;
const formatKey = 'store.json';
/** Below a prefix, what nobody else can have for a directory. */
const ownDirectories = [
  'data',
  'names',
  'packs',
  'partials',
  'probe',
  'snapshots',
  'stages',
  'condemned',
  'verified',
  'manifests',
];
/** Pieces of large files that may be in memory before they are part of something. */
const pieces = 16;
/** Ms without progress after which an unfinished file is removed. */
const keptFor = 14 * 24 * 60 * 60 * 1000;

/** Everything below one prefix of a bucket, for any number of receivers at once; docs/object-store.md. */
export class ObjectStore implements StoreRoot {
  readonly verified: ObjectVerified;
  private readonly partials: OpenPartials;

  private constructor(
    /** `s3://BUCKET/PREFIX`. */
    readonly url: string,
    private readonly ground: ObjectGround,
  ) {
    this.verified = ground.verified;
    this.partials = new OpenPartials(ground);
  }

  /** Whether it keeps two from one name by itself. */
  get keepsFree(): boolean {
    return this.ground.abilities.free;
  }

  /** Whether it keeps two from undoing what the other one has put. */
  get replacesInTurn(): boolean {
    return this.ground.abilities.free && this.ground.abilities.replace;
  }

  /** Whether nothing is read back. */
  get trusts(): boolean {
    return this.ground.trusts;
  }

  get bucket(): Bucket {
    return this.ground.bucket;
  }

  /** A place for the next snapshot of a backup. */
  staged(names: StagedNames, backup: string): StagedObjects {
    return new StagedObjects(this.ground, names, backup);
  }

  /**
   * Finds out what the store really does, and removes what was left unfinished for two weeks. Rejects with `directory`
   * where it does not do what everything rests on.
   */
  static async open(options: ObjectStoreOptions): Promise<ObjectStore> {
    const { prefix, trustStore = false, singleReceiver = false, deadlines } = options;
    const bucket = new Bucket(options, prefix, deadlines);
    const url = formatObjectUrl(options);
    try {
      const abilities = await probeStore(bucket);
      if (!abilities.free && !singleReceiver)
        throw new TransferError('directory', 'This object store does not keep two receivers from one name.', {
          hint: 'With --single-receiver you say that no other receiver stores there.',
        });
      await checkFormat(bucket);
      const store = new ObjectStore(url, {
        bucket,
        names: new ObjectNames(bucket, abilities.free ? 'any' : 'only this'),
        contents: 'names',
        abilities,
        trusts: trustStore,
        verified: trustStore ? 'accepted' : 'store',
        pieces: new AlignedMemory(pieceSize, pieces, true),
        parts: new PartMemory(),
      });
      await store.expire();
      return store;
    } catch (error) {
      bucket.close();
      throw asTransferError(objectError(error, `${url} cannot be used`), 'directory', `${url} cannot be used`);
    }
  }

  session(use: StoreUse): Promise<SessionStore> {
    return Promise.resolve(new ObjectSession(use, this.ground, (offer, by) => this.partials.take(offer, by)));
  }

  warm(): void {
    // The first request makes its connection.
  }

  /** Suspends everything. */
  async close(): Promise<void> {
    await this.partials.close();
    this.ground.bucket.close();
  }

  /** What is kept here by now, whoever brought it: by listing all of it. */
  async kept(): Promise<KeptFiles> {
    const { bucket } = this.ground;
    const found = { bytes: 0, names: 0, unfinished: new Map<string, number>() };
    for (const below of Object.values(contentPrefixes))
      for await (const { size } of bucket.list(below)) found.bytes += size;
    for await (const { key } of bucket.list('names/')) found.names += key === '' ? 0 : 1;
    for (const { key, upload } of await bucket.uploads()) {
      const parts = (await bucket.partsOf(key, upload)) ?? [];
      found.bytes += parts.reduce((sum, { size }) => sum + size, 0);
    }
    return found;
  }

  /** Ends uploads that nobody went on with. Where that is not allowed, the bucket's lifecycle rule does it. */
  private async expire(): Promise<void> {
    const { bucket } = this.ground;
    const notAllowed = ignored('what is too old is left to the lifecycle rule of the bucket');
    const { storeTime } = bucket;
    // Our clock may be weeks ahead.
    if (storeTime === undefined) return;
    const before = storeTime - keptFor;
    const removeOld = async (): Promise<void> => {
      for (const { key, upload, begun } of await bucket.uploads()) {
        if (begun > before) continue;
        trace('the upload %s is too old', key);
        await bucket.abortUpload(key, upload);
      }
      for (const below of [partialsPrefix, stagesPrefix])
        for await (const { key, modified } of bucket.list(below)) if (modified < before) await bucket.delete(key);
    };
    await removeOld().catch(notAllowed);
  }
}

/**
 * The objects of a store that is there, to be read: nothing is tried out, and nothing is written. Rejects with
 * `directory` where there is none.
 */
export async function openBucket(options: ObjectStoreOptions): Promise<Bucket> {
  const bucket = new Bucket(options, options.prefix, options.deadlines);
  const url = formatObjectUrl(options);
  try {
    const found = await bucket.get(formatKey);
    if (found === undefined)
      throw new TransferError('directory', `There is no store of sendall at ${url}.`, {
        hint: 'Look at the bucket and the prefix; a backup or a receiver makes one.',
      });
    checkForm(found);
    return bucket;
  } catch (error) {
    bucket.close();
    throw asTransferError(objectError(error, `${url} cannot be read`), 'directory', `${url} cannot be read`);
  }
}

/** Marks a new store as ours, and refuses one of a later form. */
async function checkFormat(bucket: Bucket): Promise<void> {
  const found = await bucket.get(formatKey);
  if (found === undefined)
    await bucket.put(formatKey, Buffer.from(`${JSON.stringify({ format, version: formatVersion })}\n`));
  else checkForm(found);
}

function checkForm(found: SmallObject): void {
  let read: unknown;
  try {
    read = JSON.parse(found.text);
  } catch (error) {
    trace('%s is not JSON: %o', formatKey, error);
  }
  const { format: theirs, version } = (read ?? {}) as Readonly<Record<string, unknown>>;
  if (theirs !== format || version !== formatVersion)
    throw new TransferError('directory', `${formatKey} says that this is no store of a form that is known here.`, {
      hint: 'Use another prefix, or a newer version of sendall.',
    });
}

/**
 * The prefix of a key that has an `s3://BUCKET/PREFIX` for its directory: in the bucket of the receiver at `own`, and
 * not among the objects that are kept there. Throws `directory`.
 */
export function prefixOfKey(own: ObjectAddress, directory: string): string {
  const { bucket, prefix } = isObjectUrl(directory) ? parseObjectUrl(directory) : { bucket: undefined, prefix: '' };
  const [first = ''] = prefix.startsWith(own.prefix) ? prefix.slice(own.prefix.length).split('/') : [];
  if (bucket !== own.bucket || ownDirectories.includes(first))
    throw new TransferError(
      'directory',
      `"${directory}" cannot be the directory of a key in ${formatObjectUrl(own)}.`,
      {
        hint: `sendall authorize --dir ${formatObjectUrl({ ...own, prefix: `${own.prefix}NAME/` })}`,
      },
    );
  return prefix;
}
