// Brings snapshots from a receive directory into an object store, or back, or from one store to another: as they are,
// with their ids, each complete or not there.
import { asTransferError, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Damage, Listener, Summary } from '../../progress';
import type { Destination } from '../../receive/destinations';
import { Tally } from '../../session/summary';
import { newSession } from '../../session/opening';
import { Allowance } from '../../store/limited';
import { ObjectStore, type ObjectStoreOptions } from '../../store/object/object-store';
import { ignored } from '../../trace';
import { BackupStage } from '../backup/backup-stage';
import { sendWithin } from '../in-process';
import { backupNameOf, Catalog } from '../manifest/catalog';
import { type Manifest, manifestName } from '../manifest/manifest';
import type { Snapshot, SnapshotCatalog } from '../manifest/snapshot-catalog';
import { timeOf } from '../manifest/snapshot-id';
import { ObjectCatalog } from '../object/object-catalog';
import { objectContentOf } from '../object/object-content';
import { withObjects } from '../object/object-snapshots';
import type { ContentOf } from '../restore/restore';
import { snapshotSource } from '../restore/snapshot-source';

/** A receive directory of this machine, or an object store. */
export type SnapshotHolder = { readonly directory: string } | { readonly objects: ObjectStoreOptions };

export interface CopyOptions {
  readonly from: SnapshotHolder;
  /** A directory must be there. */
  readonly to: SnapshotHolder;
  /** Only the snapshots of this backup. */
  readonly name?: string | undefined;
  readonly on?: Listener;
  readonly signal?: AbortSignal;
}

export interface Copied {
  readonly copied: number;
  /** Which were there, from an earlier copy. */
  readonly present: number;
  readonly summary: Summary;
}

interface CopyBetween {
  readonly catalog: SnapshotCatalog;
  readonly contentOf: ContentOf | undefined;
  readonly target: SnapshotCatalog;
  readonly destination: Pick<Destination, 'directory' | 'allowance'> & Partial<Pick<Destination, 'store'>>;
  readonly on: Listener;
  readonly signal: AbortSignal | undefined;
  readonly tally: Tally;
}

/**
 * Copies all snapshots that are not there yet, the oldest first, with their ids, owners and manifests; a content that
 * is there already is not sent. Everything that comes is read back as any other backup is. What an interrupted copy has
 * brought is kept, and the next one goes on with it. A damaged snapshot is told as `damaged` and left out, the others
 * are copied; then rejects with `mismatch`. So is one that is missing behind a newer one, told as `skipped`: `exists`.
 * Rejects with `exists` at once where the backup there is another one; with `usage`, `directory`, `disk`, `space` and
 * `interrupted`.
 */
export async function copySnapshots(options: CopyOptions): Promise<Copied> {
  const { from, to, on = () => undefined, signal } = options;
  const began = performance.now();
  const tally = new Tally();
  const work = (catalog: SnapshotCatalog, contentOf: ContentOf | undefined): Promise<Copied> =>
    into(to, signal, async (destination, target) => {
      const counts = await copyAll({ catalog, contentOf, target, destination, on, signal, tally }, options.name);
      const summary = tally.summary((performance.now() - began) / 1000, null);
      on({ event: 'summary', ...summary });
      if (counts.damaged > 0) throw damagedFailure(counts.damaged, counts.behind);
      if (counts.behind > 0) throw behindFailure(counts.behind);
      return { copied: counts.copied, present: counts.present, summary };
    });
  if ('directory' in from) return work(new Catalog(from.directory), undefined);
  return withObjects({ ...from.objects, signal }, (catalog) => work(catalog, objectContentOf(catalog)));
}

/** Opens the destination of the copies for `work`, and closes it afterwards. */
async function into<Result>(
  to: SnapshotHolder,
  signal: AbortSignal | undefined,
  work: (destination: CopyBetween['destination'], target: SnapshotCatalog) => Promise<Result>,
): Promise<Result> {
  const allowance = new Allowance({});
  if ('directory' in to) return work({ directory: to.directory, allowance }, new Catalog(to.directory));
  const store = await ObjectStore.open({ ...to.objects, signal });
  try {
    return await work({ directory: store.url, store, allowance }, new ObjectCatalog(store.bucket, store.url));
  } finally {
    await store.close();
  }
}

/** How many snapshots there are of each kind; `behind` are those that are missing behind a newer one. */
type Counts = Record<'copied' | 'present' | 'damaged' | 'behind', number>;

async function copyAll(run: CopyBetween, wanted: string | undefined): Promise<Counts> {
  const names = await run.catalog.names();
  const name = wanted === undefined ? undefined : backupNameOf(wanted);
  if (wanted !== undefined && !names.some((each) => each === name)) throw await run.catalog.noBackup(wanted);
  const counts: Counts = { copied: 0, present: 0, damaged: 0, behind: 0 };
  for (const each of name === undefined ? names : [name]) {
    const { owner, snapshots } = await run.catalog.owned(each);
    const known = await run.target.snapshots(each);
    for (const snapshot of snapshots) {
      if (run.signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
      counts[await copyOne(run, snapshot, owner ?? snapshot.entry.owner, known)]++;
    }
  }
  return counts;
}

/**
 * `owner` is whose backup it is: another one than who made the snapshot, where it was handed over. `known` are the
 * snapshots of it that were in the target when its turn came.
 */
async function copyOne(
  run: CopyBetween,
  snapshot: Snapshot,
  owner: string,
  known: readonly Snapshot[],
): Promise<keyof Counts> {
  const called = `${snapshot.name}/${snapshot.id}`;
  const tell = (path: string, reason: Damage['reason']): 'damaged' => {
    run.on({ event: 'damaged', snapshot: called, path, reason });
    return 'damaged';
  };
  const manifest = await run.catalog.manifest(snapshot).catch((error: unknown) => {
    if (error instanceof TransferError && error.code === 'mismatch') return undefined;
    throw error;
  });
  if (!manifest) return tell(manifestName, 'manifest');
  const found = await lookFor(run.target, snapshot, manifest, known);
  if (found === 'behind')
    run.on({
      event: 'skipped',
      file_name: called,
      reason: 'A newer one was copied before, and snapshots are copied in their order.',
    });
  if (found !== 'absent') return found;
  const sent = await bring(run, { snapshot, manifest, owner });
  if (sent.damages.length > 0) {
    for (const path of sent.damages) tell(path, 'changed');
    return 'damaged';
  }
  const { entries, bytes, missing } = manifest.totals;
  const time = timeOf(snapshot.id).toISOString();
  run.on({
    event: 'snapshot',
    snapshot: called,
    time,
    entries,
    bytes,
    new_bytes: sent.newBytes,
    missing,
    verified_at: null,
  });
  return 'copied';
}

/**
 * Whether it is there from an earlier copy, or cannot come any more, since a newer one is. `known` is what was there
 * some time ago, and is read anew only before anything is sent: it may be the list of thousands. Rejects with `exists`
 * where what is there is something else.
 */
async function lookFor(
  target: SnapshotCatalog,
  snapshot: Snapshot,
  manifest: Manifest,
  known: readonly Snapshot[],
): Promise<'present' | 'behind' | 'absent'> {
  const found = await lookIn(known, target, snapshot, manifest).catch((error: unknown) => {
    // It may have been pruned since.
    if (error instanceof TransferError && error.code === 'mismatch') return 'absent' as const;
    throw error;
  });
  return found === 'absent' ? lookIn(await target.snapshots(snapshot.name), target, snapshot, manifest) : found;
}

async function lookIn(
  known: readonly Snapshot[],
  target: SnapshotCatalog,
  { name, id }: Snapshot,
  manifest: Manifest,
): Promise<'present' | 'behind' | 'absent'> {
  const same = known.find((each) => each.id === id);
  const newest = known.at(-1);
  if (same) {
    const { totals } = await target.outline(same);
    if (totals.entries === manifest.totals.entries && totals.bytes === manifest.totals.bytes) return 'present';
    throw new TransferError('exists', `Another snapshot ${printable(`${name}/${id}`)} is in ${target.directory}.`);
  }
  return newest && newest.id > id ? 'behind' : 'absent';
}

/** Sends one snapshot. Where a file is damaged, the copy is refused, and its damage is returned. */
async function bring(
  { catalog, contentOf, destination, on, signal, tally }: CopyBetween,
  { snapshot, manifest, owner }: { readonly snapshot: Snapshot; readonly manifest: Manifest; readonly owner: string },
): Promise<{ readonly damages: readonly string[]; readonly newBytes: number }> {
  const { name } = snapshot;
  const { head } = manifest;
  const stage = await BackupStage.open(
    {
      name,
      repairs: false,
      checksum: false,
      algorithm: head.digest,
      destination,
      peer: owner,
      mayCompare: true,
      session: newSession(),
      copies: manifest,
    },
    () => undefined,
  );
  const damages: string[] = [];
  try {
    const lacking = await stage.lacking(manifest);
    const sent = await sendWithin({
      source: contentOf ? [] : snapshotSource(snapshot, head, lacking),
      content: contentOf?.(head, lacking),
      receiver: {
        destination: stage.destination,
        rules: { peer: owner, ifExists: 'replace', mayCompare: true, on: () => undefined },
        stage,
      },
      algorithm: head.digest,
      on: (event) => {
        if (event.event === 'sent') tally.add(event);
        if (event.event === 'failed' && event.code === 'mismatch' && event.file_name !== undefined)
          damages.push(event.file_name);
        if (event.event !== 'summary' && event.event !== 'failed') on(event);
      },
      signal,
    });
    const [first] = sent.failures;
    if (!sent.snapshot)
      throw first ?? new TransferError('unexpected', `${printable(catalog.directory)} gave no snapshot.`);
    return { damages: [], newBytes: sent.snapshot.new_bytes };
  } catch (error) {
    // The snapshot is refused then.
    if (damages.length > 0) return { damages, newBytes: 0 };
    throw asTransferError(error, 'disk', `${printable(`${name}/${snapshot.id}`)} could not be copied`);
  } finally {
    if (!stage.isComplete) await stage.close().catch(ignored('what ended the copy is told'));
  }
}

function damagedFailure(snapshots: number, behind: number): TransferError {
  const besides = behind === 0 ? '' : ` ${countOf(behind)} missing behind a newer one.`;
  return new TransferError(
    'mismatch',
    `${countOf(snapshots)} damaged, and not copied.${besides} All others are there.`,
    {
      hint: `sendall verify --repair brings back what a source still has. ${elsewhere}`,
    },
  );
}

function behindFailure(snapshots: number): TransferError {
  return new TransferError('exists', `${countOf(snapshots)} missing behind a newer one. All others are there.`, {
    hint: elsewhere,
  });
}

const elsewhere = 'What is missing behind a newer one there can be copied into another place only.';

function countOf(snapshots: number): string {
  return snapshots === 1 ? '1 snapshot is' : `${String(snapshots)} snapshots are`;
}
