/** From a code that somebody has typed to the ticket of whoever shows it. PROTOCOL.md 28. */
import { TransferError } from '../errors';
import { type Address, formatAddress } from '../net/address';
import { Connection } from '../net/connection';
import { dialEach } from '../net/happy-eyeballs';
import type { Ticket } from '../net/ticket';
import type { Role } from '../wire/hello';
import { ignored, trace } from '../trace';
import type { CodeTarget } from './code';
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
 * the addresses. Rejects with `cannot-connect`, with `not-authorized` where the codes differ, `usage` where it is not
 * known whom to dial, and `interrupted`.
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
  if (addresses.length === 0)
    throw new TransferError('usage', 'It is not known where the other side of this code is.', {
      hint: 'Add its address as it shows it: 4821-crane-velvet@192.168.1.20',
    });
  const ticket = await agree({ code, addresses }, role, signal);
  await kept.keep(code, ticket).catch(ignored('without it the transfer only cannot go on after this process'));
  return { ticket, forget };
}

/**
 * The addresses are tried one after another, but no more of them than the code may be tried: whoever answers there may
 * have been guessing.
 */
async function agree({ code, addresses }: CodeTarget, role: Role, signal: AbortSignal | undefined): Promise<Ticket> {
  let failure: unknown;
  let tries = 0;
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
        if (signal?.aborted || ++tries >= mostTries) throw error;
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
