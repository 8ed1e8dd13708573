// Several addresses of one peer, tried almost at once, so that one that does not answer costs a quarter of a second and
// not a whole deadline: RFC 8305 (Happy Eyeballs), section 5.
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { TransferError } from '../errors';
import { type Address, formatAddress, isLinkLocal } from './address';
import { dial, type Dialed, type DialOptions, type DialedPath } from './socket';
import { ignored } from '../trace';

/** Ms without an answer after which the next address is tried as well. RFC 8305, section 8. */
const attemptDelay = 250;

/** A connection, and which of the addresses it leads to. */
export type DialedAt = Dialed & DialedPath & { readonly address: Address };

type DialOutcome =
  { readonly number: number; readonly dialed: DialedAt } | { readonly number: number; readonly error: unknown };

/**
 * Connections to these addresses, in the order in which they come about, the first addresses tried first; whoever takes
 * one and finds that nobody of use is there takes the next. Those that are not taken are closed at the end. Throws,
 * once none is left, `cannot-connect` with what is wrong with each, and `interrupted` when `signal` aborts. `attempt`
 * dials one.
 */
export async function* dialEach(
  addresses: readonly Address[],
  options: DialOptions = {},
  attempt: typeof dial = dial,
): AsyncGenerator<DialedAt, never, undefined> {
  const targets = addresses.flatMap((address) => onEachLink(address));
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const attempts = new Map<number, Promise<DialOutcome>>();
  const failures: TransferError[] = [];
  const start = (address: Address, number: number): void => {
    const dialing = attempt(address, { ...options, signal });
    attempts.set(
      number,
      dialing.then(
        (dialed) => ({ number, dialed: { ...dialed, address } }),
        (error: unknown) => ({ number, error }),
      ),
    );
  };
  try {
    let next = 0;
    for (;;) {
      const target = targets[next];
      if (target) start(target, next++);
      if (attempts.size === 0) throw noneOf(targets, failures);
      const patience = new AbortController();
      const late = sleep(attemptDelay, undefined, { signal: patience.signal }).catch(ignored('somebody came'));
      const outcome = await Promise.race([...attempts.values(), ...(next < targets.length ? [late] : [])]);
      patience.abort();
      if (outcome === undefined) continue;
      attempts.delete(outcome.number);
      if ('dialed' in outcome) yield outcome.dialed;
      else if (!(outcome.error instanceof TransferError) || outcome.error.code === 'interrupted') throw outcome.error;
      else failures.push(outcome.error);
    }
  } finally {
    stop.abort();
    for (const outcome of await Promise.all(attempts.values()))
      if ('dialed' in outcome) outcome.dialed.stream.destroy();
  }
}

/** The first connection that comes about. Rejects as `dialEach` throws. */
export async function dialFirst(addresses: readonly Address[], options: DialOptions = {}): Promise<DialedAt> {
  const dialing = dialEach(addresses, options);
  try {
    return (await dialing.next()).value;
  } finally {
    await dialing.return(undefined as never);
  }
}

/**
 * A link-local address of IPv6 means something on one link only. Where it does not say which, that is any of those that
 * this machine is on: the name that the other machine has for the link is of no use here. RFC 4007, section 11.
 */
export function onEachLink(address: Address, interfaces = networkInterfaces()): Address[] {
  if (address.kind === 'unix' || !isLinkLocal(address.host) || address.host.includes('%')) return [address];
  const links = Object.entries(interfaces).flatMap(([name, found]) =>
    (found ?? []).some((each) => !each.internal && isLinkLocal(each.address)) ? [name] : [],
  );
  return links.length === 0 ? [address] : links.map((link) => ({ ...address, host: `${address.host}%${link}` }));
}

function noneOf(targets: readonly Address[], failures: readonly TransferError[]): TransferError {
  const [only] = failures;
  if (only && failures.length === 1) return only;
  return new TransferError(
    'cannot-connect',
    failures.length === 0
      ? `Nobody of use answers at ${targets.map(formatAddress).join(', ')}.`
      : `No address of the other side can be reached. ${failures.map(({ message }) => message).join(' ')}`,
    { cause: only?.cause, ...(only?.hint === undefined ? {} : { hint: only.hint }) },
  );
}
