/** From a code that somebody has typed to the ticket of whoever shows it. PROTOCOL.md 28. */
import { asTransferError, TransferError } from '../errors';
import { type Address, formatAddress } from '../net/address';
import { Connection } from '../net/connection';
import { dialEach } from '../net/happy-eyeballs';
import type { Ticket } from '../net/ticket';
import { directFor, lanFor, usualDial } from '../session/deadlines';
import type { Role } from '../wire/hello';
import { ignored, trace } from '../trace';
import type { Code, CodeTarget } from './code';
import { dialByCode } from './exchange';
import { KeptTickets } from './kept-tickets';
import { mostTries } from './open-code';

/** How often the code may still be tried. */
interface TriesLeft {
  left: number;
}

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
    trace('this code has led to a ticket before');
    return { ticket: withAddresses(earlier, addresses), forget };
  }
  const ticket = await meet(target, role, signal);
  await kept.keep(code, ticket).catch(ignored('without it the transfer only cannot go on after this process'));
  return { ticket, forget };
}

/** In this order: at the typed addresses, else on this network; then at the relay, where one was typed. */
async function meet(target: CodeTarget, role: Role, signal: AbortSignal | undefined): Promise<Ticket> {
  const { code, addresses, relay, relayPassword: password } = target;
  const tries = { left: mostTries };
  try {
    return await (addresses.length > 0 ? agree(target, role, signal, tries) : find(code, role, signal, tries));
  } catch (error) {
    const failure = asTransferError(error, 'cannot-connect', 'The other side could not be met');
    // Whoever has other words here would have them there as well.
    if (!relay || signal?.aborted || failure.code === 'not-authorized') throw failure;
    return agreeAtRelay({ code, relay, password }, role, signal).catch((error: unknown) => {
      const why = asTransferError(error, 'cannot-connect', 'The relay failed');
      throw new TransferError(why.code, `${failure.message} ${why.message}`, { cause: error, hint: why.hint ?? '' });
    });
  }
}

/** What is met there says where it is, so that the session can do without the relay if that is possible. */
async function agreeAtRelay(
  { code, relay, password }: { readonly code: Code; readonly relay: Address; readonly password: string | undefined },
  role: Role,
  signal: AbortSignal | undefined,
): Promise<Ticket> {
  const relaying = require('../net/relay') as typeof import('../net/relay');
  const { meetAtRelay, codeToken, ticketRelay, withPass } = relaying;
  const request = withPass({ relay, token: codeToken(code.number), side: 'dialing' }, password);
  const { stream, peer } = await meetAtRelay(request, { within: usualDial, signal });
  const connection = new Connection(stream, peer);
  const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
  signal?.addEventListener('abort', aborted, { once: true });
  if (signal?.aborted) aborted();
  try {
    const { id, key, addresses } = await dialByCode(connection, code, role);
    const [address = relay, ...others] = addresses;
    const through = ticketRelay(relay, { key }, password);
    return { id, key, address, ...through, ...(others.length === 0 ? {} : { others }) };
  } finally {
    signal?.removeEventListener('abort', aborted);
  }
}

/** As `agree`, with whoever says on this network that they show the code; all of them get three tries together. */
async function find(code: Code, role: Role, signal: AbortSignal | undefined, tries: TriesLeft): Promise<Ticket> {
  const { findOnLan } = require('../net/lan') as typeof import('../net/lan');
  let failure: TransferError | undefined;
  for await (const { number, addresses } of findOnLan(lanFor, signal)) {
    if (number !== code.number) continue;
    try {
      return await agree({ code, addresses }, role, signal, tries);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      failure = error;
      if (signal?.aborted || tries.left === 0) break;
    }
  }
  if (failure) throw failure;
  throw new TransferError('cannot-connect', `Nobody on this network says that they show a code with ${code.number}.`, {
    hint: 'Add the address that the other side shows: 4821-crane-velvet@192.168.1.20. Its firewall has to let in TCP port 8898, and UDP port 5353 to be found by itself.',
  });
}

/**
 * The addresses are tried one after another, but no more of them than the code may be tried: whoever answers there may
 * have been guessing.
 */
async function agree(
  { code, addresses, relay, relayPassword }: CodeTarget,
  role: Role,
  signal: AbortSignal | undefined,
  tries: TriesLeft,
): Promise<Ticket> {
  let failure: unknown;
  try {
    for await (const { stream, peer, address } of dialEach(addresses, {
      ...(relay ? { timeout: directFor } : {}),
      ...(signal ? { signal } : {}),
    })) {
      const connection = new Connection(stream, peer);
      const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
      signal?.addEventListener('abort', aborted, { once: true });
      if (signal?.aborted) aborted();
      try {
        const { id, key } = await dialByCode(connection, code, role);
        const { ticketRelay } = require('../net/relay') as typeof import('../net/relay');
        const through = relay ? ticketRelay(relay, { key }, relayPassword) : {};
        return withAddresses({ id, key, address, ...through }, addresses);
      } catch (error) {
        failure = error;
        if (signal?.aborted || --tries.left === 0) throw error;
      } finally {
        signal?.removeEventListener('abort', aborted);
      }
    }
  } catch (error) {
    throw failure ?? error;
  }
  throw new TransferError('unexpected', 'Dialing ended without an end.');
}

/** The ticket with `addresses`, that of the ticket first. */
function withAddresses(ticket: Ticket, addresses: readonly Address[]): Ticket {
  const { address } = ticket;
  const shown = formatAddress(address);
  const others = addresses.filter((each) => formatAddress(each) !== shown);
  const { others: _others, ...rest } = ticket;
  return others.length === 0 ? rest : { ...rest, others };
}
