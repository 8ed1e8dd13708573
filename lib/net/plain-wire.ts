import { TransferError } from '../errors';
import type { Dialed } from './socket';

/**
 * Who may speak the plain wire, which has no keys: nobody; processes of our own user and of root, on this machine; or
 * anybody, from anywhere.
 */
export type PlainWire = 'off' | 'own' | 'any';

const elsewhere = 'On a network that you trust, start the receiver with --insecure-plain.';
const ticketHint = 'Use the ticket; or --insecure-plain lets every user of this machine in, and other machines too.';

/**
 * Why the plain wire is not spoken with the peer of an accepted connection; undefined where it is. See PROTOCOL.md 1.3.
 */
export function plainRefusal({ local, peer, user }: Dialed, wire: PlainWire): TransferError | undefined {
  if (wire === 'any') return undefined;
  if (wire === 'off')
    return new TransferError('not-authorized', 'The plain wire is not spoken here.', { hint: 'Use the ticket.' });
  if (!local)
    return new TransferError(
      'not-authorized',
      `${peer} is another machine, and the plain wire is neither encrypted nor authenticated.`,
      { hint: elsewhere },
    );
  // Where the system tells nothing about anybody, being on this machine has to do.
  if (user === undefined || user === 'unknown' || user === 0 || user === process.geteuid?.()) return undefined;
  const who =
    user === 'closed'
      ? 'It closed the connection before it could be known whose it is'
      : `It belongs to another user (${String(user)})`;
  return new TransferError(
    'not-authorized',
    `${who}, and the plain wire is for processes of the receiver's user and of root.`,
    { hint: user === 'closed' ? 'Keep the connection until the receiver closes it.' : ticketHint },
  );
}
