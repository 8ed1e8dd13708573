/** What a relay with a password lets in: PROTOCOL.md 30.7. */
import { createHmac } from 'node:crypto';

/** The side that a client says, as it crosses the wire. Who dialed whom, if there were no relay. */
export const relaySides = { dialing: '0000000000000001', listening: '0000000000000002' } as const;

/** The form of a pass. */
export const passForm = /^[0-9a-f]{32}$/;

/** A shorter password is found by trying, by whoever listens in on one request. */
export const shortestPassword = 16;

/**
 * Shows that whoever names `token` for `side` has the password, and is good for these two alone: a ticket can hold it
 * for somebody who does not have the password. 32 hexadecimal digits.
 */
export function relayPass(password: string, token: string, side: string): string {
  return createHmac('sha256', password).update(`sendall relay ${token} ${side}`).digest('hex').slice(0, 32);
}
