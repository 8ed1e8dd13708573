// Sizes, rates, times and names as people read them.

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** "1.4 GiB" */
export function sizeWords(bytes: number): string {
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit] ?? ''}`;
}

export function rateWords(bytesPerSecond: number): string {
  return `${sizeWords(bytesPerSecond)}/s`;
}

/** "12 s left", "3 min left", "2 h 10 min left" */
export function leftWords(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s left`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min left`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}

export function percentWords(done: number, total: number): string {
  return `${total === 0 ? 100 : Math.floor((100 * done) / total)} %`;
}

export function countWords(count: number): string {
  return count.toLocaleString('en');
}

export function filesWords(count: number): string {
  return `${countWords(count)} ${count === 1 ? 'file' : 'files'}`;
}

/**
 * A name as it can be shown: what would turn the text around, hide, or break the line is written as its code, and so
 * are bytes that are no UTF-8.
 */
export function nameWords(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (one) => {
    if (one === '\u200d' || one === '\u200c') return one; // they join letters and emoji
    return `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
  });
}

export function timeWords(milliseconds: number): string {
  return new Date(milliseconds).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
}
