import { InvalidArgumentError } from 'commander';

/** A command that is run without a shell. */
export interface HookCommand {
  readonly program: string;
  readonly words: readonly string[];
}

/**
 * Reads a command as it stands on a command line or in a file of defaults. White space separates words; '…' and "…"
 * keep together what is between them, as it is; nothing else means anything: no backslash, no variable, no pattern.
 * Text that begins with [ is a JSON array of the words. Throws commander's InvalidArgumentError.
 */
export function parseHookCommand(text: string): HookCommand {
  const [program = '', ...words] = text.trimStart().startsWith('[') ? listed(text) : spelled(text);
  if (program === '') throw new InvalidArgumentError('It names no command.');
  if ([program, ...words].some((word) => word.includes('\0')))
    throw new InvalidArgumentError('No word of a command holds a NUL.');
  return { program, words };
}

function listed(text: string): readonly string[] {
  const words = jsonOf(text);
  if (Array.isArray(words) && words.every((word): word is string => typeof word === 'string')) return words;
  throw new InvalidArgumentError('What begins with [ is a JSON array of strings.');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The caller says what it should have been.
    return undefined;
  }
}

function spelled(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (const character of text) {
    if (quote !== undefined) {
      if (character === quote) quote = undefined;
      else word = (word ?? '') + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== undefined) throw new InvalidArgumentError(`A ${quote} is not closed.`);
  if (word !== undefined) words.push(word);
  return words;
}
