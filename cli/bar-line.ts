import { printable } from '../lib/internal';
import { asAscii } from './charset';
import { formatCount, formatDuration, formatNumber, formatRate, formatSize } from './size';
import type { TransferState } from './tally';

const narrowestBar = 12;
const widestBar = 40;
const shortestLabel = 12;
const longestLabel = 28;
/** Of a name that must be there: a line of several is of no use without. */
const shortestName = 20;
const gap = 2; // columns between the pieces

/**
 * Where a transfer stands, as one line of at most `columns` columns: `a.iso send [====----] 50 % 512 MiB of 1.0 GiB 353
 * MiB/s ETA 1.5 s`. What does not fit is left out, the least important first: the name before the bar, unless it is one
 * `of several` lines. With `ascii` it has nothing else in it.
 */
export function barLine(state: TransferState, columns: number, ascii = false, of: 'one' | 'several' = 'one'): string {
  const { phase, done, total, moved, rate, eta, files, ofFiles, name, still } = state;
  const ratio = total > 0 ? Math.min(1, done / total) : 0;
  const verb = phase.padEnd(7);
  const measured = total > 0 || files === undefined;
  const percent = measured
    ? `${Math.floor(ratio * 100)
        .toString()
        .padStart(3)} %`
    : '';
  let room = columns - verb.length - gap - percent.length;
  const fits = (width: number): boolean => {
    if (width === 0 || width + gap > room) return false;
    room -= width + gap;
    return true;
  };
  const piece = (text: string): string => (fits(text.length) ? text : '');

  const label = ascii ? asAscii(printable(name ?? '')) : printable(name ?? '');
  const wanted = Math.min(columnsOf(label), longestLabel);
  const least = Math.min(wanted, of === 'several' ? shortestName : shortestLabel);
  // In the order of their importance:
  const isNamed = of === 'several' && fits(least);
  const speed = piece(still === undefined ? (rate > 0 ? formatRate(rate) : '') : stillness(still));
  const left = piece(eta === undefined ? '' : `ETA ${formatDuration(eta)}`);
  const hasBar = measured && fits(narrowestBar);
  const count = piece(files === undefined ? '' : filesDone(files, ofFiles));
  const hasLabel = isNamed || fits(least);
  const size = piece(measured ? `${formatSize(done)} of ${formatSize(total)}` : formatSize(moved));

  const shown = hasLabel ? cut(label, Math.min(wanted, least + room), ascii ? '...' : '…') : '';
  room -= Math.max(0, columnsOf(shown) - least);
  const bar = hasBar ? drawn(Math.min(widestBar, narrowestBar + room) - 2, ratio) : '';
  return [shown, verb, bar, percent, count, size, speed, left]
    .filter((text) => text !== '')
    .join(' '.repeat(gap))
    .slice(0, Math.max(0, columns));
}

/** `40 of 41 files`, or `40 files ended` where nobody has counted them. */
export function filesDone(files: number, ofFiles: number | undefined): string {
  return ofFiles === undefined
    ? `${formatCount(files, 'file')} ended`
    : `${formatNumber(files)} of ${formatCount(ofFiles, 'file')}`;
}

/** Why nothing moves, in words. */
export function stillness(still: NonNullable<TransferState['still']>): string {
  return still === 'connection-lost'
    ? 'connection lost, trying again'
    : `nothing moves for ${Math.floor(still.for).toString()} s`;
}

function drawn(width: number, ratio: number): string {
  const filled = Math.round(ratio * width);
  return `[${'='.repeat(filled)}${'-'.repeat(width - filled)}]`;
}

/** Cuts `text` to `columns` columns, with `ellipsis` where something is missing. */
function cut(text: string, columns: number, ellipsis: string): string {
  if (columnsOf(text) <= columns) return text;
  let kept = '';
  for (const character of text) {
    if (columnsOf(kept + character) > columns - ellipsis.length) break;
    kept += character;
  }
  return `${kept}${ellipsis}`;
}

const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]|\p{Extended_Pictographic}/u;

/** How many columns a terminal needs: two for East Asian characters and pictures, none for marks that combine. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text.replace(/[\p{M}\p{Cf}]/gu, '')) columns += wide.test(character) ? 2 : 1;
  return columns;
}
