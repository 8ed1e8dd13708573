/**
 * Meeting through a transit relay: the protocol of magic-wormhole's, whose servers do as well as `sendall relay`. Both
 * sides dial it and name the same token; it answers both with `ok` and carries bytes from then on, TLS by the ticket's
 * key as over any other connection. It sees addresses, sizes and times. PROTOCOL.md 30.
 */
import { hkdfSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, TransferError } from '../errors';
import { ignored, trace } from '../trace';
import { type Address, formatAddress } from './address';
import { noRoom } from './relay-crowd';
import { relayPass, relaySides } from './relay-pass';
import { dial, type Dialed, type DialedPath } from './socket';
import type { SessionKey, TicketRelay } from './ticket';

/** Who dialed whom, if there were no relay: two of the same side never meet. */
export type RelaySide = keyof typeof relaySides;

/** What one side asks a relay for. */
export interface RelayRequest {
  readonly relay: Address;
  readonly token: string;
  readonly side: RelaySide;
  /** For a relay with a password; see `relayPass`. */
  readonly pass?: string | undefined;
}

const agreed = Buffer.from('ok\n');
/** What ours says to whoever has another password, or none. */
const wrongPassword = 'wrong password';
/** In bytes; a relay that says more than that before `ok` is none. */
const longestAnswer = 64;
/** Pauses, in ms, before the relay is dialed again that did not let us wait. */
const pauses = { first: 200, longest: 30_000 } as const;

/** What those name at the relay who have this key: 64 hexadecimal digits, which tell nothing of the key. */
export function relayToken(key: Uint8Array): string {
  return Buffer.from(hkdfSync('sha256', key, '', 'sendall relay 0', 32)).toString('hex');
}

/** What those name at the relay who have a code with this number: anybody can, and only the words decide. */
export function codeToken(number: string): string {
  return relayToken(Buffer.from(`sendall code ${number}`));
}

/** The same with the pass of whoever has the relay's password. */
export function withPass(request: RelayRequest, password: string | undefined): RelayRequest {
  const { token, side } = request;
  return password === undefined ? request : { ...request, pass: relayPass(password, token, relaySides[side]) };
}

/** What a ticket with `key` says of a relay: who dials needs no password for that. */
export function ticketRelay(
  relay: Address,
  { key }: Pick<SessionKey, 'key'>,
  password: string | undefined,
): TicketRelay {
  const { pass } = withPass({ relay, token: relayToken(key), side: 'dialing' }, password);
  return { relay, ...(pass === undefined ? {} : { relayPass: pass }) };
}

/**
 * Meets whoever names the same token on the other side, within `within` ms, or for as long as it takes. Who was closed
 * while it waited, for instance because another one was met, asks again. Rejects with `cannot-connect` where the relay
 * is not there, refuses, or nobody came, and with `interrupted`.
 */
export async function meetAtRelay(
  { relay, token, side, pass }: RelayRequest,
  { within = Infinity, signal }: { readonly within?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<Dialed & DialedPath> {
  const until = performance.now() + within;
  const words = `please relay ${token} for side ${relaySides[side]}${pass === undefined ? '' : ` pass ${pass}`}\n`;
  const nobody = new TransferError('cannot-connect', `Nobody waits for us at the relay ${shown(relay)}.`, {
    hint: 'Does the other side run, with the same relay?',
  });
  for (;;) {
    const dialed = await dialRelay(relay, signal);
    const { stream } = dialed;
    const hangUp = (reason: TransferError): void => stream.destroy(reason);
    const aborted = (): void => hangUp(new TransferError('interrupted', 'Interrupted.'));
    const late = within === Infinity ? undefined : setTimeout(() => hangUp(nobody), until - performance.now());
    signal?.addEventListener('abort', aborted, { once: true });
    try {
      await stream.write(Buffer.from(words));
      while (stream.peek().length < agreed.length && (await stream.more()));
      const answer = Buffer.from(stream.peek());
      if (answer.subarray(0, agreed.length).equals(agreed)) {
        stream.take(agreed.length);
        // Whoever is at the other end is on another machine, wherever the relay is.
        return {
          ...dialed,
          peer: `the other side (through the relay ${shown(relay)})`,
          local: false,
          user: undefined,
          relay,
        };
      }
      if (answer.length > 0) throw refusedBy(relay, answer);
    } catch (error) {
      if (signal?.aborted || (error instanceof TransferError && error.code !== 'connection-lost')) throw error;
      trace('the relay has closed our connection: %o', error);
    } finally {
      clearTimeout(late);
      signal?.removeEventListener('abort', aborted);
    }
    stream.destroy();
    if (performance.now() + pauses.first > until) throw nobody;
    await sleep(pauses.first, undefined, { ...(signal ? { signal } : {}) });
  }
}

/** Keeps one connection waiting at a relay, and another one as soon as somebody was met, until it is closed. */
export class RelayWaiter {
  private readonly stop = new AbortController();

  /** `accept` gets each connection that came about; `failed` why the relay does not let us wait, once until it does. */
  constructor(
    private readonly request: RelayRequest,
    private readonly accept: (met: Dialed) => void,
    private readonly failed: (error: TransferError) => void,
  ) {
    void this.wait();
  }

  close(): void {
    this.stop.abort();
  }

  private async wait(): Promise<void> {
    const { signal } = this.stop;
    let isReported = false;
    let pause: number = pauses.first;
    while (!signal.aborted) {
      try {
        this.accept(await meetAtRelay(this.request, { signal }));
        [isReported, pause] = [false, pauses.first];
      } catch (error) {
        if (signal.aborted) return;
        if (!isReported) this.failed(andAgain(asTransferError(error, 'cannot-connect', 'The relay cannot be used')));
        isReported = true;
        await sleep(pause, undefined, { signal }).catch(ignored('closed, as is asked above'));
        pause = Math.min(pauses.longest, pause * 2);
      }
    }
  }
}

/** The same, for whoever waits meanwhile. */
function andAgain({ code, message, hint = '', cause }: TransferError): TransferError {
  return new TransferError(code, message, { cause, hint: `${hint} It is tried again as long as this runs.`.trim() });
}

async function dialRelay(relay: Address, signal: AbortSignal | undefined): Promise<Dialed & DialedPath> {
  try {
    return await dial(relay, { ...(signal ? { signal } : {}) });
  } catch (cause) {
    if (!(cause instanceof TransferError) || cause.code !== 'cannot-connect') throw cause;
    throw new TransferError('cannot-connect', `The relay cannot be used. ${cause.message}`, {
      cause,
      hint: 'Does the relay run, is its address right, and does its firewall let in that port?',
    });
  }
}

function refusedBy(relay: Address, answer: Buffer): TransferError {
  const said = answer.subarray(0, longestAnswer).toString('latin1').trim();
  if (said === wrongPassword)
    return new TransferError('cannot-connect', `The relay ${shown(relay)} has a password, and was not given it.`, {
      hint: 'Give it to both sides with --relay-password-file. A ticket holds what its sender needs.',
    });
  if (said === noRoom)
    return new TransferError(
      'cannot-connect',
      `The relay ${shown(relay)} has no room for another one of this address.`,
      {
        hint: 'Try again later, or use another relay: sendall relay is one.',
      },
    );
  return new TransferError('cannot-connect', `The relay ${shown(relay)} refuses: ${JSON.stringify(said)}.`, {
    hint: 'Is it a transit relay, as sendall relay and magic-wormhole have them?',
  });
}

function shown(relay: Address): string {
  return formatAddress(relay).replace(/^tcp:\/\//, '');
}
