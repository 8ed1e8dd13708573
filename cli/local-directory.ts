import { wrongUsage } from './usage';

/** The path of a receive directory on this machine. Throws `usage` for the address of another one, and never repeats a ticket. */
export function localDirectory(text: string): string {
  const { isPlainTarget, isTicket } = require('../lib/index') as typeof import('../lib/index');
  if (!isTicket(text) && !isPlainTarget(text)) return text;
  throw wrongUsage('That is the address of another machine.', { hint: 'Give a receive directory on this machine, or run this command over there.' });
}
