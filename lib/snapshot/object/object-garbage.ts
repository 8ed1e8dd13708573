// What no snapshot and no name in an object store needs any more: condemned first, deleted after a grace. See
// `condemned.ts`.
import { randomBytes } from 'node:crypto';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import type { Bucket } from '../../store/object/bucket';
import { condemn, condemnedLists, settlesWithin } from '../../store/object/condemned';
import { contentPrefixes } from '../../store/object/contents';
import { keyOfUpload, partialsPrefix } from '../../store/object/partial-record';
import { nameOfKey, namesPrefix, parseRecord } from '../../store/object/records';
import { parseStageNote, stagesPrefix } from '../../store/object/staged-names';
import { manifestsPrefix } from './manifest-object';
import type { ObjectCatalog, ObjectSnapshot } from './object-catalog';
import { contentsOf } from './staged-object-snapshot';

/** Records of names that are read at once. */
const readAtOnce = 24;
/** Life of a list in ms, for backups that began before it: more than twice `longestBackup`. */
const listedFor = 30 * 24 * 3_600_000;

/** What became of garbage, in bytes and objects. */
interface Collected {
  readonly deleted: { readonly objects: number; readonly bytes: number };
  readonly condemned: { readonly objects: number; readonly bytes: number };
}

export interface CollectOptions {
  /** In ms. */
  readonly grace: number;
  /** Nothing is written: it is only told what would be done. */
  readonly dryRun: boolean;
  /** A snapshot as if it were not there: of a damaged one nobody knows what it needs. */
  readonly without?: Pick<ObjectSnapshot, 'name' | 'id'> | undefined;
  readonly signal: AbortSignal;
}

/**
 * Deletes what was condemned longer than `grace` ms ago and is needed by nothing, and condemns what is needed by
 * nothing now. Rejects with `mismatch` where a manifest cannot be read, and with `disk` where the record of a name
 * cannot, and does neither then: nobody knows what it needs.
 */
export async function collectGarbage(
  catalog: ObjectCatalog,
  { grace, dryRun, without, signal }: CollectOptions,
): Promise<Collected> {
  const { bucket } = catalog;
  const now = dryRun ? (bucket.storeTime ?? Date.now()) : await measuredTime(bucket);
  // In this order: who commits after its manifest would have been read sees these lists.
  const lists = await condemnedLists(bucket);
  const needed = await neededIn(catalog, without, signal);
  const due = new Set(lists.filter(({ modified }) => modified < now - grace).flatMap(({ keys }) => keys));
  const listed = new Set(lists.flatMap(({ keys }) => keys));
  const deleted = { objects: 0, bytes: 0 };
  const condemned = { objects: 0, bytes: 0 };
  const garbage: string[] = [];
  for (const below of [...Object.values(contentPrefixes), manifestsPrefix])
    for await (const { key, size, modified } of bucket.list(below)) {
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      if (needed.has(key)) continue;
      if (due.has(key)) {
        if (!dryRun) await bucket.delete(key);
        deleted.objects++;
        deleted.bytes += size;
      } else if (!listed.has(key) && modified < now - settlesWithin) {
        garbage.push(key);
        condemned.objects++;
        condemned.bytes += size;
      }
    }
  if (dryRun) return { deleted, condemned };
  await condemn(bucket, garbage);
  for (const { key, modified } of lists) if (modified < now - listedFor - grace) await bucket.delete(key);
  return { deleted, condemned };
}

/** The objects that a snapshot needs: its manifest, and what that says. Rejects with `mismatch` where it is damaged. */
export async function neededBy(catalog: ObjectCatalog, snapshot: ObjectSnapshot): Promise<ReadonlySet<string>> {
  const { name, id, record } = snapshot;
  const manifest = await catalog.manifest(snapshot).catch((error: unknown) => {
    if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
    const [called, key] = [`${name}/${id}`, catalog.bucket.prefix + record.content].map(printable);
    throw new TransferError('mismatch', `Nobody knows what ${called ?? ''} needs. ${error.message}`, {
      cause: error,
      hint: `If the bucket keeps versions, bring an earlier one of ${key ?? ''} back. Else give that snapshot up: sendall prune with --remove-damaged ${called ?? ''}.`,
    });
  });
  return new Set([...contentsOf(manifest), record.content]);
}

/** What all snapshots but the one `without` need, and names, and what is under way. */
async function neededIn(
  catalog: ObjectCatalog,
  without: CollectOptions['without'],
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const { bucket } = catalog;
  const needed = new Set<string>();
  // What is under way first: it may become a snapshot meanwhile, and is found as one then.
  for await (const { key, size } of bucket.list(stagesPrefix))
    for (const [, { content }] of parseStageNote(await bucket.text(key, size))) if (content) needed.add(content.key);
  for await (const { key } of bucket.list(partialsPrefix)) {
    if (!key.endsWith('/upload')) continue;
    const content = keyOfUpload((await bucket.get(key))?.text);
    if (content !== undefined) needed.add(content);
  }
  for (const name of await catalog.names())
    for (const snapshot of await catalog.snapshots(name)) {
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      if (name === without?.name && snapshot.id === without.id) continue;
      for (const key of await neededBy(catalog, snapshot)) needed.add(key);
    }
  await addNamed(bucket, needed, signal);
  return needed;
}

/**
 * Adds what the records of names need. What gets its name meanwhile is too young to be condemned, or was looked for.
 */
async function addNamed(bucket: Bucket, needed: Set<string>, signal: AbortSignal): Promise<void> {
  const keys = bucket.list(namesPrefix);
  const work = async (): Promise<void> => {
    for (let next = await keys.next(); next.done !== true; next = await keys.next()) {
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      const { key } = next.value;
      const found = key === namesPrefix ? undefined : await bucket.get(key);
      const record = found && parseRecord(found.text, nameOfKey(key));
      if (record?.type === 'file' && record.content) needed.add(record.content.key);
    }
  };
  await Promise.all(Array.from({ length: readAtOnce }, work));
}

/** What time it is by the clock that dates objects, in ms since 1970. */
async function measuredTime(bucket: Bucket): Promise<number> {
  const key = `probe/clock-${randomBytes(12).toString('hex')}`;
  await bucket.put(key, Buffer.from('?'));
  try {
    for await (const { modified } of bucket.list(key)) return modified;
  } finally {
    await bucket.delete(key);
  }
  throw new TransferError('disk', 'The object store does not list what it took.');
}
