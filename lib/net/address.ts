import { TransferError } from '../errors';

/** Where to dial or listen: a TCP host and port, or the path of a unix socket. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export const defaultPort = 8898;
/** Of transit relays. */
export const relayPort = 4001;
/** Of pages. */
const webPort = 8899;
/** Of each part of a host's name. RFC 1035 2.3.4. */
const longestLabel = 63;

/** An address as it was typed. */
type Typed =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number | undefined }
  | (Address & { readonly kind: 'unix' });

/**
 * Reads `tcp://HOST:PORT`, `HOST:PORT` or `unix:PATH`. An IPv6 host stands in brackets; the port defaults to 8898 and
 * may be 0 for listening. Throws `usage`.
 */
export function parseAddress(text: string): Address {
  const address = addressIn(text);
  if (address) return address.kind === 'unix' ? address : { ...address, port: address.port ?? defaultPort };
  throw new TransferError('usage', `Not an address: ${JSON.stringify(text)}.`, {
    hint: 'Addresses look like tcp://192.168.1.20:8898, tcp://[::1]:8898 or unix:/run/sendall.sock.',
  });
}

/**
 * Reads where to listen: as `parseAddress`, and `PORT` or `:PORT` for that port of all addresses of this machine.
 * Throws `usage`.
 */
export function parseListenAddress(text: string): Address {
  const port = portAlone(text);
  return port === undefined ? parseAddress(text) : { kind: 'tcp', host: '::', port };
}

/**
 * Reads where a page is served: `HOST:PORT`, `HOST` for port 8899 there, or a port alone, of loopback. Throws `usage`.
 */
export function parseWebAddress(text = `127.0.0.1:${String(webPort)}`): Address & { readonly kind: 'tcp' } {
  const port = portAlone(text);
  if (port !== undefined) return { kind: 'tcp', host: '127.0.0.1', port };
  const address = addressIn(text);
  if (address?.kind === 'tcp') return { ...address, port: address.port ?? webPort };
  throw new TransferError('usage', `A page is served at HOST:PORT, and not at "${text}".`, {
    hint: '127.0.0.1:8899, or a port alone, is of this machine; 192.168.1.20:8899 is of others, too.',
  });
}

/**
 * Reads by what others reach this machine: `HOST`, for the port `otherwise`, or `HOST:PORT`. Throws `usage`.
 */
export function parseAnnounced(text: string, otherwise = defaultPort): Address & { readonly kind: 'tcp' } {
  const address = addressIn(text);
  if (address?.kind === 'tcp' && address.port !== 0 && address.host !== '::' && address.host !== '0.0.0.0')
    return { ...address, port: address.port ?? otherwise };
  throw new TransferError('usage', `"${text}" is not an address that another machine can dial.`, {
    hint: 'It looks like backup.example.org or 203.0.113.7:8898.',
  });
}

/** Reads `HOST` or `HOST:PORT`, by default port 4001. Throws `usage`. */
export function parseRelay(text: string): Address {
  const address = addressIn(text);
  if (address?.kind === 'tcp' && address.port !== 0) return { ...address, port: address.port ?? relayPort };
  throw new TransferError('usage', `Not a relay: ${JSON.stringify(text)}.`, {
    hint: 'It looks like relay.example.org or 203.0.113.7:4001.',
  });
}

/** What `text` says; undefined where it has no form of an address. Throws `usage`. */
function addressIn(text: string): Typed | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    if (path !== '' && !path.includes('\0')) return { kind: 'unix', path };
    throw new TransferError('usage', 'unix: needs the path of a socket after it.', {
      hint: 'unix:/run/sendall.sock is one.',
    });
  }
  const match = /^(?:tcp:\/\/)?(\[[0-9a-fA-F:.%\w-]+\]|[^\s:/[\]@]+)?(?::(\d+))?\/?$/.exec(text);
  const host = match?.[1]?.replace(/^\[|\]$/g, '');
  // Digits alone are a port, of which it is not known where.
  if (!match || host === undefined || /^\d+$/.test(host)) return undefined;
  const port = match[2] === undefined ? undefined : portOf(match[2], 'behind a host: 192.168.1.20:8898 or [::1]:8898');
  // The token of a ticket has the form of one, and is not repeated.
  if (host.split('.').some((label) => label.length > longestLabel))
    throw new TransferError('usage', 'That is no host: a part of its name is longer than 63 characters.', {
      hint: 'Of a ticket, all is needed: sendall://HOST:PORT/TOKEN.',
    });
  return { kind: 'tcp', host, port };
}

/** PROTOCOL.md 11.6: at most five digits. `where` says where a port stands, for the hint. Throws `usage`. */
function portOf(digits: string, where: string): number {
  const port = Number(digits);
  if (digits.length <= 5 && port <= 65_535) return port;
  throw new TransferError('usage', `A port is 0 to 65535, and ${digits} is none.`, {
    hint: `It stands ${where}.`,
  });
}

/** `PORT` or `:PORT`; undefined for what is neither. Throws `usage` for a number that is none. */
function portAlone(text: string): number | undefined {
  const digits = /^:?(\d+)$/.exec(text)?.[1];
  return digits === undefined
    ? undefined
    : portOf(digits, 'alone or behind a host: 8898, 192.168.1.20:8898 or [::1]:8898');
}

/** `relay HOST:PORT`, as receipts and summaries call the way through it. */
export function routeThrough(relay: Address): string {
  return `relay ${formatAddress(relay).replace(/^tcp:\/\//, '')}`;
}

/** Whether `text` says by itself that it is an address to dial on the plain wire. */
export function isPlainTarget(text: string): boolean {
  return text.startsWith('tcp://') || text.startsWith('unix:');
}

/** The inverse of `parseAddress`. */
export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return `tcp://${formatHost(address.host)}:${String(address.port)}`;
}

/** A host before the port that follows it: one of IPv6 stands in brackets. */
export function formatHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** Whether an IPv6 host is one of fe80::/10, with or without its zone: it means something on one link only. */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(host);
}

/** Whether the peer of an accepted connection, as it is shown, is on this machine for certain. */
export function isHere(peer: string): boolean {
  const address = parseAddress(peer);
  return address.kind === 'unix' || isLoopback(address.host);
}

/**
 * Whether `ip` (as a socket reports it) belongs to this machine alone: 127.0.0.0/8, ::1, or the former mapped into
 * IPv6.
 */
export function isLoopback(ip: string): boolean {
  return /^(?:::ffff:)?127\.\d+\.\d+\.\d+$/i.test(ip) || ip === '::1';
}
