// What is said of a transfer that ended before its end: what of it is kept, and how the rest comes.
import type { ErrorCode, TransferEvent } from '../lib/index';
import type { Failed } from './failures';
import { formatCount } from './size';

/** Ends of a conversation before its end. */
export const cutShort: ReadonlySet<ErrorCode> = new Set(['stopped', 'interrupted', 'connection-lost', 'timeout']);

/**
 * How a sender reaches the other side again: by a peer or a file with a key, which last; by a ticket that was typed,
 * which may not; by a code, which does not; or it listens itself, with a ticket that ends with it.
 */
export type SenderReaches = 'lasts' | 'ticket' | 'code' | 'listens';

/** How a receiver meets its senders: for one transfer after another, for a single one, or by dialing. */
export type ReceiverMeets = 'listens' | 'listens-once' | 'dials' | 'dials-plain';

const startedAnew =
  'What came is kept: start this again, and the sender with the new ticket or code (a key stays as it is).';
const dialedAgain =
  'What came is kept: the same command goes on as long as the sender runs; started again, the sender has a new ticket or code, with which it goes on, too.';
const senderShows =
  'What came is kept: go on with the new ticket or code that the sender shows when it is started again.';
const senderDials = 'What came is kept: the sender goes on where it was when it is started again.';

/** Said to a receiver of a session that ended with this code before its end; undefined where it was none. */
export function receiverGoesOn(meets: ReceiverMeets, code: ErrorCode): string | undefined {
  switch (meets) {
    case 'listens':
      return code === 'interrupted' ? startedAnew : senderDials;
    case 'listens-once':
      return startedAnew;
    case 'dials':
      // A sender that is told that its receiver was stopped ends, too.
      return code === 'stopped' || code === 'interrupted' ? senderShows : dialedAgain;
    case 'dials-plain':
      return undefined;
  }
}

/** What whoever types the command does with what is missing, and what is left of an interrupted one. */
export interface GoingOnOf {
  readonly reaches: SenderReaches;
  readonly does: 'send' | 'restore';
  /** False where it goes to standard output. */
  readonly isKept: boolean;
  /** Whether the connection was lost at the end, so that nobody knows whether the receiver still runs. */
  readonly isAway: boolean;
}

/** What is left after an end before the end. On the plain wire, where it is about a file, nothing of that is kept. */
export function goingOn(
  { code, file_name: name }: Failed,
  { files, offered }: TransferEvent & { event: 'summary' },
  of: GoingOnOf,
): string {
  const there = files === 1 ? 'is there. ' : 'are there. ';
  // Without a receipt there may be some all the same.
  const kept =
    files === 0 || !of.isKept
      ? ''
      : offered !== undefined && offered > 1
        ? `${files.toLocaleString('en')} of ${formatCount(offered, 'file')} ${there}`
        : name === undefined
          ? ''
          : `${formatCount(files, 'file')} ${there}`;
  const goesOn =
    name === undefined
      ? senderGoesOn(of, code)
      : 'A file that came in part is not kept; the same command sends the rest.';
  return `${code === 'interrupted' ? 'Stopped. ' : ''}${kept}${goesOn}`;
}

/** What to type. A receiver that was stopped makes a new ticket and a new code once it runs again. */
function senderGoesOn({ reaches, does, isKept, isAway }: GoingOnOf, code: ErrorCode): string {
  const before = isKept ? 'What came is kept' : 'Nothing of it is kept';
  if (reaches === 'listens') return `${before}; the same command goes on, with a new ticket or code for the receiver.`;
  const anew =
    isAway && reaches !== 'lasts' ? ' If the receiver was started again, type its new ticket or code instead.' : '';
  if (code !== 'stopped' || reaches === 'lasts')
    return `${before}; the same command ${isKept ? 'goes on' : 'begins anew'}.${anew}`;
  const again = `${before}: ${does} it again once the receiver runs, with its new`;
  return reaches === 'ticket' ? `${again} ticket (a key stays as it is).` : `${again} code or ticket.`;
}
