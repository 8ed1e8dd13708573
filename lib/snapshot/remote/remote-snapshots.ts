import path from 'node:path';
import { TransferError } from '../../errors';
import type { Damage, Summary, TransferEvent } from '../../progress';
import { ask } from './asking';
import { SessionHost } from '../../receive/host';
import { usualLinkDeadlines, usualRetry } from '../../session/deadlines';
import type { LinkDeadlines } from '../../session/link';
import { failureEvent } from '../../session/summary';
import { parseTicket } from '../../net/ticket';
import type { DamagedEntry } from '../repair/damaged-entries';
import type { Ask } from '../../wire/ask';
import type { Difference } from '../manifest/difference';
import type { FoundEvent } from '../manifest/find';
import type { Pruned, LocalPruneOptions } from '../prune/prune';
import type { ObjectPruneOptions } from '../object/object-prune';
import { AskedNames } from '../restore/asked-names';
import {
  failureOfRestore,
  metadataOf,
  nothingCame,
  refuseAbsent,
  type Restored,
  type LocalRestoreOptions,
  reachDestination,
  within,
} from '../restore/restore';
import type { LocalListOptions, SnapshotDamaged, SnapshotForeign, SnapshotListed } from '../manifest/snapshots';
import { addDifference, parseForgotten, parseFound, parseVerification, parsePruned, parseListed } from './parse-answer';
import type { LocalForgetOptions, TakenOut } from '../forget/forget';
import type { LocalVerifyOptions } from '../verify/verify';
import type { VerifyResult } from '../verify/verify-run';

// The same as on this machine, of the snapshots of another one: its receiver does it, and tells what comes of it. All
// of them reject like `ask` too, and with `not-authorized` where the key does not allow it.

/** Where the snapshots are. */
export interface SnapshotTarget {
  /** The ticket of a receiver. */
  readonly target: string;
  readonly signal?: AbortSignal | undefined;
  /** @internal Shorter ones, for tests. */
  readonly deadlines?: LinkDeadlines | undefined;
}

/** See `listSnapshots`. */
export async function listRemote(
  { target, signal, deadlines }: SnapshotTarget,
  { name, alone = false }: Pick<LocalListOptions, 'name' | 'alone'>,
): Promise<(SnapshotListed | SnapshotDamaged | SnapshotForeign)[]> {
  const listed: (SnapshotListed | SnapshotDamaged | SnapshotForeign)[] = [];
  await ask({
    ticket: target,
    signal,
    deadlines,
    ask: { for: 'snapshots', foreign: true, ...(alone ? { alone } : {}), ...(name === undefined ? {} : { name }) },
    onLine: (line) => listed.push(parseListed(line)),
  });
  return listed;
}

/** See `listEntries`, and `findEntries`. */
export async function findRemote(
  { target, signal, deadlines }: SnapshotTarget,
  asked: Extract<Ask, { readonly for: 'entries' | 'find' }>,
  on: (event: FoundEvent) => void,
): Promise<void> {
  await ask({ ticket: target, signal, deadlines, ask: asked, onLine: (line) => on(parseFound(line)) });
}

/** See `diffSnapshots`. */
export async function compareRemote(
  { target, signal, deadlines }: SnapshotTarget,
  a: string,
  b: string,
): Promise<Difference> {
  const difference = { added: [], removed: [], changed: [] };
  await ask({
    ticket: target,
    signal,
    deadlines,
    ask: { for: 'difference', a, b },
    onLine: (line) => addDifference(line, difference),
  });
  return difference;
}

/** See `prune`. Rejects with `usage` where `grace` or `removeDamaged` means nothing over there. */
export async function pruneRemote(
  { target, signal, deadlines }: SnapshotTarget,
  {
    name,
    keep,
    allowShrink = false,
    removeDamaged,
    dryRun = false,
    grace,
    on = () => undefined,
  }: Omit<LocalPruneOptions, 'directory' | 'signal'> & Pick<ObjectPruneOptions, 'grace'>,
): Promise<readonly Pruned[]> {
  const pruned: Pruned[] = [];
  let collected = false;
  const onLine = (line: unknown): void => {
    const event = parsePruned(line);
    if (event.event === 'collected') collected = true;
    else if (event.event !== 'failed') pruned.push(event);
    on(event);
  };
  await ask({
    ticket: target,
    signal,
    deadlines,
    ask: {
      for: 'prune',
      keep,
      future: true,
      content: true,
      collected: true,
      ...(grace === undefined ? {} : { grace }),
      ...(allowShrink ? { allow_shrink: true } : {}),
      ...(removeDamaged === undefined ? {} : { remove_damaged: removeDamaged }),
      ...(name === undefined ? {} : { name }),
      ...(dryRun ? { dry_run: true } : {}),
    },
    onLine,
  });
  const isRemoved = pruned.some(
    ({ event, snapshot }) => event === 'removed' && snapshot === removeDamaged?.replace(/\/$/, ''),
  );
  if (removeDamaged !== undefined && !isRemoved)
    throw new TransferError('usage', 'The receiver does not know how to remove what is damaged, and kept it.', {
      hint: 'Install the same version on both sides.',
    });
  if (grace !== undefined && !collected)
    throw new TransferError(
      'usage',
      'The receiver knows nothing of a grace: it was pruned with that of the receiver.',
      {
        hint: 'Install the same version on both sides.',
      },
    );
  return pruned;
}

/** See `forget`. */
export async function forgetRemote(
  { target, signal, deadlines }: SnapshotTarget,
  { pattern, name, dryRun = false, on = () => undefined }: Omit<LocalForgetOptions, 'directory' | 'signal'>,
): Promise<readonly TakenOut[]> {
  const taken: TakenOut[] = [];
  const onLine = (line: unknown): void => {
    const event = parseForgotten(line);
    if (event.event === 'taken-out') taken.push(event);
    on(event);
  };
  const asked = { for: 'forget', pattern, ...(name === undefined ? {} : { name }) } as const;
  await ask({ ticket: target, signal, deadlines, ask: { ...asked, ...(dryRun ? { dry_run: true } : {}) }, onLine });
  return taken;
}

/** What a verification came to. */
export interface VerifiedRemote {
  readonly result: VerifyResult | undefined;
  /** Why there is no result. */
  readonly failure: TransferError | undefined;
  readonly damages: readonly Damage[];
  /** What the manifests have for files that are damaged, where that was asked for. */
  readonly entries: readonly DamagedEntry[];
  /** What of the damage is none any more. */
  readonly mended: readonly Damage[];
}

/**
 * See `verify`. Resolves also where there is damage, with everything that is known of it. `repairs`: what the manifests
 * alone make right is mended over there, and of the rest the entries are told.
 */
export async function verifyRemote(
  { target, signal, deadlines }: SnapshotTarget,
  { name, snapshot, sample, on = () => undefined }: Omit<LocalVerifyOptions, 'directory' | 'signal'>,
  repairs: boolean,
): Promise<VerifiedRemote> {
  const damages: Damage[] = [];
  const entries: DamagedEntry[] = [];
  const mended: Damage[] = [];
  let summary: (Summary & Pick<VerifyResult, 'verified'>) | undefined;
  const onLine = (line: unknown): void => {
    const event = parseVerification(line);
    if (event.event === 'entry') entries.push(event);
    else on(event);
    if (event.event === 'damaged') damages.push(event);
    if (event.event === 'repaired')
      mended.push(...damages.filter((each) => each.snapshot === event.snapshot && each.path === event.path));
    if (event.event === 'summary') summary = { ...event, verified: event.verified ?? 'cache' };
  };
  const asked = {
    ...(name === undefined ? {} : { name }),
    ...(snapshot === undefined ? {} : { snapshot }),
    ...(sample === undefined ? {} : { sample }),
  };
  try {
    const { snapshots = 0, continued } = await ask({
      ticket: target,
      signal,
      deadlines,
      ask: { for: 'verify', foreign: true, ...asked, ...(repairs ? { entries: true, mend: true } : {}) },
      onLine,
    });
    if (!summary) throw new TransferError('bad-header', 'The receiver told nothing of its verification.');
    const { files, bytes, bytes_on_wire, seconds, bottleneck, verified } = summary;
    return {
      result: {
        files,
        bytes,
        bytes_on_wire,
        seconds,
        bottleneck,
        verified,
        snapshots,
        ...(continued === undefined ? {} : { continued }),
      },
      failure: undefined,
      damages,
      entries,
      mended,
    };
  } catch (error) {
    if (error instanceof TransferError && error.code === 'mismatch')
      return { result: undefined, failure: error, damages, entries, mended };
    throw error;
  }
}

/** Results of more files than that are told as they come, and not kept. */
const mostRemembered = 10_000;

/** See `restore`. */
export async function restoreFrom(
  { target, signal, deadlines = usualLinkDeadlines }: SnapshotTarget,
  options: Omit<LocalRestoreOptions, 'directory' | 'signal'> & { readonly retryFor?: number },
): Promise<Restored> {
  const {
    snapshot,
    destination,
    paths = [],
    ifExists = 'refuse',
    retryFor = usualRetry,
    on: listener = () => undefined,
  } = options;
  const { metadata, demanded, on, unmet } = metadataOf(options, listener, false);
  const asked = new AskedNames(paths);
  const files: Restored['files'][number][] = [];
  const tell = (event: TransferEvent): void => {
    if (event.event === 'received' && files.length < mostRemembered) files.push(event);
    on(event);
  };
  const began = performance.now();
  const { tally, failures, moreFailures, absent, waits } = await within(
    await reachDestination(path.resolve(destination)),
    async (destinations) => {
      const host = new SessionHost({
        ifExists,
        metadata,
        on: tell,
        authorized: undefined,
        deadlines,
        destination: () => Promise.resolve(destinations.own),
      });
      const ask = { for: 'restore', snapshot, paths } as const;
      const received = await host.dial(parseTicket(target), retryFor, signal, { ask, asked });
      if (received.lost) throw received.lost;
      return received;
    },
  );
  const missed = asked.unanswered().map(nothingCame);
  for (const miss of missed) on(failureEvent(miss));
  const summary = tally.summary((performance.now() - began) / 1000, waits.longest);
  on({ event: 'summary', ...summary });
  const failure = failureOfRestore(tally.files, [...failures, ...missed], moreFailures);
  if (failure) throw failure;
  if (demanded) unmet();
  refuseAbsent(absent);
  return { snapshot, files, summary };
}
