/**
 * Who receives or sends on this network: multicast DNS (RFC 6762) and service discovery (RFC 6763) of `_sendall._tcp`,
 * with the version and, for a code, its number; no name of a host or a user. Whoever answers says where somebody may
 * be, and nothing that is believed: a code or a ticket decides. PROTOCOL.md 29.
 *
 * IPv4 only. The library is loaded when it is wanted.
 */
import { randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MulticastDNS, QueryPacket, ResponseOutgoingPacket, ResponsePacket } from 'multicast-dns';
import { TransferError } from '../errors';
import { ignored, trace } from '../trace';
import { type Address, formatAddress, isLoopback } from './address';

/** Somebody who says that they are there. */
export interface Nearby {
  /** Of the code that they show; absent for none. */
  readonly number?: string;
  /** Where they may be, the likeliest first. */
  readonly addresses: readonly Address[];
}

const service = '_sendall._tcp.local';
const group = { address: '224.0.0.251', port: 5353 } as const;
/** How long others may remember an answer, in s; whoever asks from another port than 5353 gets less. RFC 6762 6.7. */
const remembered = 120;
const rememberedBriefly = 10;
/** When it is asked, in ms after the first time: datagrams get lost. */
const askedAt = [0, 200, 500];
/** So many answers are listened to: a liar can say anything, any number of times. */
const mostAnswers = 64;
const mostAddresses = 4;

/**
 * Answers whoever asks on this network, until what it returns is called. Rejects with `cannot-connect` where another
 * program has the port for itself.
 */
async function announceOnLan(
  port: number,
  { number, addresses }: { readonly number?: string | undefined; readonly addresses: readonly Address[] },
): Promise<() => void> {
  const instance = randomBytes(4).toString('hex');
  const dns = open({});
  dns.on('query', (query: QueryPacket, from: RemoteInfo) => {
    const { questions = [] } = query;
    if (!questions.some(({ name, type }) => name.toLowerCase() === service && /^(?:PTR|ANY)$/.test(type))) return;
    const brief = from.port !== group.port;
    const ttl = brief ? rememberedBriefly : remembered;
    const [name, target] = [`${instance}.${service}`, `${instance}.local`];
    const hosts = addresses.flatMap((each) => (each.kind === 'tcp' && isIpv4(each.host) ? [each.host] : []));
    const response: ResponseOutgoingPacket = {
      ...(brief ? { id: query.id ?? 0, questions } : {}),
      answers: [{ name: service, type: 'PTR', ttl, data: name }],
      additionals: [
        { name, type: 'SRV', ttl, data: { port, target } },
        { name, type: 'TXT', ttl, data: ['v=1', ...(number === undefined ? [] : [`number=${number}`])] },
        ...hosts.map((data) => ({ name: target, type: 'A' as const, ttl, data })),
      ],
    };
    if (brief) dns.respond(response, { address: from.address, port: from.port });
    else dns.respond(response);
  });
  await new Promise<void>((resolve, reject) => {
    dns.on('ready', resolve);
    dns.on('error', (cause) =>
      reject(
        new TransferError('cannot-connect', `This machine cannot be found on the network: ${cause.message}.`, {
          cause,
          hint: 'Another program may have UDP port 5353 for itself. Whoever dials can still type the address.',
        }),
      ),
    );
  });
  return () => dns.destroy();
}

/**
 * The same for a listener that others find at `reachable`, as far as others can find it: not on loopback, and not at a
 * unix socket. What it returns ends it.
 */
export async function announceListener(
  listening: Address,
  reachable: readonly Address[],
  number: string | undefined,
): Promise<() => void> {
  if (listening.kind === 'unix' || isLoopback(listening.host)) return () => undefined;
  return announceOnLan(listening.port, { number, addresses: reachable });
}

/**
 * Who says within `time` ms that they are there, each place once, as they answer. Asks from a port of its own on each
 * interface, which works where a program has 5353 for itself. Throws nothing but `interrupted`.
 */
export async function* findOnLan(time: number, signal?: AbortSignal): AsyncGenerator<Nearby> {
  const found: Nearby[] = [];
  const seen = new Set<string>();
  let wake = (): void => undefined;
  let answers = 0;
  const take = (response: ResponsePacket, { address }: RemoteInfo): void => {
    if (++answers > mostAnswers) return;
    const nearby = nearbyIn(response, address);
    const shown = nearby && `${nearby.number ?? ''} ${nearby.addresses.map(formatAddress).join(' ')}`;
    if (!nearby || shown === undefined || seen.has(shown)) return;
    seen.add(shown);
    found.push(nearby);
    wake();
  };
  const asking = await Promise.all(ownAddresses().map((address) => ask(address, take)));
  const over = new AbortController();
  const ended = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
  const until = performance.now() + time;
  for (const after of askedAt)
    void sleep(after, undefined, { signal: ended })
      .then(() => asking.forEach((each) => each.query([{ name: service, type: 'PTR' }], group)))
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
    for (const each of asking) each.destroy();
  }
}

/** What an answer from `address` says, if it is of our service and of the form that ours have. */
function nearbyIn({ answers = [], additionals = [] }: ResponsePacket, address: string): Nearby | undefined {
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
  const told = records.flatMap((each) =>
    each.type === 'A' && each.name === target && isIpv4(each.data) ? [each.data] : [],
  );
  const hosts = [...new Set([address, ...told])].slice(0, mostAddresses);
  return {
    ...(number === undefined ? {} : { number }),
    addresses: hosts.map((host) => ({ kind: 'tcp', host, port })),
  };
}

/** A socket at a free port of `address`, from which it is asked on that interface. */
async function ask(address: string, take: (response: ResponsePacket, from: RemoteInfo) => void): Promise<MulticastDNS> {
  const socket = createSocket('udp4');
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
  dns.on('response', take);
  dns.on('error', ignored('whoever is found otherwise is found'));
  return dns;
}

function open(options: { readonly socket?: Socket; readonly bind?: false; readonly multicast?: false }): MulticastDNS {
  const makeDns = require('multicast-dns') as typeof import('multicast-dns');
  const dns = makeDns(options);
  dns.on('warning', (warning) => trace('multicast DNS: %o', warning));
  return dns;
}

/** One of each interface; that of this machine alone only where there is no other. */
function ownAddresses(): string[] {
  const first = Object.values(networkInterfaces()).flatMap((found = []) =>
    found.filter(({ family }) => family === 'IPv4').slice(0, 1),
  );
  const outward = first.filter(({ internal }) => !internal);
  return (outward.length > 0 ? outward : first).map(({ address }) => address);
}

function isIpv4(host: string): boolean {
  return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host);
}
