import { InvalidArgumentError } from 'commander';

const seconds = { s: 1, min: 60, h: 3600, d: 86_400, w: 604_800, y: 31_536_000 } as const;
const isoTime = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?$/;

/**
 * Reads when something expires, as people write it: a day (`2027-01-31`: when it begins here), a time in the form of
 * ISO 8601, by our clock unless it names another zone, or a span from `now` on: `12h`, `90d`, `2w`, `1y`. Throws
 * commander's InvalidArgumentError, for what has passed as well.
 */
export function parseExpiry(text: string, now = new Date()): Date {
  const time = spanFrom(text, now) ?? timeOf(text);
  if (time === undefined || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError('It looks like 2027-01-31, 2027-01-31T18:00, 90d or 12h.');
  if (time <= now) throw new InvalidArgumentError('That has passed already.');
  return time;
}

function spanFrom(text: string, now: Date): Date | undefined {
  const match = /^(\d{1,9}) ?(s|min|h|d|w|y)$/.exec(text);
  return match
    ? new Date(now.getTime() + Number(match[1]) * seconds[match[2] as keyof typeof seconds] * 1000)
    : undefined;
}

/** Without a zone, JavaScript takes a day for one of UTC and a time for one of ours: here both are ours. */
function timeOf(text: string): Date | undefined {
  const day = isoTime.exec(text)?.[1] ?? text;
  if (!isDay(day)) return undefined;
  return new Date(day === text ? `${day}T00:00` : text);
}

/** Whether the calendar has that day: JavaScript would go on counting into the next month. */
function isDay(text: string): boolean {
  const midnight = new Date(`${text}T00:00Z`);
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(text);
}
