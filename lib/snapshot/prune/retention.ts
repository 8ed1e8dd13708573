import { TransferError } from '../../errors';
import { type SnapshotId, timeOf } from '../manifest/snapshot-id';

/** Which snapshots of a backup to keep; what one rule keeps, no other takes away. Whole numbers from 1 on. */
export interface KeepRules {
  /** The newest N. */
  readonly last?: number;
  /**
   * The newest of each of the last N days, in UTC, that have a snapshot; so for weeks, which begin on Mondays, and
   * months.
   */
  readonly daily?: number;
  readonly weekly?: number;
  readonly monthly?: number;
  /** All that are not older than this before the newest one, in ms. */
  readonly within?: number;
}

/**
 * Why a snapshot stays: a rule, being the newest, that nothing is known of it since its manifest is damaged, that it is
 * dated in the future, since a clock was wrong when it was made, or that it is the last one that had the content of a
 * source which has lost most of it since.
 */
export type KeepReason = 'newest' | keyof KeepRules | 'damaged' | 'future' | 'content';

/** What is to be known of a snapshot to judge it. */
export interface Dated {
  readonly id: SnapshotId;
  /** Its number, which decides what is newer; undefined where its manifest is damaged. */
  readonly number: number | undefined;
  /** Whether it is the last one that had what a source has lost since. */
  readonly hasContent?: boolean;
  /** Whether it goes whatever the rules say, since its manifest is damaged and somebody has named it. */
  readonly givenUp?: boolean;
}

/** Why a snapshot is kept; for no reason, it goes. */
export interface Verdict<Each extends Dated> {
  readonly snapshot: Each;
  readonly reasons: readonly KeepReason[];
}

const day = 24 * 60 * 60 * 1000;
/**
 * In ms. Several snapshots that are made within one second are dated a second apart, the last ones ahead of the clock.
 */
const aheadAtMost = 60_000;
/** The first Monday after 1970 began, in days. */
const firstMonday = 4;

/**
 * Judges all snapshots of one backup, in the order in which they are given. The newest one stays whatever the rules
 * say. Those with a damaged manifest, and those that are dated more than a minute after `now`, are not counted: they
 * push nothing out, and stay unless they are given up.
 * @throws TransferError `usage` where there is no rule, or one that is no whole number from 1 on.
 */
export function judge<Each extends Dated>(snapshots: readonly Each[], rules: KeepRules, now?: Date): Verdict<Each>[] {
  checkRules(rules);
  const uncounted = ({ id, number }: Dated): KeepReason[] =>
    number === undefined
      ? ['damaged']
      : now !== undefined && timeOf(id).getTime() > now.getTime() + aheadAtMost
        ? ['future']
        : [];
  const judged = snapshots.filter(({ givenUp }) => givenUp !== true);
  const kept = new Map<Each, KeepReason[]>(judged.map((snapshot) => [snapshot, uncounted(snapshot)]));
  const newestFirst = judged.filter((snapshot) => uncounted(snapshot).length === 0).sort(newerFirst);
  const [newest] = newestFirst;
  const keep = (reason: KeepReason, those: readonly Each[]): void => {
    for (const snapshot of those) kept.get(snapshot)?.push(reason);
  };
  keep('newest', newestFirst.slice(0, 1));
  keep('last', newestFirst.slice(0, rules.last ?? 0));
  keep('daily', firstOfEach(newestFirst, rules.daily, dayOf));
  keep('weekly', firstOfEach(newestFirst, rules.weekly, weekOf));
  keep('monthly', firstOfEach(newestFirst, rules.monthly, monthOf));
  if (rules.within !== undefined && newest)
    keep('within', within(newestFirst, timeOf(newest.id).getTime() - rules.within));
  keep(
    'content',
    newestFirst.filter(({ hasContent }) => hasContent === true),
  );
  return snapshots.map((snapshot) => ({ snapshot, reasons: kept.get(snapshot) ?? [] }));
}

/**
 * Those not older than `from`, in ms since 1970. None is older than those before it, whatever the clock said when it
 * was made.
 */
function within<Each extends Dated>(newestFirst: readonly Each[], from: number): Each[] {
  let latest = -Infinity;
  const recent = new Set<Each>();
  for (const snapshot of [...newestFirst].reverse()) {
    latest = Math.max(latest, timeOf(snapshot.id).getTime());
    if (latest >= from) recent.add(snapshot);
  }
  return newestFirst.filter((snapshot) => recent.has(snapshot));
}

/** @throws TransferError `usage` */
export function checkRules({ last, daily, weekly, monthly, within }: KeepRules): void {
  const given = Object.entries({ last, daily, weekly, monthly, within }).filter(([, value]) => value !== undefined);
  if (given.length === 0)
    throw new TransferError('usage', 'Nothing says which snapshots to keep.', {
      hint: 'For instance the last 7, or one a day of 14 days.',
    });
  for (const [rule, value] of given) {
    if (!Number.isSafeInteger(value) || Number(value) < 1)
      throw new TransferError('usage', `The rule "${rule}" must be a whole number from 1 on.`);
  }
}

/** Numbers, not times: clocks go back. Equal numbers are made by nobody, and are then told apart by the id. */
function newerFirst(one: Dated, other: Dated): number {
  return (other.number ?? 0) - (one.number ?? 0) || (one.id < other.id ? 1 : -1);
}

/** The first one of each of the first `most` spans of time that are met. */
function firstOfEach<Each extends Dated>(
  newestFirst: readonly Each[],
  most = 0,
  spanOf: (id: SnapshotId) => string | number,
): Each[] {
  const found = new Map<string | number, Each>();
  for (const snapshot of newestFirst) {
    if (found.size === most) break;
    const span = spanOf(snapshot.id);
    if (!found.has(span)) found.set(span, snapshot);
  }
  return [...found.values()];
}

function dayOf(id: SnapshotId): number {
  return Math.floor(timeOf(id).getTime() / day);
}

/** Two moments are of the same week of ISO 8601 if the same Monday came before. */
function weekOf(id: SnapshotId): number {
  return Math.floor((dayOf(id) - firstMonday) / 7);
}

function monthOf(id: SnapshotId): string {
  return id.slice(0, 'YYYY-MM'.length);
}
