import type { FileDone, Summary, TransferEvent, Verified } from '../lib/index';
import { formatCount, formatDuration, formatMoment, formatNumber, formatRate, formatSize } from './size';
import type { Piece } from './terminal';

const leastForRate = 1024 ** 2;

/** How sure it is that a file arrived. Only what was read back is called verified. */
export function verdict(verified: Verified | null): Piece {
  switch (verified) {
    case 'device':
      return { style: 'green', text: 'verified on device' };
    case 'cache':
      return { style: 'yellow', text: 'verified (page cache only)' };
    case 'store':
      return { style: 'green', text: 'verified in store' };
    case 'accepted':
      return { style: 'yellow', text: 'accepted by store, not read back' };
    case null:
      return { style: 'yellow', text: 'sent, not confirmed' };
  }
}

/**
 * `a.txt  1.0 GiB  md5 8f6f…  verified on device  2.9 s  353 MiB/s`, and where it is if not under that name. What was
 * there already has no rate: `a.txt  1.0 GiB  md5 8f6f…  already there, verified on device 2026-11-29 09:11`.
 * `short` leaves out the digests, `exact` adds all numbers.
 */
export function fileLine(file: FileDone, detail: 'short' | 'usual' | 'exact'): Piece[] {
  const digests = Object.entries(detail === 'short' ? {} : file.digests).map(
    ([algorithm, digest]) => `${algorithm} ${detail === 'exact' ? digest : shortened(digest)}`,
  );
  return [
    { style: 'bold', text: file.file_name },
    ['', formatSize(file.file_size), ...digests, ''].join('  '),
    ...(file.verified_at === undefined
      ? [verdict(file.verified), `  ${formatDuration(file.seconds)}${speed(sentOf(file), file.seconds)}`]
      : ['already there, ', verdict(file.verified), ` ${formatMoment(file.verified_at)}`]),
    file.kept === undefined || file.verified_at !== undefined ? '' : `  ${formatSize(file.kept)} of it was there`,
    file.path === undefined || file.path === file.file_name ? '' : `  stored as ${file.path}`,
    file.repaired === undefined ? '' : `  ${formatCount(file.repaired, 'segment')} repaired`,
    detail === 'exact' ? exactly(file) : '',
  ];
}

/** Bytes of a file that the receiver did not have before. */
function sentOf({ file_size: size, kept = 0, verified_at: verifiedAt }: FileDone): number {
  return verifiedAt === undefined ? Math.max(0, size - kept) : 0;
}

/** As much of a digest as eyes compare; all of it stands in --verbose and --json. */
function shortened(digest: string): string {
  return digest.length > 16 ? `${digest.slice(0, 16)}…` : digest;
}

function exactly({ file_size: size, bytes_on_wire: onWire, seconds }: FileDone): string {
  return `  (${size.toString()} bytes, ${onWire.toString()} on the wire, ${seconds.toFixed(3)} s)`;
}

const fromLeast: readonly (Verified | null)[] = [null, 'accepted', 'store', 'cache', 'device'];

/** What several files have in common, once another is added: the least that is true of each. */
export function leastVerified(least: Verified | null | undefined, another: Verified | null): Verified | null {
  if (least === undefined) return another;
  return fromLeast.indexOf(another) < fromLeast.indexOf(least) ? another : least;
}

export interface Outcome {
  readonly summary: Summary;
  /** undefined when nothing arrived. */
  readonly verified: Verified | null | undefined;
  readonly skipped: number;
  readonly failed: number;
  /** How many files were there already, and how many bytes in all were not sent because they were. */
  readonly already: { readonly files: number; readonly bytes: number };
  /** Which side measured that: whoever receives waits for the sender and the network alike. Default: the sender. */
  readonly side?: Side;
}

export type Side = 'sender' | 'receiver';

/** Adds a file to what was there already. */
export function addAlready(already: Outcome['already'], file: FileDone): Outcome['already'] {
  if (file.kept === undefined && file.verified_at === undefined) return already;
  return {
    files: already.files + (file.verified_at === undefined ? 0 : 1),
    bytes: already.bytes + file.file_size - sentOf(file),
  };
}

/** `2,000 files  1.2 GiB  verified on device  12 s  100 MiB/s  held back by: hash`, and what went wrong. */
export function summaryLine({ summary, verified, skipped, failed, already, side }: Outcome): Piece[] {
  return [
    {
      style: 'bold',
      text:
        summary.offered === undefined || summary.offered <= summary.files
          ? formatCount(summary.files, 'file')
          : `${summary.files.toLocaleString('en')} of ${formatCount(summary.offered, 'file')}`,
    },
    `  ${formatSize(summary.bytes)}`,
    ...(verified === undefined ? [] : ['  ', verdict(verified)]),
    already.files === 0 ? '' : `  ${formatNumber(already.files)} already there`,
    `  ${formatDuration(summary.seconds)}${speed(summary.bytes - already.bytes, summary.seconds)}`,
    skipped === 0 ? '' : `  ${skipped.toString()} skipped`,
    ...(failed === 0 ? [] : ['  ', { style: 'red', text: `${failed.toString()} failed` } as const]),
    heldBack(summary, side),
  ];
}

/** `  held back by: network`, or nothing where so little moved that there is no rate either. */
export function heldBack({ bottleneck, files, bytes }: Summary, side: Side = 'sender'): Piece {
  if (bottleneck === null || files === 0 || bytes < leastForRate) return '';
  const what = bottleneck === 'network' && side === 'receiver' ? 'the sender or the network' : bottleneck;
  return `  held back by: ${what}`;
}

/** For little there is no rate: it would tell of the time that a flush takes. */
function speed(bytes: number, seconds: number): string {
  return bytes < leastForRate || seconds === 0 ? '' : `  ${formatRate(bytes / seconds)}`;
}

/** That a source has lost most of what it had. */
export function shrunkSentence({ path, entries, before }: TransferEvent & { event: 'shrunk' }): string {
  if (entries === 0 && before === 1) return `${path} is empty, and was not in the snapshot before.`;
  const now = entries === 0 ? 'is empty' : `has ${entries.toLocaleString('en')}`;
  return `${path} ${now}, and had ${formatCount(before, 'entry', 'entries')} in the snapshot before.`;
}
