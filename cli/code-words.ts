import { InvalidArgumentError } from 'commander';

/** How many words a code has where nobody says how many. */
export const usualCodeWords = 2;

/** The number of words of a code. */
export function parseCodeWords(text: string): number {
  if (/^[2-4]$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be 2, 3 or 4.');
}
