/** From a code that somebody has typed to the ticket of whoever shows it. PROTOCOL.md 28. */
import { TransferError } from '../errors';
import { type Address, formatAddress } from '../net/address';
import { Connection } from '../net/connection';
import { dialEach } from '../net/happy-eyeballs';
import type { Ticket } from '../net/ticket';
import { lanFor } from '../session/deadlines';
import type { Role } from '../wire/hello';
import { ignored, trace } from '../trace';
import type { Code, CodeTarget } from './code';
import { dialByCode } from './exchange';
import { KeptTickets } from './kept-tickets';
import { mostTries } from './open-code';

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
export async function reachByCode({ code, addresses }: CodeTarget, role: Role, signal?: AbortSignal): Promise<Reached> {
  const kept = new KeptTickets();
  const forget = async (): Promise<void> =>
    kept.forget(code).catch(ignored('a ticket that is of no use any more does no harm'));
  const earlier = kept.find(code);
  if (earlier) {
    trace('this code has led to a ticket before');
    return { ticket: withAddresses(earlier, addresses), forget };
  }
  const ticket = addresses.length > 0 ? await agree({ code, addresses }, role, signal) : await find(code, role, signal);
  await kept.keep(code, ticket).catch(ignored('without it the transfer only cannot go on after this process'));
  return { ticket, forget };
}

/** As `agree`, with whoever says on this network that they show the code; all of them get three tries together. */
async function find(code: Code, role: Role, signal: AbortSignal | undefined): Promise<Ticket> {
  const { findOnLan } = require('../net/lan') as typeof import('../net/lan');
  const tries = { left: mostTries };
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
  { code, addresses }: CodeTarget,
  role: Role,
  signal: AbortSignal | undefined,
  tries = { left: mostTries },
): Promise<Ticket> {
  let failure: unknown;
  try {
    for await (const { stream, peer, address } of dialEach(addresses, { ...(signal ? { signal } : {}) })) {
      const connection = new Connection(stream, peer);
      const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
      signal?.addEventListener('abort', aborted, { once: true });
      if (signal?.aborted) aborted();
      try {
        return withAddresses({ ...(await dialByCode(connection, code, role)), address }, addresses);
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
  const { address, id, key } = ticket;
  const shown = formatAddress(address);
  const others = addresses.filter((each) => formatAddress(each) !== shown);
  return { id, key, address, ...(others.length === 0 ? {} : { others }) };
}
