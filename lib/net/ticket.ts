import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { TransferError } from '../errors';
import { type Address, formatAddress, parseAddress, parseRelay } from './address';
import { passForm } from './relay-pass';

/** What both sides of a session hold. */
export interface SessionKey {
  /** Says which key is meant; no secret: it crosses the wire in clear. 32 lower-case hex digits. */
  readonly id: string;
  /** 32 random bytes. Printed, or made into JSON, they show as `(secret)`. */
  readonly key: Uint8Array;
}

/** A key, and where to dial the one who holds it too. */
export interface Ticket extends SessionKey {
  readonly address: Address;
  /** Where that one may be found as well; absent for nowhere. */
  readonly others?: readonly Address[];
  /** The relay at which that one waits, too; absent for none. */
  readonly relay?: Address;
  /** What that relay wants to see, where it has a password: 32 hexadecimal digits. */
  readonly relayPass?: string;
  /**
   * By performance.now(): from when on the relay is used although an address may still answer. It is met before that.
   * Absent: it is met 1.5 s after dialing began. Not in the ticket's text.
   */
  readonly relayFrom?: number;
}

/** What a ticket says of its relay; nothing where it has none. */
export type TicketRelay = Partial<Pick<Ticket, 'relay' | 'relayPass'>>;

const scheme = 'sendall://';
/** Most addresses of a ticket. PROTOCOL.md 11.6. */
const mostAddresses = 8;
const idLength = 16;
const keyLength = 32;
/** How many random bytes a key and its id are. */
export const sessionKeyLength = idLength + keyLength;
/** 48 bytes are 64 digits without padding or spare bits: each token has one spelling only. */
const tokenForm = /^[A-Za-z0-9_-]{64}$/;

export function createKey(): SessionKey {
  return sessionKeyOf(randomBytes(sessionKeyLength));
}

/**
 * `sendall://HOST:PORT/TOKEN`, with more of HOST:PORT behind commas, or `sendall://unix:PATH/TOKEN`. Whoever reads that
 * may connect: show it to nobody else.
 */
export function formatTicket(ticket: Ticket): string {
  const { address, others = [], id, key, relay, relayPass } = ticket;
  const token = Buffer.concat([Buffer.from(id, 'hex'), key]);
  if (token.length !== sessionKeyLength)
    throw new TransferError('usage', 'A key is 32 bytes, and its id 32 hex digits.');
  const addresses = [address, ...others].map((each) => formatAddress(each).replace(/^tcp:\/\//, ''));
  const pass = relayPass === undefined ? '' : `&pass=${relayPass}`;
  const behind = relay ? `?relay=${formatAddress(relay).replace(/^tcp:\/\//, '')}${pass}` : '';
  return `${scheme}${addresses.join(',')}/${token.toString('base64url')}${behind}`;
}

/**
 * The inverse of `formatTicket`. Throws `usage`, in words that repeat nothing of `text`: it may be a ticket all the
 * same.
 */
export function parseTicket(text: string): Ticket {
  const split = text.lastIndexOf('/');
  const [token = '', ...behind] = text.slice(split + 1).split('?');
  if (!isTicket(text) || split < scheme.length || !tokenForm.test(token) || behind.length > 1) throw notATicket();
  const [address, ...others] = addressesOf(text.slice(scheme.length, split));
  if (!address || others.length >= mostAddresses) throw notATicket();
  const relay = behind.map((each) => relayIn(each))[0] ?? {};
  return {
    ...sessionKeyOf(Buffer.from(token, 'base64url')),
    address,
    ...(others.length === 0 ? {} : { others }),
    ...relay,
  };
}

/** Whether `text` wants to be a ticket; such a text is never taken for anything else, and never shown. */
export function isTicket(text: string): boolean {
  return text.startsWith(scheme);
}

/** All addresses of a ticket, each once. */
export function addressesIn({ address, others = [] }: Ticket): Address[] {
  return [address, ...others];
}

/** The same ticket for dialing again: `address` is tried first, and the relay is met no earlier than usual. */
export function startingAt({ relayFrom: _relayFrom, ...ticket }: Ticket, address: Address): Ticket {
  if (ticket.others === undefined) return ticket;
  const shown = formatAddress(address);
  return { ...ticket, address, others: addressesIn(ticket).filter((each) => formatAddress(each) !== shown) };
}

function addressesOf(text: string): Address[] {
  if (text.startsWith('unix:')) return [addressOf(text)];
  return text.split(',').map((each) => {
    const address = addressOf(each);
    if (address.kind === 'unix') throw notATicket();
    return address;
  });
}

/** What stands behind a token: `relay=HOST:PORT`, by default port 4001, and `&pass=` what that relay wants to see. */
function relayIn(text: string): TicketRelay {
  const [, host, pass] = /^relay=([^/&]+)(?:&pass=(.*))?$/.exec(text) ?? [];
  if (host === undefined || (pass !== undefined && !passForm.test(pass))) throw notATicket();
  try {
    return { relay: parseRelay(host), ...(pass === undefined ? {} : { relayPass: pass }) };
  } catch {
    // Its message quotes what it was given.
    throw notATicket();
  }
}

function addressOf(text: string): Address {
  let address: Address;
  try {
    address = parseAddress(text);
  } catch {
    // Its message quotes what it was given, which may hold a token in the wrong place.
    throw notATicket();
  }
  if (address.kind === 'tcp' && (text.includes('/') || address.port === 0)) throw notATicket();
  return address;
}

/** The key that `sessionKeyLength` bytes are, its id first. */
export function sessionKeyOf(bytes: Uint8Array): SessionKey {
  return {
    id: Buffer.from(bytes.subarray(0, idLength)).toString('hex'),
    key: hidden(Uint8Array.from(bytes.subarray(idLength))),
  };
}

/** A key that no log, error or JSON shows by accident. Its bytes are there for whoever reads them as bytes. */
export function hidden(key: Uint8Array): Uint8Array {
  const shown = { value: () => '(secret)' };
  return Object.defineProperties(key, {
    toJSON: shown,
    toString: shown,
    toLocaleString: shown,
    join: shown,
    [inspect.custom]: shown,
  });
}

function notATicket(): TransferError {
  return new TransferError('usage', 'That is not a ticket.', {
    hint: 'A ticket is sendall://HOST:PORT/ and 64 letters, digits, - and _ after it, exactly as the other side printed it.',
  });
}
