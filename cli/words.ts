import { readFileSync } from 'node:fs';

/**
 * The words of the command line, those of the program itself left out. Node replaces bytes that are not UTF-8, which
 * would name other files: where it did, Linux is asked for the bytes, and they become text as `nameOfBytes` makes it.
 */
export function wordsOf(argv: readonly string[] = process.argv): string[] {
  const words = argv.slice(2);
  if (!words.some((word) => word.includes('\ufffd'))) return words;
  try {
    const bytes = readFileSync('/proc/self/cmdline');
    const { nameOfBytes } = require('../lib/internal') as typeof import('../lib/internal');
    // Options of node stand before ours, and each word ends in NUL.
    const all = bytes.toString('latin1').split('\0').slice(0, -1);
    return all.slice(-words.length).map((word) => nameOfBytes(Buffer.from(word, 'latin1')));
  } catch {
    // Where there is no such file, names are what Node makes of them.
    return words;
  }
}
