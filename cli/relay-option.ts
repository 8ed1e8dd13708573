import { InvalidArgumentError } from 'commander';
import type { TransferError } from '../lib/index';
import { wrongUsage } from './usage';
import { library } from './library';

/** An address that a relay can have, as it was typed. */
export function parseRelayOption(text: string): string {
  const { parseRelay } = library();
  try {
    parseRelay(text);
  } catch (error) {
    const { message, hint = '' } = error as TransferError;
    throw new InvalidArgumentError(`${message} ${hint}`);
  }
  return text;
}

/** The password of a relay, in a file that nobody else can read. Throws `usage`. */
export function relayPasswordIn(file: string): string {
  const { readPrivateFile, shortestPassword } = library();
  const password = readPrivateFile(file)?.trim();
  if (password === undefined) throw wrongUsage(`There is no ${file}, in which the password of the relay would be.`);
  if (password.length >= shortestPassword) return password;
  throw wrongUsage(`The password in ${file} is too short: others could find it by trying.`, {
    hint: 'Make one of 16 characters or more: openssl rand -base64 24',
  });
}

/** The code that was typed, with the relay at which whoever shows it may be met. */
export function withRelay(code: string, relay: string | undefined): string {
  return relay === undefined || code.includes('?') ? code : `${code}?relay=${relay}`;
}
