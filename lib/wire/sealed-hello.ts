/**
 * The first frame of a sealed connection, in either direction: in clear, and with nothing in it that is a secret
 * (PROTOCOL.md, 24.4).
 */
import { countUnder, textUnder, wrong } from './fields';
import { beginsWith, type JsonObject } from './frame';
import { ownValue } from './json-object';
import { freshLength, type Suite, suites } from './record';

/** By who dials. */
export interface SealedHello {
  /** 32 lower-case hexadecimal digits, as in `hello`. */
  readonly session: string;
  /** 1 and up. */
  readonly connection: number;
  readonly suite: Suite;
  /** `freshLength` random bytes. */
  readonly fresh: Buffer;
}

/** In bytes; a longer one is none. */
const longestSealedHello = 512;

/** Whether a connection that begins with `bytes` is sealed; undefined while that is open. */
export function beginsSealed(bytes: Uint8Array): boolean | undefined {
  return beginsWith(bytes, '{"type":"sealed",', longestSealedHello);
}

/** The header of the first frame of who dials; that of the answer has no other keys than `type` and `nonce`. */
export function sealedHello({ session, connection, suite, fresh }: SealedHello): object {
  return { type: 'sealed', session, connection, suite, nonce: fresh.toString('hex') };
}

export function sealedAnswer(fresh: Buffer): object {
  return { type: 'sealed', nonce: fresh.toString('hex') };
}

/** @throws TransferError `bad-header` */
export function parseSealedHello(header: JsonObject): SealedHello {
  const fresh = parseSealedAnswer(header);
  const session = textUnder(header, 'session');
  if (!/^[0-9a-f]{32}$/.test(session)) throw wrong('session', '32 hexadecimal digits', session);
  const connection = countUnder(header, 'connection');
  if (connection === 0) throw wrong('connection', 'at least 1', connection);
  const suite = ownValue(header, 'suite');
  if (!isSuite(suite)) throw wrong('suite', 'a suite that was announced', suite);
  return { session, connection, suite, fresh };
}

/** The random bytes of the side that listens. @throws TransferError `bad-header` */
export function parseSealedAnswer(header: JsonObject): Buffer {
  const type = ownValue(header, 'type');
  if (type !== 'sealed') throw wrong('type', '"sealed"', type);
  const nonce = textUnder(header, 'nonce');
  if (nonce.length !== 2 * freshLength || !/^[0-9a-f]*$/.test(nonce))
    throw wrong('nonce', `${String(2 * freshLength)} hexadecimal digits`, nonce);
  return Buffer.from(nonce, 'hex');
}

export function isSuite(value: unknown): value is Suite {
  return suites.some((suite) => suite === value);
}
