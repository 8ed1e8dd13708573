/** From a code that somebody has typed to the ticket of whoever shows it. PROTOCOL.md 28. */
import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, TransferError } from '../errors';
import { type Address, formatAddress } from '../net/address';
import { Connection } from '../net/connection';
import { dialEach } from '../net/happy-eyeballs';
import type { SessionKey, Ticket } from '../net/ticket';
import { dialSecured } from '../net/tls';
import { directAlone, directFor, keyKnownWithin, lanFor, usualDial } from '../session/deadlines';
import type { Role } from '../wire/hello';
import { ignored, trace } from '../trace';
import type { CodeTarget } from './code';
import { dialByCode } from './exchange';
import { KeptTickets } from './kept-tickets';
import { Tries } from './tries';

/** What became of a code that was typed. */
export interface Reached {
  readonly ticket: Ticket;
  /** The transfer is over, or can never go on: the ticket is of no more use. */
  readonly forget: () => Promise<void>;
}

/**
 * The ticket that a code leads to: of an earlier run of the same command, or agreed on with whoever listens at one of
 * the addresses. Rejects with `cannot-connect`, with `not-authorized` where the codes differ, and `interrupted`.
 */
export async function reachByCode(target: CodeTarget, role: Role, signal?: AbortSignal): Promise<Reached> {
  const { code, addresses } = target;
  const kept = new KeptTickets();
  const forget = async (): Promise<void> =>
    kept.forget(code).catch(ignored('a ticket that is of no use any more does no harm'));
  const earlier = kept.find(code);
  if (earlier) {
    const ticket = withAddresses(earlier.ticket, addresses);
    trace('this code has led to a ticket before');
    if (earlier.agreed || (await isKnown(ticket, signal))) return { ticket, forget };
  }
  const ticket = await meet(target, role, kept, signal);
  await kept.keep(code, ticket).catch(ignored('without it the transfer only cannot go on after this process'));
  return { ticket, forget };
}

/**
 * At the typed addresses, else on this network; and beside that at the relay, where one was typed. PROTOCOL.md 30.6.
 */
async function meet(
  target: CodeTarget,
  role: Role,
  kept: KeptTickets,
  signal: AbortSignal | undefined,
): Promise<Ticket> {
  const { addresses, relay } = target;
  const tries = new Tries();
  const stop = new AbortController();
  const search: CodeSearch = {
    target,
    role,
    kept,
    tries,
    ended: AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]),
  };
  const direct = addresses.length > 0 ? agree(addresses, search) : find(search);
  if (!relay) return direct;
  const began = performance.now();
  const times = { from: began + directAlone, relayFrom: began + (addresses.length > 0 ? directFor : lanFor) };
  const relayed = agreeAtRelay(relay, direct, times, search);
  try {
    return await eitherOf(direct, relayed, tries);
  } catch (error) {
    throw signal?.aborted ? new TransferError('interrupted', 'Interrupted.') : error;
  } finally {
    stop.abort();
  }
}

/** What all ways to whoever shows a code have in common. */
interface CodeSearch {
  readonly target: CodeTarget;
  readonly role: Role;
  readonly kept: KeptTickets;
  readonly tries: Tries;
  /** Nobody waits for it any more. */
  readonly ended: AbortSignal;
}

/**
 * The ticket of the way that leads to one. Whoever has other words in one place would have them in the other as well:
 * then no further try begins, and one that is running is waited for, since it may be what used the code up.
 */
async function eitherOf(direct: Promise<Ticket>, relayed: Promise<Ticket>, tries: Tries): Promise<Ticket> {
  const ways = [direct, relayed].map((way) =>
    way.catch((error: unknown) => {
      const failure = asTransferError(error, 'cannot-connect', 'The other side could not be met');
      if (failure.code === 'not-authorized') tries.end();
      return failure;
    }),
  );
  const first = await Promise.race(ways);
  if (!(first instanceof TransferError)) return first;
  const ends = await Promise.all(ways);
  for (const end of ends) if (!(end instanceof TransferError)) return end;
  const failures = ends.filter((end) => end instanceof TransferError);
  const [failure = first, why = first] = failures;
  throw (
    failures.find(({ code }) => code === 'not-authorized') ??
    new TransferError(why.code, `${failure.message} ${why.message}`, { cause: why, hint: why.hint ?? '' })
  );
}

/**
 * Goes to the relay at once, and tries the code there `from` a moment on that gives a neighbor time to answer, or once
 * nobody does. What is met there says where it is; it is dialed there until `relayFrom`, so that the session can do
 * without the relay if that is possible. Both by performance.now().
 */
async function agreeAtRelay(
  relay: Address,
  direct: Promise<Ticket>,
  { from, relayFrom }: { readonly from: number; readonly relayFrom: number },
  search: CodeSearch,
): Promise<Ticket> {
  const { target, tries, ended } = search;
  const { code, relayPassword: password } = target;
  const relaying = require('../net/relay') as typeof import('../net/relay');
  const { meetAtRelay, codeToken, ticketRelay, withPass } = relaying;
  const request = withPass({ relay, token: codeToken(code.number), side: 'dialing' }, password);
  const { stream, peer } = await meetAtRelay(request, {
    within: usualDial,
    signal: AbortSignal.any([ended, tries.over]),
  });
  try {
    await Promise.race([direct.catch(ignored('whoever waits for it is told')), until(from, ended)]);
    const ticketOf = ({ id, key }: SessionKey, [address = relay, ...others]: readonly Address[]): Ticket => {
      const through = ticketRelay(relay, { key }, password);
      return { id, key, address, ...through, relayFrom, ...(others.length === 0 ? {} : { others }) };
    };
    return await tries.run(
      'relay',
      () => exchange(new Connection(stream, peer), ticketOf, search),
      until(relayFrom, ended),
    );
  } finally {
    stream.destroy();
  }
}

/** As `agree`, with whoever says on this network that they show the code. */
async function find(search: CodeSearch): Promise<Ticket> {
  const { target, tries, ended } = search;
  const { number } = target.code;
  const { findOnLan } = require('../net/lan') as typeof import('../net/lan');
  let failure: TransferError | undefined;
  try {
    for await (const found of findOnLan(lanFor, AbortSignal.any([ended, tries.over]))) {
      if (found.number !== number) continue;
      try {
        return await agree(found.addresses, search, 'one-machine');
      } catch (error) {
        if (!(error instanceof TransferError)) throw error;
        failure = error;
        if (ended.aborted || tries.over.aborted) break;
      }
    }
  } catch (error) {
    throw failure ?? error;
  }
  if (failure) throw failure;
  throw new TransferError('cannot-connect', `Nobody on this network says that they show a code with ${number}.`, {
    hint: 'Add the address that the other side shows: 4821-crane-velvet@192.168.1.20. Its firewall has to let in TCP port 8898, and UDP port 5353 to be found by itself.',
  });
}

/**
 * The addresses are tried one after another: whoever answers there may have been guessing. Where they are said to be of
 * `one-machine`, other words at one of them are other words at all: that is one guess, not two.
 */
async function agree(
  addresses: readonly Address[],
  search: CodeSearch,
  of: 'one-machine' | 'any' = 'any',
): Promise<Ticket> {
  const { target, tries, ended } = search;
  const { relay, relayPassword } = target;
  let failure: unknown;
  try {
    for await (const { stream, peer, address } of dialEach(addresses, {
      ...(relay && target.addresses.length > 0 ? { timeout: directFor } : {}),
      signal: AbortSignal.any([ended, tries.over]),
    })) {
      try {
        const ticketOf = ({ id, key }: SessionKey): Ticket => {
          const { ticketRelay } = require('../net/relay') as typeof import('../net/relay');
          const through = relay ? ticketRelay(relay, { key }, relayPassword) : {};
          return withAddresses({ id, key, address, ...through }, addresses);
        };
        return await tries.run('address', () => exchange(new Connection(stream, peer), ticketOf, search));
      } catch (error) {
        failure = error;
        stream.destroy();
        const isWrong = error instanceof TransferError && error.code === 'not-authorized';
        if (ended.aborted || tries.over.aborted || (of === 'one-machine' && isWrong)) throw error;
      }
    }
  } catch (error) {
    throw failure ?? error;
  }
  throw new TransferError('unexpected', 'Dialing ended without an end.');
}

/**
 * One try over a connection, which ends with it. Once the other side has proved that it has the key, the ticket is
 * kept: should its last frame be lost, it may know the key all the same, and the code would be used up with nothing
 * come of it. Then it is asked for that key, which costs no try. PROTOCOL.md 28.8.
 */
async function exchange(
  connection: Connection,
  ticketOf: (key: SessionKey, addresses: readonly Address[]) => Ticket,
  { target: { code }, role, kept, ended }: CodeSearch,
): Promise<Ticket> {
  const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
  ended.addEventListener('abort', aborted, { once: true });
  if (ended.aborted) aborted();
  try {
    const key = await dialByCode(connection, code, role);
    const early = ticketOf(key, []);
    await kept.keep(code, early, false).catch(ignored('without it only this process can ask for the key again'));
    try {
      return ticketOf(key, await key.prove());
    } catch (error) {
      const isRefused = error instanceof TransferError && error.code === 'not-authorized';
      if (!isRefused && (await isKnown(early, ended))) return early;
      throw error;
    }
  } finally {
    ended.removeEventListener('abort', aborted);
  }
}

/** Whether the other side can be reached now, and lets in who has the key of `ticket`. */
async function isKnown(ticket: Ticket, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    const { stream, peer } = await dialSecured(ticket, { timeout: keyKnownWithin, signal });
    await new Connection(stream, peer).linger();
    return true;
  } catch (error) {
    ignored('the code is tried as if there had been no ticket, or it is told why that failed')(error);
    return false;
  }
}

/** Resolves at `time`, by performance.now(), or when `ended` aborts. */
async function until(time: number, ended: AbortSignal): Promise<'late'> {
  await sleep(Math.max(0, time - performance.now()), undefined, { signal: ended }).catch(
    ignored('nobody waits for it'),
  );
  return 'late';
}

/** The ticket with `addresses`, that of the ticket first. */
function withAddresses(ticket: Ticket, addresses: readonly Address[]): Ticket {
  const { address } = ticket;
  const shown = formatAddress(address);
  const others = addresses.filter((each) => formatAddress(each) !== shown);
  const { others: _others, ...rest } = ticket;
  return others.length === 0 ? rest : { ...rest, others };
}
