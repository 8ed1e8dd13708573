/**
 * CPace (draft-irtf-cfrg-cpace-21), suite CPACE-X25519-SHA512: two sides that know the same few words agree on a key
 * that nobody else has, and whoever guesses learns from one try about one guess and no more. Pure: bytes in, bytes out;
 * who says what to whom is in `exchange.ts`. PROTOCOL.md 28.
 *
 * The curve is node:crypto's. Only the map onto it is arithmetic of our own, with BigInt, which does not take the same
 * time for all numbers: PROTOCOL.md 28.9 says why that is acceptable here.
 */
import { createHash, createHmac, createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';

/** In bytes: scalars, points and generators. */
export const pointLength = 32;

/** What both sides put in: the secret words, who they are to each other, and what tells this run from all others. */
export interface CpaceInput {
  /** The draft's PRS. */
  readonly secret: Uint8Array;
  /** The draft's CI. */
  readonly channel: Uint8Array;
  /** The draft's sid: random, new for each run. */
  readonly session: Uint8Array;
}

/** What one side has said: its public value, and with it the draft's AD, which is authenticated by the run. */
export interface CpaceShare {
  readonly point: Uint8Array;
  readonly associated: Uint8Array;
}

const domain = Buffer.from('CPace255');
const keyDomain = Buffer.from('CPace255_ISK');
const confirmationDomain = Buffer.from('CPaceMac');
/** Of SHA-512, in bytes. */
const hashBlock = 128;

/** The prime of the field of Curve25519, and the A of its equation v^2 = u^3 + A u^2 + u. RFC 7748 4.1. */
const prime = 2n ** 255n - 19n;
const curveA = 486662n;
/** No square in this field. RFC 9380 6.7.1, Z of curve25519. */
const nonSquare = 2n;

// X25519 keys as DER (RFC 8410), up to the 32 bytes themselves.
const privatePrefix = Buffer.from('302e020100300506032b656e04220420', 'hex');
const publicPrefix = Buffer.from('302a300506032b656e032100', 'hex');

/** The point from which both sides go, which only the same words, channel and session give. The draft's 7.2. */
export function cpaceGenerator({ secret, channel, session }: CpaceInput): Buffer {
  const padding = Math.max(0, hashBlock - 1 - withLength(secret).length - withLength(domain).length);
  const text = withLengths(domain, secret, Buffer.alloc(padding), channel, session);
  return encoded(ontoCurve(decoded(sha512(text).subarray(0, pointLength))));
}

/** The public value of `scalar`, which is `pointLength` random bytes. */
export function cpacePoint(scalar: Uint8Array, input: CpaceInput): Buffer {
  const point = x25519(scalar, cpaceGenerator(input));
  if (!point) throw new Error('The generator has a small order, which no hash is known to lead to.');
  return point;
}

/**
 * The draft's ISK, 64 bytes; undefined where the other side's point is one of small order, which would make the key
 * known to everybody. `dialing` and `listening` are the draft's A and B.
 */
export function cpaceKey(
  scalar: Uint8Array,
  session: Uint8Array,
  own: 'dialing' | 'listening',
  shares: { readonly dialing: CpaceShare; readonly listening: CpaceShare },
): Buffer | undefined {
  const { dialing, listening } = shares;
  const shared = x25519(scalar, own === 'dialing' ? listening.point : dialing.point);
  return shared && sha512(withLengths(keyDomain, session, shared), shareText(dialing), shareText(listening));
}

/** The draft's tag of the side that has said `share`: whoever can make it has the same key. 64 bytes. */
export function cpaceTag(key: Uint8Array, session: Uint8Array, share: CpaceShare): Buffer {
  return createHmac('sha512', sha512(confirmationDomain, session, key))
    .update(shareText(share))
    .digest();
}

/** RFC 7748 5, with the check of 6.1: undefined where the result is zero. */
export function x25519(scalar: Uint8Array, point: Uint8Array): Buffer | undefined {
  const privateKey = createPrivateKey({ key: Buffer.concat([privatePrefix, scalar]), format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey({ key: Buffer.concat([publicPrefix, point]), format: 'der', type: 'spki' });
  try {
    const shared = diffieHellman({ privateKey, publicKey });
    return shared.every((byte) => byte === 0) ? undefined : shared;
  } catch {
    // OpenSSL makes the check itself, and has no other reason to fail with keys of the right length.
    return undefined;
  }
}

/** Each of them behind its length: no two lists of byte strings give the same bytes. The draft's lv_cat. */
export function withLengths(...texts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(texts.map(withLength));
}

/** The length is in LEB128: seven bits a byte, the lowest first. */
function withLength(text: Uint8Array): Buffer {
  const prefix: number[] = [];
  let left = text.length;
  for (; left > 127; left >>= 7) prefix.push((left & 127) | 128);
  return Buffer.concat([Buffer.from([...prefix, left]), text]);
}

function shareText({ point, associated }: CpaceShare): Buffer {
  return withLengths(point, associated);
}

function sha512(...texts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha512');
  for (const text of texts) hash.update(text);
  return hash.digest();
}

/** Elligator 2 for this curve: RFC 9380 6.7.1, of which only the u of the point is wanted. */
function ontoCurve(element: bigint): bigint {
  const scaled = (nonSquare * element * element) % prime;
  const divisor = (1n + scaled) % prime;
  const first = divisor === 0n ? prime - curveA : ((prime - curveA) * power(divisor, prime - 2n)) % prime;
  const cubic = (((first + curveA) * first + 1n) * first) % prime;
  return isSquare(cubic) ? first : (2n * prime - curveA - first) % prime;
}

function isSquare(element: bigint): boolean {
  return power(element, (prime - 1n) / 2n) <= 1n;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base, left = exponent; left > 0n; left >>= 1n, square = (square * square) % prime)
    if (left & 1n) result = (result * square) % prime;
  return result;
}

/** RFC 7748 5: little-endian, and the highest bit does not count. */
function decoded(bytes: Uint8Array): bigint {
  return (BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`) & (2n ** 255n - 1n)) % prime;
}

function encoded(element: bigint): Buffer {
  return Buffer.from(element.toString(16).padStart(2 * pointLength, '0'), 'hex').reverse();
}
