import { errnoOf, TransferError } from '../errors';
import { parseAddress } from './address';
import { dial, type Dialed } from './socket';

/** How an attempt to connect ended: `OK`, or the name of the system's error number. */
export type Tried =
  | { readonly code: 'OK'; readonly dialed: Dialed }
  /** `ECONNREFUSED`, `ENOENT`, `ENETUNREACH` …; `ETIMEDOUT` also where our own time was up. */
  | { readonly code: string; readonly dialed: undefined; readonly error: TransferError };

/**
 * Connects to `address` (`tcp://HOST:PORT` or `unix:PATH`) within `timeout` ms, and says how that ended instead of
 * rejecting, as `connect_ex` does. Only an address that makes no sense (`usage`) still rejects.
 */
export async function tryDial(address: string, options: { readonly timeout?: number } = {}): Promise<Tried> {
  const where = parseAddress(address);
  try {
    return { code: 'OK', dialed: await dial(where, options) };
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    return { code: errnoOf(error.cause) ?? 'ETIMEDOUT', dialed: undefined, error };
  }
}
