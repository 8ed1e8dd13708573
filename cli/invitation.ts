import { networkInterfaces } from 'node:os';
import type { NetworkInterfaceInfo } from 'node:os';

export interface Invitation {
  /** The command that reaches us, without its target. */
  readonly command: 'send FILE' | 'receive --from';
  /** As the `listening` event tells it: tcp://HOST:PORT or unix:PATH. */
  readonly address: string;
  readonly insecurePlain: boolean;
  /** Whether the plain wire is spoken at all; default true. */
  readonly plain?: boolean;
}

type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

/**
 * The lines to paste, exactly as they are, that reach a listener without its ticket: one for each address at which
 * another machine may find it.
 */
export function invitationLines(
  { command, address, insecurePlain, plain = true }: Invitation,
  interfaces: Interfaces = networkInterfaces(),
): string[] {
  if (!plain) return [];
  const place = tcpPlace(address);
  if (!place) return [`sendall ${command} ${quoted(address)}`];
  return hosts(place.host, insecurePlain, interfaces).map((host) => {
    const allowed = insecurePlain && !isLocal(host) ? command.replace(/^\S+/, '$& --insecure-plain') : command;
    return `sendall ${allowed} tcp://${host.includes(':') ? `[${host}]` : host}:${place.port}`;
  });
}

/**
 * Whom a listener takes: others, only this machine for want of --insecure-plain, or only this machine by its address.
 */
export function invites({ address, insecurePlain }: Invitation): 'others' | 'this machine' | 'loopback' {
  const place = tcpPlace(address);
  if (!place || isLocal(place.host)) return 'loopback';
  return insecurePlain ? 'others' : 'this machine';
}

function tcpPlace(address: string): { host: string; port: string } | undefined {
  const match = /^tcp:\/\/\[?(.*?)\]?:(\d+)$/.exec(address);
  return match?.[1] === undefined || match[2] === undefined ? undefined : { host: match[1], port: match[2] };
}

function hosts(host: string, insecurePlain: boolean, interfaces: Interfaces): string[] {
  if (!isWildcard(host)) return [host];
  const others = insecurePlain
    ? Object.values(interfaces)
        .flatMap((found) => found ?? [])
        .filter(
          (found) =>
            !found.internal && !found.address.startsWith('fe80:') && (host !== '0.0.0.0' || found.family === 'IPv4'),
        )
        .map((found) => found.address)
    : [];
  const ranked = [...others.filter((found) => !found.includes(':')), ...others.filter((found) => found.includes(':'))];
  return ranked.length > 0 ? ranked : ['127.0.0.1'];
}

function isWildcard(host: string): boolean {
  return host === '::' || host === '0.0.0.0' || host === '';
}

function isLocal(host: string): boolean {
  return host === '::1' || host === 'localhost' || /^127\./.test(host);
}

/** A word that a POSIX shell takes as it is. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
