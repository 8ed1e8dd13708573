// Takes snapshots out of an object store that no rule keeps: their records go at once, what they alone needed after a
// grace.
import { asTransferError, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Snapshot } from '../manifest/snapshot-catalog';
import { checkGivenUp, type Pruned, type PruneEvent } from '../prune/prune';
import { checkRules, judge, type KeepRules, type Verdict } from '../prune/retention';
import { shortestGrace } from '../../store/object/condemned';
import { collectGarbage, neededBy } from './object-garbage';
import type { ObjectCatalog, ObjectSnapshot } from './object-catalog';
import { recordKey } from './snapshot-record';
import { forgetGone } from './verified-note';

export interface ObjectPruneOptions {
  /** The backup; all of them unless told. */
  readonly name?: string | undefined;
  readonly keep: KeepRules;
  /** Whether the last snapshot that had what a source has lost since may go. */
  readonly allowShrink?: boolean | undefined;
  /** See `LocalPruneOptions`. Nobody knows what it alone needed: its `freed_bytes` are 0. */
  readonly removeDamaged?: string | undefined;
  /**
   * Tells what would be done, and writes nothing. Of garbage it tells what nothing needs already now, and what nothing
   * but the one to `removeDamaged` may need.
   */
  readonly dryRun?: boolean | undefined;
  /** How long garbage is only condemned, in ms: at least an hour, by default a day. */
  readonly grace?: number | undefined;
  readonly signal: AbortSignal;
  readonly on?: ((event: PruneEvent) => void) | undefined;
}

const day = 24 * 3_600_000;

type JudgedObject = ObjectSnapshot & {
  /** Undefined where the manifest is not there, or is not what it was. */
  readonly number: number | undefined;
  readonly hasContent: boolean;
  readonly givenUp: boolean;
};

/**
 * Removes the snapshots that no rule keeps, as `prune` does on a disk, and collects what nothing needs any more, also
 * of backups that never became snapshots, and of files that never got their name or were replaced. `freed_bytes` are
 * free once the grace is over and it is pruned again. Killed at any instant, each snapshot is whole or gone, and the
 * next one goes on. Rejects with `usage`, `mismatch` where the manifest of one that stays cannot be read (then nothing
 * is collected), `disk` and `interrupted`.
 */
export async function pruneObjects(catalog: ObjectCatalog, options: ObjectPruneOptions): Promise<readonly Pruned[]> {
  const { name: wanted, keep, allowShrink = false, removeDamaged, dryRun = false, grace = day, signal, on } = options;
  checkRules(keep);
  if (grace < shortestGrace)
    throw new TransferError('usage', 'The grace is at least an hour.', {
      hint: 'A backup that is under way counts on what was there when it began.',
    });
  const names = await catalog.names();
  const chosen = wanted === undefined ? names : names.filter((each) => each === wanted);
  if (wanted !== undefined && chosen.length === 0) throw await catalog.noBackup(wanted);
  const givenUp = removeDamaged === undefined ? undefined : await catalog.findDamaged(removeDamaged, wanted);
  const kept = new Set<string>();
  const verdicts: Verdict<JudgedObject>[] = [];
  for (const name of chosen) {
    const snapshots = await toJudge(catalog, name, { allowShrink, givenUp });
    verdicts.push(...(await judged(catalog, snapshots, { keep, allowShrink, signal }, kept)));
  }
  refuseMarking(verdicts);
  for (const name of names)
    if (!chosen.includes(name))
      for (const snapshot of await catalog.snapshots(name)) await addNeeded(catalog, snapshot, kept);
  const pruned: Pruned[] = [];
  const { bucket } = catalog;
  for (const { snapshot, reasons } of verdicts) {
    if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
    const called = `${snapshot.name}/${snapshot.id}`;
    const event: Pruned =
      reasons.length > 0
        ? { event: 'kept', snapshot: called, reasons }
        : {
            event: 'removed',
            snapshot: called,
            freed_bytes: snapshot.givenUp ? 0 : await freedBy(catalog, snapshot, kept),
            after_grace: true,
            ...(dryRun ? { dry_run: true as const } : {}),
          };
    if (event.event === 'removed' && !dryRun) {
      // It may have been repaired meanwhile, and is kept then.
      if (snapshot.givenUp && !(await catalog.isDamaged(snapshot))) continue;
      // The next snapshot may get its number.
      await forgetGone(bucket, snapshot.record);
      await bucket.delete(recordKey(snapshot.record));
    }
    pruned.push(event);
    on?.(event);
  }
  // Without a dry run it is not there any more, or somebody needs it again.
  const without = dryRun ? givenUp : undefined;
  const { deleted, condemned } = await collectGarbage(catalog, { grace, dryRun, without, signal });
  on?.({
    event: 'collected',
    deleted_objects: deleted.objects,
    deleted_bytes: deleted.bytes,
    condemned_objects: condemned.objects,
    condemned_bytes: condemned.bytes,
    ...(dryRun ? { dry_run: true as const } : {}),
  });
  if (givenUp) checkGivenUp(givenUp, pruned);
  return pruned;
}

async function toJudge(
  catalog: ObjectCatalog,
  name: ObjectSnapshot['name'],
  { allowShrink, givenUp }: { readonly allowShrink: boolean; readonly givenUp: Snapshot | undefined },
): Promise<JudgedObject[]> {
  const each: JudgedObject[] = [];
  for (const snapshot of await catalog.snapshots(name)) {
    const { number } = snapshot.entry;
    const hasContent = !allowShrink && snapshot.entry.content !== undefined;
    each.push({ ...snapshot, number, hasContent, givenUp: givenUp?.name === name && givenUp.id === snapshot.id });
  }
  return each;
}

/**
 * What becomes of the snapshots of one backup. All manifests of those that stay are read: whoever relies on a damaged
 * one may give up the last good one. Those of the others are looked for: what has lost its manifest stays, too. Adds
 * what is needed to `kept`.
 */
async function judged(
  catalog: ObjectCatalog,
  snapshots: readonly JudgedObject[],
  { keep, allowShrink, signal }: Pick<ObjectPruneOptions, 'keep' | 'allowShrink' | 'signal'>,
  kept: Set<string>,
): Promise<Verdict<JudgedObject>[]> {
  const read = new Set<string>();
  const found = new Set<string>();
  const damaged = new Set<string>();
  for (;;) {
    const believed = snapshots.map((each) => (damaged.has(each.id) ? { ...each, number: undefined } : each));
    const verdicts = keepingMarks(judge(believed, keep, new Date()), allowShrink === true);
    const unread = verdicts.filter(({ snapshot: { id }, reasons }) => reasons.length > 0 && !read.has(id));
    for (const { snapshot } of unread) {
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      read.add(snapshot.id);
      if (!(await addNeeded(catalog, snapshot, kept))) damaged.add(snapshot.id);
    }
    if (unread.length > 0) continue;
    const before = damaged.size;
    for (const { snapshot } of verdicts) {
      if (snapshot.givenUp || read.has(snapshot.id) || found.has(snapshot.id)) continue;
      if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
      if (await catalog.hasManifest(snapshot)) found.add(snapshot.id);
      else {
        read.add(snapshot.id);
        damaged.add(snapshot.id);
      }
    }
    if (damaged.size === before) return verdicts;
  }
}

/** Adds the objects that a snapshot needs; false where its manifest is damaged, and nobody knows. */
async function addNeeded(catalog: ObjectCatalog, snapshot: ObjectSnapshot, kept: Set<string>): Promise<boolean> {
  const needed = await neededBy(catalog, snapshot).catch(unknownIfDamaged);
  for (const key of needed ?? []) kept.add(key);
  return needed !== undefined;
}

/**
 * A record that alone says which content a snapshot was the last one to have stays as long as that snapshot does, which
 * comes before it; a damaged one that was named may go without it where the content may go, too.
 */
function keepingMarks(verdicts: readonly Verdict<JudgedObject>[], allowShrink: boolean): Verdict<JudgedObject>[] {
  const staying = new Map<number | undefined, JudgedObject>();
  return verdicts.map(({ snapshot, reasons }) => {
    const content = staying.get(snapshot.compared)?.entry.content ?? {};
    const marks = Object.keys(snapshot.record.shrunk).some((path) => Object.hasOwn(content, path));
    const stays = reasons.length === 0 && marks && !(snapshot.givenUp && allowShrink);
    const verdict = stays ? { snapshot, reasons: ['content' as const] } : { snapshot, reasons };
    if (verdict.reasons.length > 0) staying.set(snapshot.record.number, snapshot);
    return verdict;
  });
}

/** Throws `usage` where what was named as damaged stays. */
function refuseMarking(verdicts: readonly Verdict<JudgedObject>[]): void {
  const staying = verdicts.find(({ snapshot, reasons }) => snapshot.givenUp && reasons.length > 0);
  if (!staying) return;
  const { name, id } = staying.snapshot;
  throw new TransferError(
    'usage',
    printable(`The record of ${name}/${id} alone says that an earlier snapshot is the last one with all of a source.`),
    {
      hint: printable(
        `With --allow-shrink it is removed, and no rule but yours keeps that earlier one any more. Say --name ${name}, too, so that this is so for that backup alone.`,
      ),
    },
  );
}

/** The bytes of objects that only this one needs; those are of nobody else afterwards. */
async function freedBy(catalog: ObjectCatalog, snapshot: ObjectSnapshot, kept: Set<string>): Promise<number> {
  let bytes = 0;
  for (const key of (await neededBy(catalog, snapshot).catch(unknownIfDamaged)) ?? []) {
    if (kept.has(key)) continue;
    kept.add(key);
    const { content, size } = snapshot.record;
    bytes += key === content ? size : ((await catalog.bucket.sizeOf(key)) ?? 0);
  }
  return bytes;
}

/** What one with a damaged manifest needs is asked again before anything is collected, and keeps it from that. */
function unknownIfDamaged(error: unknown): undefined {
  const failure = asTransferError(error, 'disk', 'The object store does not answer');
  if (failure.code !== 'mismatch') throw failure;
}
