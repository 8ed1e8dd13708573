import { InvalidArgumentError } from 'commander';

/** An address that a relay can have, as it was typed. */
export function parseRelayOption(text: string): string {
  const { parseRelay } = require('../lib/internal') as typeof import('../lib/internal');
  try {
    parseRelay(text);
  } catch {
    // What is wrong with it is said by the form that it should have.
    throw new InvalidArgumentError('It looks like relay.example.org or 203.0.113.7:4001.');
  }
  return text;
}

/** The code that was typed, with the relay at which whoever shows it may be met. */
export function withRelay(code: string, relay: string | undefined): string {
  return relay === undefined || code.includes('?') ? code : `${code}?relay=${relay}`;
}
