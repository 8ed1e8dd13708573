// By which addresses other machines may find this one.
import { createSocket } from 'node:dgram';
import { hostname, networkInterfaces, type NetworkInterfaceInfo } from 'node:os';
import { ignored } from '../trace';
import { type Address, formatAddress, isLinkLocal, parseAnnounced } from './address';
import { formatTicket, type SessionKey, type TicketRelay } from './ticket';

/** Interfaces that lead to guests on this machine, not to other machines. */
const inward = /^(?:docker|br-|veth|virbr|cni|flannel|vmnet|vboxnet|lxc|lxd)/;
/** Most addresses that we put in a ticket: it must still fit on a line. */
const mostInTicket = 4;
/** Addresses of documentation (RFC 5737, RFC 3849), which the default route leads to, and to which nothing is sent. */
const elsewhere = { udp4: '192.0.2.1', udp6: '2001:db8::1' } as const;

type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

/**
 * The hosts by which another machine may find this one, the likeliest first: `sources`, which are our addresses on the
 * default routes, then one of each family of each other interface, IPv4 before IPv6. Those of networks for guests, and
 * then link-local ones, only where there is no other; the host name where there is none at all. IPv6 comes without
 * brackets, as in `Address`, and without the zone, which means nothing elsewhere.
 */
export function rankHosts(interfaces: Interfaces, sources: readonly string[] = []): string[] {
  const found = Object.entries(interfaces).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter(({ internal, address }) => !internal && !address.startsWith('169.254.'))
      .map(({ address, family }) => ({ name, host: address.replace(/%.*$/, ''), family })),
  );
  const rank = ({ host, family }: (typeof found)[number]): number => {
    const source = sources.indexOf(host);
    return source >= 0 ? source - sources.length : family === 'IPv4' ? 0 : 1;
  };
  const seen = new Set<string>();
  const ranked = found
    .sort((a, b) => rank(a) - rank(b))
    .filter(({ name, host, family }) => {
      const link = `${name} ${isLinkLocal(host) ? 'link' : family}`;
      return !seen.has(link) && seen.add(link);
    });
  const groups = [
    ranked.filter(({ name, host }) => !inward.test(name) && !isLinkLocal(host)),
    ranked.filter(({ name, host }) => inward.test(name) && !isLinkLocal(host)),
    ranked.filter(({ host }) => isLinkLocal(host)),
  ];
  const best = groups.find((group) => group.length > 0) ?? [];
  return best.length > 0 ? best.map(({ host }) => host) : [hostname()];
}

/** See `rankHosts`. `family`: only of that one. */
export async function ownHosts(family?: 'IPv4'): Promise<string[]> {
  const sources = await Promise.all([sourceOf('udp4'), ...(family === undefined ? [sourceOf('udp6')] : [])]);
  const interfaces = Object.fromEntries(
    Object.entries(networkInterfaces()).map(([name, found]) => [
      name,
      found?.filter((each) => family === undefined || each.family === family),
    ]),
  );
  return rankHosts(
    interfaces,
    sources.filter((source) => source !== undefined),
  );
}

/**
 * Where others dial what listens at `address`, the likeliest first: at what its user has `announced`, `HOST` or
 * `HOST:PORT`; a wildcard is nobody's address and stands for all of this machine's. Rejects with `usage`.
 */
export async function dialable(
  address: Address,
  announced: readonly string[] = [],
): Promise<readonly [Address, ...Address[]]> {
  const [first, ...others] = announced.map((text) =>
    parseAnnounced(text, address.kind === 'tcp' ? address.port : undefined),
  );
  if (first) return [first, ...others];
  if (address.kind === 'unix') return [address];
  if (address.host !== '::' && address.host !== '0.0.0.0')
    return [{ ...address, host: isLinkLocal(address.host) ? address.host.replace(/%.*$/, '') : address.host }];
  const hosts = await ownHosts(address.host === '::' ? undefined : 'IPv4');
  const all = hosts.slice(0, mostInTicket).map((host) => ({ ...address, host }));
  return [all[0] ?? address, ...all.slice(1)];
}

/** Where somebody listens. */
export interface ListeningAt {
  /** `tcp://HOST:PORT` or `unix:PATH`. */
  readonly address: string;
  readonly port: number | null;
  readonly ticket: string;
  /** The addresses in the ticket, the likeliest first. */
  readonly addresses: readonly string[];
  /** The code to say, where one is shown. */
  readonly code?: string;
}

/** What is told of a listener that others find at `reachable`, with the key that they need. */
export function listeningAt(
  address: Address,
  reachable: readonly [Address, ...Address[]],
  { id, key }: SessionKey,
  relay: TicketRelay = {},
): ListeningAt {
  const [first, ...others] = reachable;
  return {
    address: formatAddress(address),
    port: address.kind === 'tcp' ? address.port : null,
    ticket: formatTicket({
      id,
      key,
      address: first,
      ...(others.length === 0 ? {} : { others }),
      ...relay,
    }),
    addresses: reachable.map(formatAddress),
  };
}

/** Our own address on the way to other networks; undefined where no route leads there. Nothing is sent. */
async function sourceOf(type: keyof typeof elsewhere): Promise<string | undefined> {
  const socket = createSocket(type);
  try {
    return await new Promise<string>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(9, elsewhere[type], () => resolve(socket.address().address));
    });
  } catch (error) {
    return ignored('a machine without that route has other addresses, or none')(error);
  } finally {
    socket.close();
  }
}
