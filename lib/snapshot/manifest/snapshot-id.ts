import { TransferError } from '../../errors';
import { printable } from '../../name';

declare const brand: unique symbol;

/** When a snapshot was begun, in UTC, as the name of its directory: `2026-11-20T101233Z`. Unique below one backup. */
export type SnapshotId = string & { readonly [brand]: true };

const form = /^([1-9]\d{3})-(\d\d)-(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/**
 * The id of a moment, to the second. @throws TransferError `usage` for one whose year has not four digits: that clock
 * is wrong.
 */
export function snapshotIdOf(time: Date): SnapshotId {
  const year = time.getUTCFullYear();
  if (!(year >= 1000 && year <= 9999))
    throw new TransferError('usage', `There is no snapshot of the year ${year}.`, { hint: 'Set the clock.' });
  return spelled(time) as SnapshotId;
}

/** @throws TransferError `usage` for text that is none, or a moment that does not exist. */
export function parseSnapshotId(text: string): SnapshotId {
  // A day or an hour too high makes another moment, which is spelled otherwise.
  if (form.test(text) && spelled(timeOf(text as SnapshotId)) === text) return text as SnapshotId;
  throw new TransferError('usage', printable(`${text} is not the id of a snapshot.`), {
    hint: 'They look like 2026-11-20T101233Z.',
  });
}

/** Whether `text` is the id of a snapshot. */
export function isSnapshotId(text: string): text is SnapshotId {
  try {
    return parseSnapshotId(text) === text;
  } catch {
    // No id, which is the answer.
    return false;
  }
}

/** The moment that `id` names. */
export function timeOf(id: SnapshotId): Date {
  const [, year, month, day, hour, minute, second] = (form.exec(id) ?? []).map(Number);
  return new Date(Date.UTC(year ?? NaN, (month ?? NaN) - 1, day, hour, minute, second));
}

function spelled(time: Date): string {
  return time
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(':', '');
}
