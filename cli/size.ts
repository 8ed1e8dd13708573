import { InvalidArgumentError } from 'commander';
import { formatSize } from '../lib/internal';

export { formatSize };

/**
 * Reads a number of bytes as people write it: `300M`, `10G`, `1.5MiB`, `4096`. Units are powers of 1024, upper or lower
 * case. Throws commander's InvalidArgumentError.
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(?:([kmgtp])(?:i?b)?|b)?$/i.exec(text.trim());
  const power = match?.[2] === undefined ? 0 : 'kmgtp'.indexOf(match[2].toLowerCase()) + 1;
  const bytes = Math.round(Number(match?.[1]) * 1024 ** power);
  if (!Number.isSafeInteger(bytes)) throw new InvalidArgumentError('A size looks like 300M, 10G or 1.5MiB.');
  if (bytes === 0) throw new InvalidArgumentError('It must be at least one byte.');
  return bytes;
}

/** Reads bytes per second: a size, with or without `/s` behind it. Throws commander's InvalidArgumentError. */
export function parseRate(text: string): number {
  return parseSize(text.replace(/\/s$/i, ''));
}

/** `353 MiB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(bytesPerSecond)}/s`;
}

/** `0.03 s`, `2.9 s`, `45 s`, `3 min 20 s`, `5 min`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 0.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${String(whole)} s`;
  const [large, small, unit, rest] =
    whole < 3600
      ? ([Math.floor(whole / 60), whole % 60, 'min', 's'] as const)
      : ([Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), 'h', 'min'] as const);
  return `${String(large)} ${unit}${small === 0 ? '' : ` ${String(small)} ${rest}`}`;
}

/** `2026-11-29 09:11` of a moment as ISO 8601, in local time. */
export function formatMoment(iso: string): string {
  const at = new Date(iso);
  const two = (number: number): string => String(number).padStart(2, '0');
  return `${String(at.getFullYear())}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** `2,000`. Not by toLocaleString, whose first call takes longer than sending a small file. */
export function formatNumber(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 file`, `2,000 files`. */
export function formatCount(count: number, noun: string, plural = `${noun}s`): string {
  return `${formatNumber(count)} ${count === 1 ? noun : plural}`;
}

const inMilliseconds = {
  s: 1_000,
  min: 60_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
} as const;

/**
 * Reads a span of time as people write it: `30s`, `5min`, `2h`, `8w`, `1y`, `0s`. In ms. Throws commander's
 * InvalidArgumentError.
 */
export function parseDuration(text: string): number {
  const match = /^(\d{1,6}) ?(s|min|m|h|d|w|y)$/.exec(text);
  if (!match) throw new InvalidArgumentError('It looks like 30s, 5min or 2h.');
  return Number(match[1]) * inMilliseconds[match[2] as keyof typeof inMilliseconds];
}
