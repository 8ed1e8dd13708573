export interface Invitation {
  /** The command that reaches us, without its target. */
  readonly command: 'send FILE' | 'receive --from';
  /** As the `listening` event tells it: tcp://HOST:PORT or unix:PATH. */
  readonly address: string;
  /** Those at which others find it, the likeliest first; likewise. */
  readonly addresses: readonly string[];
  readonly insecurePlain: boolean;
  /** Whether the plain wire is spoken at all; default true. */
  readonly plain?: boolean;
  /** The code that is shown, where one is. */
  readonly code?: string;
  /** What is drawn as a QR code, too: the ticket, or the address of the page. */
  readonly qr?: 'ticket' | 'page';
}

/**
 * The lines to paste, exactly as they are, that reach a listener without its ticket: one for each address at which
 * another machine may find it.
 */
export function invitationLines({ command, address, addresses, insecurePlain, plain = true }: Invitation): string[] {
  if (!plain) return [];
  const listening = tcpAddress(address);
  if (!listening) return [`sendall ${command} ${quoted(address)}`];
  const here = [`tcp://127.0.0.1:${listening.port}`];
  const found = isWildcard(listening.host) && !insecurePlain ? here : addresses;
  return found.map((each) => {
    const far = insecurePlain && !isLocal(tcpAddress(each)?.host ?? '');
    return `sendall ${far ? command.replace(/^\S+/, '$& --insecure-plain') : command} ${quoted(each)}`;
  });
}

/**
 * The line to paste that reaches a listener by its code: at the address that is the likeliest, or without addresses by
 * looking for it on the network, and at the relay of `ticket` where it waits at one.
 */
export function codeLine({ command, addresses, code = '' }: Invitation, ticket = ''): string {
  const [first] = addresses;
  const host = first === undefined ? '' : `@${first.replace(/^tcp:\/\//, '').replace(/:8898$/, '')}`;
  const [, relay, pass] = relayOf.exec(ticket) ?? [];
  const through = relay === undefined ? '' : ` --relay ${quoted(relay.replace(/:4001$/, ''))}`;
  const password = pass === undefined ? '' : ' --relay-password-file FILE';
  return `sendall ${command.replace('receive --from', 'receive DIR')} ${quoted(`${code}${host}`)}${through}${password}`;
}

/** Whether others can reach a listener through a relay, wherever it listens. */
export function waitsAtRelay(ticket: string): boolean {
  return relayOf.test(ticket);
}

const relayOf = /\?relay=([^&]+)(&pass=)?/;

/**
 * Whom a listener takes: others, only this machine for want of --insecure-plain, or only this machine by its address.
 */
export function invites({
  address,
  insecurePlain,
}: Omit<Invitation, 'addresses'>): 'others' | 'this machine' | 'loopback' {
  const listening = tcpAddress(address);
  if (!listening || isLocal(listening.host)) return 'loopback';
  return insecurePlain ? 'others' : 'this machine';
}

function tcpAddress(address: string): { host: string; port: string } | undefined {
  const match = /^tcp:\/\/\[?(.*?)\]?:(\d+)$/.exec(address);
  return match?.[1] === undefined || match[2] === undefined ? undefined : { host: match[1], port: match[2] };
}

function isWildcard(host: string): boolean {
  return host === '::' || host === '0.0.0.0' || host === '';
}

export function isLocal(host: string): boolean {
  return /^\[?::1\]?$|^localhost$|^127\./.test(host);
}

/** A word that a POSIX shell takes as it is. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
