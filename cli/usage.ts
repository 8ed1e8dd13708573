import type { CommanderError } from 'commander';
import type { TransferError } from '../lib/index';
import { withoutTickets } from './hide-tickets';
import { library } from './library';

/** A `usage` error. The library is loaded only now that there is something to complain about. */
export function wrongUsage(
  message: string,
  options: { readonly hint?: string; readonly cause?: unknown } = {},
): TransferError {
  const { TransferError } = library();
  return new TransferError('usage', message, options);
}

/**
 * Commander's complaint about the words `argv` in ours: one sentence, and a hint at the option that was meant or at
 * the help of `command`, which is empty for the program.
 */
export function fromCommander(error: CommanderError, command: string, argv: readonly string[]): TransferError {
  const [sentence = '', suggestion] = error.message.replace(/^error: /, '').split('\n');
  if (error.code === 'commander.unknownOption' && isToken(sentence, argv))
    return wrongUsage('That is no option: it looks like the token of a ticket, one that begins with "-".', {
      hint: 'A ticket is all of it: sendall://HOST:PORT/TOKEN.',
    });
  const words = error.code === 'commander.help' ? 'no command given' : withoutTickets(sentence);
  const message = `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? '' : '.'}`;
  const help = `See sendall ${command === '' ? '' : `${command} `}--help.`;
  return wrongUsage(message, { hint: suggestion?.replace(/^\(|\)$/g, '') ?? help });
}

/**
 * Whether the option that `sentence` quotes is what commander left of a token in `argv`: it takes the letters that are
 * options, such as those of `-qv`, from the front of a word.
 */
function isToken(sentence: string, argv: readonly string[]): boolean {
  const [, left = ''] = /'-(.*)'/s.exec(sentence) ?? [];
  return argv.some((word) => word.startsWith('-') && word.endsWith(left) && withoutTickets(word).endsWith('…'));
}

/** For options that may be given several times: all of their values. */
export function append(value: string, values: readonly string[] = []): string[] {
  return [...values, value];
}
