/**
 * Who receives or sends on this network: multicast DNS (RFC 6762) and service discovery (RFC 6763) of `_sendall._tcp`,
 * with the version and, for a code, its number; no name of a host or a user. Whoever answers says where somebody may
 * be, and nothing that is believed: a code or a ticket decides. PROTOCOL.md 29.
 *
 * Over IPv4 and over IPv6, there on the links that have a link-local address. The library is loaded when it is wanted.
 */
import { randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { BlockList, isIP, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MulticastDNS, QueryPacket, ResponseOutgoingPacket, ResponsePacket } from 'multicast-dns';
import { TransferError } from '../errors';
import { ignored, trace } from '../trace';
import { type Address, isLinkLocal, isLoopback } from './address';

/** Somebody who says that they are there. */
export interface Nearby {
  /** Of the code that they show; absent for none. */
  readonly number?: string;
  /** Where they may be, the likeliest first. */
  readonly addresses: readonly Address[];
}

const service = '_sendall._tcp.local';
const groupPort = 5353;
const groups = { udp4: '224.0.0.251', udp6: 'ff02::fb' } as const;
/** Interval in ms at which new network links are looked for; the library does so for IPv4. */
const linksEvery = 5_000;
/** Life of an answer in s, and of one to a port other than 5353. RFC 6762 6.7. */
const remembered = 120;
const rememberedBriefly = 10;
/** Ms after the first question at which it is sent: datagrams get lost. */
const askedAt = [0, 200, 500];
/** Most answers that are read: a liar can say anything, any number of times. */
const mostAnswers = 64;
const mostAddresses = 4;
/** Most addresses of one answer that are looked at. */
const mostReported = 16;

/** An answer as it came. */
interface LanAnswer {
  readonly number: string | undefined;
  readonly port: number;
  /** The address that it came from, and all that it tells of. */
  readonly from: string;
  readonly hosts: readonly string[];
}

/** One way to ask: an address of ours, and the link that it is on. */
interface OwnLink {
  readonly name: string;
  readonly address: string;
}

/**
 * Answers whoever asks on this network for a listener that others find at `reachable`, as far as others can find it:
 * not on loopback, and not at a unix socket. What it returns ends it. Rejects with `cannot-connect` where another
 * program has the port for itself.
 */
export async function announceListener(
  listening: Address,
  reachable: readonly Address[],
  number: string | undefined,
): Promise<() => void> {
  if (listening.kind === 'unix' || isLoopback(listening.host)) return () => undefined;
  const { host, port } = listening;
  const overIpv4 = isIP(host) !== 6 || host === '::';
  const opening = await Promise.allSettled([
    ...(overIpv4 ? [openIpv4()] : []),
    ...(host.includes(':') ? [openIpv6()] : []),
  ]);
  const open = opening.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const [failure] = opening.flatMap((each) => (each.status === 'rejected' ? [each.reason as Error] : []));
  if (failure && open.length === 0)
    throw new TransferError('cannot-connect', `This machine cannot be found on the network: ${failure.message}.`, {
      cause: failure,
      hint: 'Another program may have UDP port 5353 for itself. Whoever dials can still type the address.',
    });
  if (failure) ignored('it is announced over the other version of IP')(failure);
  const instance = randomBytes(4).toString('hex');
  const reachableHosts = reachable.flatMap((each) => (each.kind === 'tcp' && isIP(each.host) > 0 ? [each.host] : []));
  for (const { dns } of open)
    dns.on('query', (query: QueryPacket, from: RemoteInfo) => {
      if (!isOnLink(from.address)) return;
      const hosts = new Set([...(host === '::' ? besides(from.address) : []), ...reachableHosts]);
      answer(dns, query, from, { instance, port, number, hosts: [...hosts] });
    });
  return () => open.forEach((each) => each.close());
}

/**
 * Who says within `time` ms that they are there, each place once, as they answer. Asks from a port of its own on each
 * interface, which works where a program has 5353 for itself. Throws nothing but `interrupted`.
 */
export async function* findOnLan(time: number, signal?: AbortSignal): AsyncGenerator<Nearby> {
  const found: Nearby[] = [];
  const heard: LanAnswer[] = [];
  let wake = (): void => undefined;
  let answers = 0;
  const take = (heardNow: LanAnswer | undefined): void => {
    if (++answers > mostAnswers || !heardNow || heard.some((each) => isSameMachine(each, heardNow))) return;
    heard.push(heardNow);
    const { number, port, hosts } = heardNow;
    found.push({
      ...(number === undefined ? {} : { number }),
      addresses: hosts.slice(0, mostAddresses).map((host) => ({ kind: 'tcp', host, port })),
    });
    wake();
  };
  const asking = await Promise.all(ownLinks().map((link) => ask(link, take)));
  const over = new AbortController();
  const ended = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
  const until = performance.now() + time;
  for (const after of askedAt)
    void sleep(after, undefined, { signal: ended })
      .then(() => asking.forEach(({ query }) => query()))
      .catch(ignored('somebody was found before, or nobody is looked for any more'));
  try {
    for (let left = time; left > 0 && !signal?.aborted; left = until - performance.now()) {
      for (let next = found.shift(); next; next = found.shift()) yield next;
      await Promise.race([
        new Promise<void>((resolve) => (wake = resolve)),
        sleep(left, undefined, { signal: ended }).catch(ignored('it is asked below')),
      ]);
    }
    if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
    yield* found;
  } finally {
    over.abort();
    for (const { close } of asking) close();
  }
}

function answer(
  dns: MulticastDNS,
  { id = 0, questions = [] }: QueryPacket,
  from: RemoteInfo,
  own: Pick<LanAnswer, 'number' | 'port' | 'hosts'> & { readonly instance: string },
): void {
  const asked = questions.find(({ name, type }) => name.toLowerCase() === service && /^(?:PTR|ANY)$/.test(type));
  if (!asked) return;
  const brief = from.port !== groupPort;
  const ttl = brief ? rememberedBriefly : remembered;
  const [name, target] = [`${own.instance}.${service}`, `${own.instance}.local`];
  const response: ResponseOutgoingPacket = {
    // No other question: names that were compressed would be written out, many times as long.
    ...(brief ? { id, questions: [{ ...asked, name: service }] } : {}),
    answers: [{ name: service, type: 'PTR', ttl, data: name }],
    additionals: [
      { name, type: 'SRV', ttl, data: { port: own.port, target } },
      { name, type: 'TXT', ttl, data: ['v=1', ...(own.number === undefined ? [] : [`number=${own.number}`])] },
      ...own.hosts.map((data) => ({
        name: target,
        type: isIPv4(data) ? ('A' as const) : ('AAAA' as const),
        ttl,
        data,
      })),
    ],
  };
  const [, link] = from.address.split('%');
  if (brief) dns.respond(response, { address: from.address, port: from.port });
  else if (link === undefined) dns.respond(response);
  else dns.respond(response, { address: `${groups.udp6}%${link}`, port: groupPort });
}

/**
 * Whether both answers are of one machine, heard in two ways: each tells the address that the other came from. Whoever
 * tells a stranger's address is not taken for that one.
 */
function isSameMachine(one: LanAnswer, other: LanAnswer): boolean {
  const tells = ({ hosts }: LanAnswer, { from }: LanAnswer): boolean =>
    hosts.some((host) => withoutZone(host) === withoutZone(from));
  return one.number === other.number && one.port === other.port && tells(one, other) && tells(other, one);
}

function withoutZone(host: string): string {
  return host.replace(/%.*$/, '');
}

/**
 * What an answer that came from `from` on the link `link` says, if it is of our service and of the form that ours have.
 */
function answerIn(
  { answers = [], additionals = [] }: ResponsePacket,
  from: string,
  link: string,
): LanAnswer | undefined {
  const records = [...answers, ...additionals];
  const pointer = records.find((each) => each.type === 'PTR' && each.name.toLowerCase() === service);
  const name = pointer?.type === 'PTR' ? pointer.data : undefined;
  const srv = records.find((each) => each.type === 'SRV' && each.name === name);
  const txt = records.find((each) => each.type === 'TXT' && each.name === name);
  if (srv?.type !== 'SRV' || txt?.type !== 'TXT') return undefined;
  const { port, target } = srv.data;
  const texts = (Array.isArray(txt.data) ? txt.data : [txt.data]).map((text) => String(text).slice(0, 32));
  const number = texts.map((text) => /^number=(\d{4}|\d{6})$/.exec(text)?.[1]).find((each) => each !== undefined);
  if (!texts.includes('v=1') || !Number.isInteger(port) || port < 1 || port > 65535) return undefined;
  const addresses = records.flatMap((each) =>
    (each.type === 'A' || each.type === 'AAAA') && each.name === target && isIP(each.data) > 0 ? [each.data] : [],
  );
  const hosts = addresses.slice(0, mostReported).map((host) => (isLinkLocal(host) ? `${host}%${link}` : host));
  return { number, port, from, hosts: [...new Set([from, ...hosts])] };
}

/** A socket at a free port of an address of ours, from which it is asked on that link. */
async function ask(
  { name, address }: OwnLink,
  take: (answer: LanAnswer | undefined) => void,
): Promise<{ query: () => void; close: () => void }> {
  const type = isIPv4(address) ? 'udp4' : 'udp6';
  const socket = createSocket(type);
  await new Promise<void>((resolve) => {
    socket.once('error', resolve).bind(0, address, resolve);
  });
  try {
    socket.setMulticastInterface(address);
    socket.setMulticastTTL(255);
  } catch (error) {
    ignored('an interface that has gone, or that knows no multicast, finds nobody')(error);
  }
  const dns = open({ socket, bind: false, multicast: false });
  dns.on('response', (response: ResponsePacket, from: RemoteInfo) => take(answerIn(response, from.address, name)));
  dns.on('error', ignored('whoever is found otherwise is found'));
  const group = { address: type === 'udp4' ? groups.udp4 : `${groups.udp6}%${name}`, port: groupPort };
  return {
    query: () => dns.query([{ name: service, type: 'PTR' }], group),
    close: () => dns.destroy(),
  };
}

interface Answering {
  readonly dns: MulticastDNS;
  readonly close: () => void;
}

async function openIpv4(): Promise<Answering> {
  const dns = open({});
  try {
    await new Promise<void>((resolve, reject) => {
      dns.on('ready', resolve);
      dns.on('error', reject);
    });
  } catch (error) {
    dns.destroy();
    throw error;
  }
  return { dns, close: () => dns.destroy() };
}

/** The library joins one link of IPv6 at most. Rejects where there is none at this moment. */
async function openIpv6(): Promise<Answering> {
  const socket = createSocket({ type: 'udp6', reuseAddr: true, ipv6Only: true });
  const joined = new Set<string>();
  const join = (): void => {
    const links = ownLinks().filter(({ address }) => !isIPv4(address));
    // A link that went away is joined anew when it is back.
    for (const name of joined) if (!links.some((link) => link.name === name)) joined.delete(name);
    for (const { name, address } of links) {
      if (joined.has(name)) continue;
      try {
        socket.addMembership(groups.udp6, address);
        joined.add(name);
      } catch (error) {
        ignored('a link that has gone, or that knows no multicast, leads to nobody')(error);
      }
    }
  };
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject).bind(groupPort, '::', resolve);
    });
    socket.setMulticastTTL(255);
    join();
    if (joined.size === 0) throw new Error('no link has an address of IPv6');
  } catch (error) {
    socket.close();
    throw error;
  }
  const dns = open({ socket, bind: false, multicast: false });
  dns.on('error', ignored('whoever finds us over IPv4 does'));
  const looking = setInterval(join, linksEvery).unref();
  return {
    dns,
    close: () => {
      clearInterval(looking);
      dns.destroy();
    },
  };
}

function open(options: { readonly socket?: Socket; readonly bind?: false; readonly multicast?: false }): MulticastDNS {
  const makeDns = require('multicast-dns') as typeof import('multicast-dns');
  const dns = makeDns(options);
  dns.on('warning', (warning) => trace('multicast DNS: %o', warning));
  return dns;
}

/**
 * An IPv4 address of each interface, and a link-local one of IPv6 with its zone; that of this machine alone only where
 * there is no other.
 */
function ownLinks(): OwnLink[] {
  const links = Object.entries(networkInterfaces()).flatMap(([name, found = []]) =>
    [
      ...found.filter(({ family }) => family === 'IPv4').slice(0, 1),
      ...found
        .filter(({ address }) => isLinkLocal(address))
        .map((each) => ({ ...each, address: `${each.address}%${name}` }))
        .slice(0, 1),
    ].map(({ address, internal }) => ({ name, address, internal })),
  );
  const outward = links.filter(({ internal }) => !internal);
  return outward.length > 0 ? outward : links;
}

/**
 * Our addresses on the link on which `from` asks. Whoever hears us over IPv4 and over IPv6 sees by them that we are
 * one.
 */
function besides(from: string): string[] {
  const [, zone] = from.split('%');
  const asks = (name: string, networks: readonly (string | null)[]): boolean =>
    zone === undefined ? networks.some((each) => each !== null && isWithin(from, each)) : zone === name;
  const [, found = []] =
    Object.entries(networkInterfaces()).find(([name, found = []]) =>
      asks(
        name,
        found.map(({ cidr }) => cidr),
      ),
    ) ?? [];
  return [
    ...found.filter(({ family }) => family === 'IPv4').slice(0, 1),
    ...found.filter(({ address }) => isLinkLocal(address)).slice(0, 1),
  ].map(({ address }) => address);
}

/**
 * Whether `from` can be on a link of ours: who is elsewhere is not answered, since a sender's address can be forged
 * from there. RFC 6762 11.
 */
function isOnLink(from: string): boolean {
  if (isLoopback(from) || isLinkLocal(from) || from.startsWith('169.254.')) return true;
  return Object.values(networkInterfaces()).some((found = []) =>
    found.some(({ cidr }) => cidr !== null && isWithin(from, cidr)),
  );
}

function isWithin(address: string, cidr: string): boolean {
  const [network = '', prefix] = cidr.split('/');
  if (isIP(network) !== isIP(address)) return false;
  const family = isIPv4(network) ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(network, Number(prefix), family);
  return list.check(address, family);
}
