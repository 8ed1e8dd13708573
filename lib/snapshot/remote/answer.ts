import { TransferError } from '../../errors';
import type { Damage, TransferEvent } from '../../progress';
import type { RestoreAsk } from '../../wire/ask';
import type { AskDone } from '../../wire/keeper-message';
import type { AskedDestination, SnapshotQuestion, RestoreSource } from './question';
import { Catalog } from '../manifest/catalog';
import { damagedEntries } from '../repair/damaged-entries';
import { mend } from '../repair/mending';
import { diffSnapshots } from '../manifest/difference';
import { findEntries, type FoundEvent, listEntries } from '../manifest/find';
import { forget } from '../forget/forget';
import { encodeEntry } from '../manifest/manifest-entry';
import { prune, type PruneEvent } from '../prune/prune';
import type { KeepReason } from '../prune/retention';
import { chooseEntries } from '../restore/selection';
import { snapshotSource, whyMissing } from '../restore/snapshot-source';
import { listSnapshots, type SnapshotDamaged } from '../manifest/snapshots';
import { ObjectCatalog } from '../object/object-catalog';
import { objectContentOf } from '../object/object-content';
import { pruneObjects } from '../object/object-prune';
import { listObjects } from '../object/object-snapshots';
import { verifyObjects } from '../object/object-verify';
import { ObjectStore } from '../../store/object/object-store';
import { verify } from '../verify/verify';

/** Most events that wait here for whoever asked. */
const toldBeforeWaiting = 1_000;

/**
 * Does what another machine asks of the snapshots here, as it would be done for this one, and tells the same events.
 * Rejects with what the other machine is to learn.
 */
export function answerAsk(question: SnapshotQuestion): Promise<Omit<AskDone, 'type'>> {
  return namingNothing(question.destination.directory, answer(question));
}

/** Keeps paths of this machine out of failures that a peer is told. */
async function namingNothing<Result>(directory: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof TransferError) || !error.message.includes(directory)) throw error;
    const { code, message, hint = '' } = error;
    throw new TransferError(code, message.replaceAll(directory, 'the receive directory'), { hint, cause: error });
  }
}

async function answer({ ask, destination, signal, tell, heard }: SnapshotQuestion): Promise<Omit<AskDone, 'type'>> {
  const { directory } = destination;
  const objects = objectsAt(destination);
  const catalog = objects ?? new Catalog(directory);
  switch (ask.for) {
    case 'snapshots': {
      const { name, foreign, alone = false } = ask;
      if (objects && alone) throw notInObjects('What snapshots have alone is not known of');
      const found = objects
        ? await listObjects(objects, name, signal)
        : await listSnapshots({ directory, signal, alone, ...(name === undefined ? {} : { name }) });
      // An older version does not know the foreign ones.
      const known = found.filter(({ event }) => event !== 'foreign' || foreign === true);
      const lines = known.map((listed) => (listed.event === 'damaged' ? damagedLine(listed) : listed));
      await tellInTurns(lines, { tell, heard });
      return {};
    }
    case 'entries':
    case 'find': {
      const on = (event: FoundEvent): void => tell(event.event === 'damaged' ? damagedLine(event) : event);
      if (ask.for === 'find') await findEntries({ ...ask, catalog, signal, on, heard });
      else await listEntries({ ...ask, catalog, signal, on, heard });
      return {};
    }
    case 'difference': {
      const difference = await diffSnapshots(catalog, ask.a, ask.b);
      for (const event of ['added', 'removed', 'changed'] as const)
        await tellInTurns(difference[event], { tell: (each) => tell({ event, ...each }), heard });
      return {};
    }
    case 'prune': {
      const { name, keep, grace, dry_run: dryRun = false, allow_shrink: allowShrink = false } = ask;
      if (!objects && grace !== undefined) throw new TransferError('usage', 'Only an object store has a grace.');
      const removeDamaged = ask.remove_damaged;
      const unknown = (['future', 'content'] as const).filter((reason) => ask[reason] !== true);
      const on = (event: PruneEvent): void => {
        // An older version does not know it.
        if (event.event !== 'collected' || ask.collected === true) tell(without(unknown, event));
      };
      const wanted = {
        keep,
        allowShrink,
        dryRun,
        signal,
        on,
        ...(name === undefined ? {} : { name }),
        ...(removeDamaged === undefined ? {} : { removeDamaged }),
      };
      await (objects ? pruneObjects(objects, { ...wanted, grace }) : prune({ directory, ...wanted }));
      return {};
    }
    case 'forget': {
      if (objects) throw notInObjects('Nothing is taken out of snapshots in');
      const { pattern, name, dry_run: dryRun = false } = ask;
      await forget({ directory, pattern, dryRun, signal, on: tell, ...(name === undefined ? {} : { name }) });
      return {};
    }
    case 'verify':
      return answerVerify(ask, { destination, signal, tell, heard });
  }
}

/** Tells all of them, and waits now and then until they are on their way: who asked may be slow, or read nothing. */
async function tellInTurns<Line extends object>(
  lines: readonly Line[],
  { tell, heard }: { readonly tell: (line: Line) => void; readonly heard: SnapshotQuestion['heard'] },
): Promise<void> {
  for (let from = 0; from < lines.length; from += toldBeforeWaiting) {
    for (const line of lines.slice(from, from + toldBeforeWaiting)) tell(line);
    await heard();
  }
}

function damagedLine({ failure, ...damage }: SnapshotDamaged): object {
  return { ...damage, message: failure.message };
}

/** For a peer that does not know these reasons: the snapshot stays like the newest, whatever the rules say. */
function without(unknown: readonly KeepReason[], event: PruneEvent): PruneEvent {
  if (event.event !== 'kept' || !event.reasons.some((reason) => unknown.includes(reason))) return event;
  const known = event.reasons.map((reason) => (unknown.includes(reason) ? 'newest' : reason));
  return { ...event, reasons: [...new Set(known)] };
}

async function answerVerify(
  { name, snapshot, sample, entries, foreign, mend: mends }: Extract<SnapshotQuestion['ask'], { for: 'verify' }>,
  { destination, signal, tell }: Omit<SnapshotQuestion, 'ask'>,
): Promise<Omit<AskDone, 'type'>> {
  const { directory } = destination;
  const objects = objectsAt(destination);
  const damages: Damage[] = [];
  const on = (event: TransferEvent): void => {
    if (event.event === 'damaged') damages.push(event);
    if (event.event === 'foreign' && foreign !== true) return; // an older version does not know them
    // What is called by the path of a directory here is that of a backup over there.
    tell('file_name' in event && event.file_name === directory ? { ...event, file_name: 'all snapshots' } : event);
  };
  try {
    const wanted = {
      signal,
      on,
      ...(name === undefined ? {} : { name }),
      ...(snapshot === undefined ? {} : { snapshot }),
      ...(sample === undefined ? {} : { sample }),
    };
    const { snapshots, continued } = await (objects
      ? verifyObjects(objects, wanted)
      : verify({ directory, ...wanted }));
    return { snapshots, ...(continued === undefined ? {} : { continued }) };
  } finally {
    // In an object store all but content is in the manifest alone.
    const mendable = mends === true && !objects && !signal.aborted;
    const mended = new Set(mendable ? await mend(directory, damages, signal) : []);
    for (const { snapshot: where, path } of mended) tell({ event: 'repaired', snapshot: where, path });
    if (entries === true && !signal.aborted) {
      const left = damages.filter((damage) => !mended.has(damage));
      for (const { entry, ...where } of await damagedEntries(objects ?? new Catalog(directory), left))
        tell({ event: 'entry', ...where, entry: encodeEntry({ ...entry, content: undefined }) });
    }
  }
}

/**
 * What a restore on another machine gets: the entries of the snapshot that it asks for. Rejects with `usage`,
 * `mismatch`.
 */
export function restoreSource(ask: RestoreAsk, destination: AskedDestination): Promise<RestoreSource> {
  return namingNothing(destination.directory, sourceOf(ask, destination));
}

async function sourceOf(
  { snapshot: wanted, paths }: RestoreAsk,
  destination: AskedDestination,
): Promise<RestoreSource> {
  const objects = objectsAt(destination);
  const catalog = objects ?? new Catalog(destination.directory);
  const snapshot = await catalog.find(wanted);
  const { head, entries } = await catalog.manifest(snapshot);
  const chosen = await chooseEntries(entries, paths);
  const missing = chosen.flatMap((entry) =>
    entry.type === 'missing'
      ? [{ name: entry.name, code: entry.code, message: whyMissing(entry.reason), skipped: true as const }]
      : [],
  );
  const contents = objects
    ? { shared: objectContentOf(objects)(head, chosen) }
    : { source: snapshotSource(snapshot, head, chosen) };
  return { algorithm: head.digest, ...contents, missing };
}

/** The snapshots of an object store; undefined where they are in a directory. */
function objectsAt({ store }: AskedDestination): ObjectCatalog | undefined {
  return store instanceof ObjectStore ? new ObjectCatalog(store.bucket, store.url) : undefined;
}

function notInObjects(what: string): TransferError {
  return new TransferError('usage', `${what} an object store.`);
}
