/**
 * The frames by which two sides that know the same code agree on a key: in clear, and with nothing in them that helps
 * whoever listens or guesses more than once (PROTOCOL.md, 28).
 */
import { optionalTextUnder, roleUnder, textUnder, wrong } from './fields';
import { beginsWith, type JsonObject } from './frame';
import { ownValue, parseJsonObject } from './json-object';

/** What one side says with its public value; the other side knows whether it arrived unchanged. */
export interface CodeOffer {
  readonly role: 'sender' | 'receiver';
  /** Its text as it crosses the wire. */
  readonly text: string;
}

/** The first frame, of who dials. */
export interface CodeHello {
  readonly number: string;
  /** `codeSessionLength` random bytes. */
  readonly session: Buffer;
  readonly point: Buffer;
  readonly offer: CodeOffer;
}

/** Its answer, of who listens. */
export interface CodeAnswer {
  readonly point: Buffer;
  readonly offer: CodeOffer;
  readonly tag: Buffer;
}

export const codeSessionLength = 16;
const pointLength = 32;
const tagLength = 64;
const version = 1;
/** In bytes of UTF-8; a longer one is none. */
const longestOffer = 1024;
const longestHello = 4096;
const longestSealed = 8192;

/** Whether a connection that begins with `bytes` begins with a `code`; undefined while that is open. */
export function beginsCode(bytes: Uint8Array): boolean | undefined {
  return beginsWith(bytes, '{"type":"code",', longestHello);
}

export function codeOffer(role: CodeOffer['role']): CodeOffer {
  return { role, text: JSON.stringify({ version, role }) };
}

export function codeHello({ number, session, point, offer }: CodeHello): object {
  return {
    type: 'code',
    number,
    session: session.toString('hex'),
    point: point.toString('hex'),
    offer: offer.text,
  };
}

/** @throws TransferError `bad-header` */
export function parseCodeHello(header: JsonObject): CodeHello {
  typeUnder(header);
  const number = textUnder(header, 'number');
  if (!/^(?:\d{4}|\d{6})$/.test(number)) throw wrong('number', 'four or six digits', number);
  return {
    number,
    session: hexUnder(header, 'session', codeSessionLength),
    point: hexUnder(header, 'point', pointLength),
    offer: offerUnder(header),
  };
}

export function codeAnswer({ point, offer, tag }: CodeAnswer): object {
  return { type: 'code', point: point.toString('hex'), offer: offer.text, tag: tag.toString('hex') };
}

/** @throws TransferError `bad-header` */
export function parseCodeAnswer(header: JsonObject): CodeAnswer {
  typeUnder(header);
  return {
    point: hexUnder(header, 'point', pointLength),
    offer: offerUnder(header),
    tag: hexUnder(header, 'tag', tagLength),
  };
}

export function codeProof(tag: Buffer): object {
  return { type: 'code', tag: tag.toString('hex') };
}

/** The third frame: the tag of who dialed. @throws TransferError `bad-header` */
export function parseCodeProof(header: JsonObject): Buffer {
  typeUnder(header);
  return hexUnder(header, 'tag', tagLength);
}

/** The fourth: the key is known to who listens from now on. `sealed`: where that one is, for who has the key. */
export function codeAgreed(sealed: Buffer): object {
  return { type: 'code', agreed: true, sealed: sealed.toString('hex') };
}

/** What is sealed in it; undefined for nothing. @throws TransferError `bad-header` */
export function parseCodeAgreed(header: JsonObject): Buffer | undefined {
  typeUnder(header);
  const agreed = ownValue(header, 'agreed');
  if (agreed !== true) throw wrong('agreed', 'true', agreed);
  const sealed = optionalTextUnder(header, 'sealed');
  if (sealed === undefined) return undefined;
  if (sealed.length > longestSealed || !/^(?:[0-9a-f]{2})*$/.test(sealed))
    throw wrong('sealed', 'hexadecimal digits', sealed);
  return Buffer.from(sealed, 'hex');
}

function typeUnder(header: JsonObject): void {
  const type = ownValue(header, 'type');
  if (type !== 'code') throw wrong('type', '"code"', type);
}

function offerUnder(header: JsonObject): CodeOffer {
  const text = textUnder(header, 'offer');
  const bytes = Buffer.from(text);
  if (bytes.length > longestOffer) throw wrong('offer', `at most ${String(longestOffer)} bytes`, text);
  const offer = parseJsonObject(bytes);
  const spoken = ownValue(offer, 'version');
  if (spoken !== version) throw wrong('version', String(version), spoken);
  return { role: roleUnder(offer, 'role'), text };
}

function hexUnder(header: JsonObject, key: string, length: number): Buffer {
  const text = textUnder(header, key);
  if (text.length !== 2 * length || !/^[0-9a-f]*$/.test(text))
    throw wrong(key, `${String(2 * length)} hexadecimal digits`, text);
  return Buffer.from(text, 'hex');
}
