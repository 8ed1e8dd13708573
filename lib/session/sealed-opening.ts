/**
 * How a sealed connection begins (PROTOCOL.md, 24.4 to 24.7): a plain frame from each side, then a first record from
 * each, which proves that both have the secret of connection 0. Before that nothing is allocated for it, and no thread
 * started.
 */
import { createCipheriv, randomBytes } from 'node:crypto';
import { TransferError } from '../errors';
import type { Address } from '../net/address';
import { Connection } from '../net/connection';
import { dial, type DialOptions } from '../net/socket';
import { OwnDescriptor, socketCalls } from '../threads/socket-calls';
import { encodeFrame } from '../wire/frame';
import {
  connectionKeys,
  freshLength,
  keyLength,
  nonceLength,
  notSealedHere,
  openRecord,
  RecordCount,
  recordLength,
  recordPrefix,
  sealRecord,
  type Suite,
  suites,
  tagLength,
} from '../wire/record';
import { parseSealedAnswer, parseSealedHello, sealedAnswer, sealedHello, type SealedHello } from '../wire/sealed-hello';
import type { RecordState } from './record-cipher';
import { openingWithin } from './deadlines';

/** What the sealed connections of a session have from connection 0. */
export interface SealedBasis {
  readonly session: string;
  /** See `Secured`. */
  readonly secret: Uint8Array;
}

/** A connection on which both sides have proved that they hold the secret, for a thread that goes on with it. */
export interface SealedConnection {
  readonly descriptor: OwnDescriptor;
  /** Bytes that have arrived already. */
  readonly early: Uint8Array;
  readonly incoming: RecordState;
  readonly outgoing: RecordState;
}

const longestProof = 256;
const proof = encodeFrame({ type: 'heartbeat' });
/**
 * Only set to `1` are sealed connections offered and taken: with sixteen of them both sides take more memory than is
 * promised, and no gain in time was shown yet. Otherwise everything goes through TLS, as with a peer that knows no
 * other way.
 */
const switchedOn = 'SENDALL_SEALED';
const sampleSize = 64 * 1024;

let offered: readonly Suite[] | undefined;

/**
 * What this machine can seal with, the fastest first; none where it gives no calls that wait (see `socketCalls`). Tried
 * once.
 */
export function sealedSuites(): readonly Suite[] {
  if (process.env[switchedOn] !== '1' || !socketCalls()) return [];
  offered ??= suites
    .map((suite) => ({ suite, took: timeOf(suite) }))
    .sort((one, other) => one.took - other.took)
    .map(({ suite }) => suite);
  return offered;
}

/** Of what both sides offered, what is fastest here; undefined where there is nothing. For the sender to choose. */
export function commonSuite(theirs: readonly Suite[] | undefined): Suite | undefined {
  return sealedSuites().find((suite) => theirs?.includes(suite));
}

/**
 * Dials one as connection `number` of a session. Rejects with `cannot-connect`, `connection-lost`, `timeout`,
 * `interrupted`, and with `bad-header` or `bad-frame` where the other side answers something else.
 */
export async function dialSealed(
  address: Address,
  { session, secret }: SealedBasis,
  suite: Suite,
  number: number,
  { signal, congestion }: Pick<DialOptions, 'signal' | 'congestion'>,
): Promise<SealedConnection> {
  const dialed = await dial(address, { timeout: openingWithin, signal, congestion });
  const connection = new Connection(dialed.stream, dialed.peer);
  return within(connection, signal, async () => {
    const fresh = randomBytes(freshLength);
    await connection.send(sealedHello({ session, connection: number, suite, fresh }));
    const header = await connection.readHeader({ silence: 0, whole: openingWithin });
    if (!header) throw new TransferError('connection-lost', 'The other side closed the connection at once.');
    const keys = connectionKeys({
      secret,
      suite,
      connection: number,
      dialed: fresh,
      listening: parseSealedAnswer(header),
    });
    const [outgoing, incoming] = [new RecordCount(suite, keys.dialed), new RecordCount(suite, keys.listening)];
    await connection.sendBytes(sealRecord(outgoing, proof));
    await awaitProof(connection, incoming);
    return handOver(connection, incoming, outgoing);
  });
}

/** Takes the first frame of who dialed us, which `announced` found. Rejects with `bad-header` and the like. */
export async function readSealedHello(connection: Connection): Promise<SealedHello> {
  const header = await connection.readHeader({ silence: 0, whole: openingWithin });
  if (!header) throw new TransferError('connection-lost', 'The other side closed the connection at once.');
  return parseSealedHello(header);
}

/** Goes on with one who dialed us and names a session that is known. Rejects as `dialSealed` does. */
export async function answerSealed(
  connection: Connection,
  { suite, connection: number, fresh: dialed }: SealedHello,
  { secret }: SealedBasis,
  signal?: AbortSignal,
): Promise<SealedConnection> {
  return within(connection, signal, async () => {
    const listening = randomBytes(freshLength);
    const keys = connectionKeys({ secret, suite, connection: number, dialed, listening });
    const [incoming, outgoing] = [new RecordCount(suite, keys.dialed), new RecordCount(suite, keys.listening)];
    await connection.send(sealedAnswer(listening));
    await awaitProof(connection, incoming);
    await connection.sendBytes(sealRecord(outgoing, proof));
    return handOver(connection, incoming, outgoing);
  });
}

/** The first record of the other side: whoever cannot seal it does not have the secret. */
async function awaitProof(connection: Connection, incoming: RecordCount): Promise<void> {
  const prefix = new Uint8Array(recordPrefix);
  await connection.fill(prefix);
  const record = new Uint8Array(recordPrefix + recordLength(prefix, longestProof) + tagLength);
  record.set(prefix);
  await connection.fill(record.subarray(recordPrefix));
  if (!openRecord(incoming, record).equals(proof)) throw notSealedHere();
}

function handOver(connection: Connection, incoming: RecordCount, outgoing: RecordCount): SealedConnection {
  const calls = socketCalls();
  if (!calls) throw new TransferError('unexpected', 'This machine has no calls for sealed connections.');
  const { taken, early } = connection.stream.handOver((fd) => OwnDescriptor.of(fd, calls));
  return { descriptor: taken, early, incoming: incoming.state, outgoing: outgoing.state };
}

/** Closes the connection where `opening` fails or takes too long. */
async function within<T>(
  connection: Connection,
  signal: AbortSignal | undefined,
  opening: () => Promise<T>,
): Promise<T> {
  const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
  const timer = setTimeout(
    () => connection.close(new TransferError('timeout', 'The other side did not prove in time that it holds the key.')),
    openingWithin,
  );
  signal?.addEventListener('abort', aborted, { once: true });
  if (signal?.aborted) aborted();
  try {
    return await opening();
  } catch (error) {
    connection.close();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
  }
}

/** What a sample takes, in ms: which suite is faster depends on what the processor has instructions for. */
function timeOf(suite: Suite): number {
  const sample = Buffer.alloc(sampleSize);
  const seal = (): void => {
    const cipher = createCipheriv(suite as 'aes-256-gcm', Buffer.alloc(keyLength), Buffer.alloc(nonceLength), {
      authTagLength: tagLength,
    });
    cipher.update(sample);
    cipher.final();
  };
  seal();
  const began = performance.now();
  seal();
  return performance.now() - began;
}
