import { randomBytes } from 'node:crypto';
import { connect, createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, errnoOf, TransferError } from '../errors';
import { ignored } from '../trace';
import { dialEach, type DialedAt } from './happy-eyeballs';
import { adoptSecured, type Dialed, type DialOptions } from './socket';
import type { ByteStream } from './byte-stream';
import { addressesIn, type Ticket } from './ticket';
import { exporterLabel, secretLength } from '../wire/record';
import { beginsCode } from '../wire/code-message';
import { beginsSealed } from '../wire/sealed-hello';

/** A connection on which both sides have shown that they hold the same key. */
export interface Secured extends Dialed {
  readonly keyId: string;
  /** What nobody but these two can know, whatever becomes of the key: `secretLength` bytes of TLS's exporter. */
  readonly secret: Buffer;
}

/** An empty `ca`, since no certificate is ever right. A cipher with SHA-384 could not carry these keys. */
const settings: SecureContextOptions = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',
  ca: [],
};
const keyLength = 32;
/**
 * Of the record with a hello: several times what one needs that offers a key. A longer one may not be here whole, and
 * OpenSSL then waits for its rest in vain.
 */
const longestHello = 4_000;
const idForm = /^[0-9a-f]{32}$/;

/**
 * Whether a connection that begins with `bytes` is TLS (`16 03`, then not `00`); undefined while that is open. No frame
 * begins like that.
 */
export function beginsTls(bytes: Uint8Array): boolean | undefined {
  const [first, second, third] = bytes;
  if (first === undefined) return undefined;
  if (first !== 0x16) return false;
  if (second === undefined) return undefined;
  if (second !== 0x03) return false;
  return third === undefined ? undefined : third !== 0x00;
}

/** The length of the first TLS record, as far as it is known. */
function helloLength([, , , high = 0, low = 0]: Uint8Array): number {
  return high * 256 + low;
}

/**
 * What a connection may be by its first bytes: TLS, the first frame of a sealed connection or of a code, or anything
 * else.
 */
export type Announced = 'tls' | 'sealed' | 'code' | 'plain';

/**
 * What `stream` begins with, without taking anything; `plain` also for a peer that says nothing for `within` ms, or
 * ends.
 */
export async function announced(stream: ByteStream, within: number): Promise<Announced> {
  let late: NodeJS.Timeout | undefined;
  const silence = new Promise<'plain'>((resolve) => {
    late = setTimeout(() => resolve('plain'), within);
  });
  const look = async (): Promise<Announced> => {
    for (;;) {
      const bytes = stream.peek();
      const [tls, sealed, code] = [beginsTls(bytes), beginsSealed(bytes), beginsCode(bytes)];
      if (tls === true) return 'tls';
      if (sealed === true) return 'sealed';
      if (code === true) return 'code';
      if ((tls === false && sealed === false && code === false) || !(await stream.more())) return 'plain';
    }
  };
  try {
    // A failed stream is left to its next reader.
    return await Promise.race([look().catch(() => 'plain' as const), silence]);
  } finally {
    clearTimeout(late);
  }
}

/** Window in ms for the handshake at one address of several, before the next is tried. */
const patience = 3_000;

/** Ms without a direct connection after which the relay of the ticket is tried as well. */
const relayAfter = 1_500;

/**
 * As `dialDirectly`, and where the ticket has a relay also through that: once nothing answers directly, or after 1.5 s,
 * or as its `relayFrom` says. What comes about first is taken. Rejects as `dialDirectly` does, and then says what
 * became of the relay, too.
 */
export async function dialSecured(ticket: Ticket, options: DialOptions = {}): Promise<Secured & DialedAt> {
  const { relay } = ticket;
  if (!relay) return dialDirectly(ticket, options);
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const direct = dialDirectly(ticket, { ...options, signal });
  const relayed = (async (): Promise<Secured & DialedAt> => {
    const failed = direct.then(
      () => new Promise<never>(() => undefined),
      (error: unknown) => asTransferError(error, 'unexpected', 'Dialing failed'),
    );
    const { relayFrom, key, relayPass: pass } = ticket;
    const wait = async (until: number): Promise<void> => {
      const left = Math.max(0, until - performance.now());
      const failure = await Promise.race([failed, sleep(left, undefined, { signal })]);
      if (failure?.code === 'interrupted') throw failure;
    };
    if (relayFrom === undefined) await wait(performance.now() + relayAfter);
    const { timeout: within = 10_000 } = options;
    const { meetAtRelay, relayToken } = require('./relay') as typeof import('./relay');
    const met = await meetAtRelay({ relay, token: relayToken(key), side: 'dialing', pass }, { within, signal });
    const secured = await secure(met, ticket, performance.now() + within, { ...options, signal }).catch(brokenOff);
    if (relayFrom !== undefined) await wait(relayFrom);
    return { ...secured, address: ticket.address };
  })();
  let taken: Secured | undefined;
  try {
    return (taken = await Promise.any([direct, relayed]));
  } catch (error) {
    const [first, second] = (error as AggregateError).errors as unknown[];
    const failure = asTransferError(first, 'cannot-connect', 'Dialing failed');
    if (failure.code === 'interrupted') throw failure;
    const why = asTransferError(second, 'cannot-connect', 'The relay failed');
    const hint = why.hint ?? failure.hint;
    throw new TransferError(failure.code, `${failure.message} ${why.message}`, {
      cause: failure.cause,
      ...(hint === undefined ? {} : { hint }),
    });
  } finally {
    stop.abort();
    for (const each of [direct, relayed])
      void each
        .then((late) => {
          if (late.stream !== taken?.stream) late.stream.destroy();
        })
        .catch(ignored('the other way was taken'));
  }
}

/** Who was met at the relay did not get as far as its key. */
function brokenOff(error: unknown): never {
  if (!(error instanceof TransferError) || error.code !== 'cannot-connect') throw error;
  const hint = 'Do the other command, and the relay, still run? Then start the same command again.';
  throw new TransferError(error.code, error.message, { cause: error.cause, hint });
}

/**
 * Dials the addresses of a ticket (see `dialEach`), and proves to each side that the other one holds the key, within
 * `timeout` ms in all. Where somebody else answers at one address, the next is tried. Rejects with `not-authorized`
 * (the key is not known there, or somebody else answered), `cannot-connect`, or `interrupted` when `signal` aborts.
 */
async function dialDirectly(ticket: Ticket, options: DialOptions = {}): Promise<Secured & DialedAt> {
  const { timeout = 10_000, signal, congestion } = options;
  const until = performance.now() + timeout;
  const several = ticket.others !== undefined;
  let failure: unknown;
  const dialing = dialEach(addressesIn(ticket), { timeout, signal, congestion });
  try {
    for await (const dialed of dialing) {
      try {
        return await secure(dialed, ticket, several ? Math.min(until, performance.now() + patience) : until, options);
      } catch (error) {
        if (error instanceof TransferError && error.code === 'interrupted') throw error;
        // Somebody else has that address here.
        failure = error;
      }
    }
  } catch (error) {
    throw error instanceof TransferError && error.code === 'interrupted' ? error : (failure ?? error);
  }
  throw new TransferError('unexpected', 'Dialing ended without an end.');
}

/** The key is shown on a connection that was dialed, until `until` by performance.now(). */
function secure<To extends Dialed>(
  dialed: To,
  ticket: Ticket,
  until: number,
  { timeout = 10_000, signal }: DialOptions,
): Promise<To & Secured> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...settings,
      socket: dialed.stream.detach(),
      rejectUnauthorized: true,
      // Asked about a certificate only: any machine in the middle could have one that is in order.
      checkServerIdentity: () => new Error('A certificate was shown instead of the key.'),
      pskCallback: () => ({ identity: ticket.id, psk: ticket.key }),
    });
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
    };
    const give = (error: TransferError): void => {
      settle();
      socket.destroy();
      reject(error);
    };
    const aborted = (): void => give(new TransferError('interrupted', 'Interrupted.'));
    const late = (): void =>
      give(
        new TransferError(
          'cannot-connect',
          `${begun(dialed.peer)} did not answer within ${String(timeout / 1000)} s.`,
          {
            cause: unfinished(),
          },
        ),
      );
    const timer = setTimeout(late, Math.max(0, until - performance.now()));
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    const failed = (cause: Error): void => give(refusal(dialed.peer, cause));
    socket.on('error', failed);
    socket.once('secureConnect', () => {
      if (!provedByKey(socket)) {
        give(refusal(dialed.peer));
        return;
      }
      settle();
      socket.off('error', failed);
      resolve({ ...dialed, stream: adoptSecured(socket), keyId: ticket.id, secret: exportSecret(socket) });
    });
  });
}

/**
 * The accepting side: makes TLS of `accepted`, whose first bytes were looked at and not taken, within `deadline` ms.
 * `lookup` gives the key of an id at this moment. An id that it does not know fails exactly as a wrong key does.
 * Rejects with `timeout`, or with `not-authorized`, also where the peer leaves; the connection is closed then.
 */
export function acceptSecured(
  accepted: Dialed,
  lookup: (id: string) => Uint8Array | undefined,
  options: { readonly deadline: number },
): Promise<Secured> {
  const { deadline } = options;
  return new Promise((resolve, reject) => {
    let keyId: string | undefined;
    // One for each connection: so no session ticket of an earlier one is worth anything, and a key removed is one that
    // opens nothing.
    const server = createServer({
      ...settings,
      handshakeTimeout: deadline,
      pskCallback: (_socket, id) => {
        const key = idForm.test(id) ? lookup(id) : undefined;
        keyId = key && id;
        return key ?? randomBytes(keyLength);
      },
    });
    const tooLong = helloLength(accepted.stream.peek()) > longestHello;
    const raw = accepted.stream.detach();
    const give = (error: TransferError): void => {
      clearTimeout(timer);
      raw.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => give(new TransferError('timeout', 'The peer did not show a key in time.')),
      deadline,
    );
    const refuse = (cause?: Error): void =>
      give(
        new TransferError('not-authorized', 'The peer did not show a key that is known here.', {
          cause,
          hint: 'It has a ticket of an earlier run, or a key that was taken away: sendall authorize --list shows those that are good.',
        }),
      );
    server.on('tlsClientError', refuse);
    // Nothing is ever resumed. That somebody is asked also makes OpenSSL's input 16 KiB wide from the first byte on,
    // where it would be as narrow as that byte and read twice as often for good: an eighth of the work of receiving.
    server.on('resumeSession', (_id: Buffer, answer: (error: null, session: null) => void) => answer(null, null));
    // So that a peer that leaves in the middle of the handshake is noticed at once.
    const { allowHalfOpen } = raw;
    raw.allowHalfOpen = false;
    server.on('secureConnection', (socket) => {
      socket.allowHalfOpen = allowHalfOpen;
      if (keyId === undefined || !provedByKey(socket)) {
        refuse();
        return;
      }
      clearTimeout(timer);
      resolve({ ...accepted, stream: adoptSecured(socket), keyId, secret: exportSecret(socket) });
    });
    if (tooLong) refuse();
    else server.emit('connection', raw);
  });
}

/**
 * What OpenSSL says after a handshake by key alone: no certificate was shown, and the key counts as a session reused.
 */
function provedByKey(socket: TLSSocket): boolean {
  return socket.isSessionReused() && socket.getPeerX509Certificate() === undefined;
}

/** RFC 8446, section 7.5. */
function exportSecret(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(secretLength, exporterLabel, Buffer.alloc(0));
}

/** Told apart from a peer that could not be reached at all. */
function unfinished(): Error {
  return Object.assign(new Error('The handshake was not finished in time.'), { code: 'ETIMEDOUT' });
}

function refusal(peer: string, cause?: Error): TransferError {
  if (errnoOf(cause))
    return new TransferError('cannot-connect', `${begun(peer)} hung up before it was known who is there.`, { cause });
  return new TransferError('not-authorized', `${begun(peer)} does not hold the key of this ticket.`, {
    cause,
    hint: 'The other side was probably started again, which makes a new ticket or code: with that one, what came before is kept and goes on. Or the key was removed, or is meant for another machine.',
  });
}

/** As a sentence begins: an address stays as it is. */
function begun(peer: string): string {
  return peer.replace(/^the /, 'The ');
}
