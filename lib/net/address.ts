import { TransferError } from '../errors';

/** Where to dial or listen: a TCP host and port, or the path of a unix socket. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export const defaultPort = 8898;
/** Of transit relays. */
export const relayPort = 4001;
/** Of each part of a host's name. RFC 1035 2.3.4. */
const longestLabel = 63;

/**
 * Reads `tcp://HOST:PORT`, `HOST:PORT` or `unix:PATH`. An IPv6 host stands in brackets; the port defaults to 8898 and
 * may be 0 for listening. Throws `usage`.
 */
export function parseAddress(text: string): Address {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    if (path === '' || path.includes('\0'))
      throw new TransferError('usage', 'unix: needs the path of a socket after it.');
    return { kind: 'unix', path };
  }
  const match = /^(?:tcp:\/\/)?(\[[0-9a-fA-F:.%\w-]+\]|[^\s:/[\]@]+)?(?::(\d{1,5}))?\/?$/.exec(text);
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  const host = match?.[1]?.replace(/^\[|\]$/g, '');
  if (!match || host === undefined || port > 65535) {
    throw new TransferError('usage', `Not an address: ${JSON.stringify(text)}.`, {
      hint: 'Addresses look like tcp://192.168.1.20:8898, tcp://[::1]:8898 or unix:/run/sendall.sock.',
    });
  }
  // The token of a ticket has the form of one, and is not repeated.
  if (host.split('.').some((label) => label.length > longestLabel))
    throw new TransferError('usage', 'That is no host: a part of its name is longer than 63 characters.', {
      hint: 'Of a ticket, all is needed: sendall://HOST:PORT/TOKEN.',
    });
  return { kind: 'tcp', host, port };
}

/**
 * Reads where to listen: as `parseAddress`, and `PORT` or `:PORT` for that port of all addresses of this machine.
 * Throws `usage`.
 */
export function parseListenAddress(text: string): Address {
  const port = /^:?(\d{1,5})$/.exec(text)?.[1];
  return parseAddress(port === undefined ? text : `[::]:${port}`);
}

/** Reads `HOST` or `HOST:PORT`, by default port 4001. Throws `usage`. */
export function parseRelay(text: string): Address {
  const address = parseAddress(/^(?:[^:[\]]+|\[[^\]]*\])$/.test(text) ? `${text}:${String(relayPort)}` : text);
  if (address.kind === 'tcp' && address.port > 0) return address;
  throw new TransferError('usage', `Not a relay: ${JSON.stringify(text)}.`, {
    hint: 'It looks like relay.example.org or 203.0.113.7:4001.',
  });
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
  return `tcp://${address.host.includes(':') ? `[${address.host}]` : address.host}:${String(address.port)}`;
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
