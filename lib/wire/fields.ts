import { TransferError } from '../errors';
import type { Digests, Verified } from '../progress';
import { type JsonObject, ownValue, quoted } from './json-object';

// The keys of a header, each checked as it is read. All of them throw `bad-header`.

/** The string under `key`. */
export function textUnder(header: JsonObject, key: string): string {
  const value = ownValue(header, key);
  if (typeof value !== 'string') throw wrong(key, 'a string', value);
  return value;
}

/** As `textUnder`, undefined where the key is absent. */
export function optionalTextUnder(header: JsonObject, key: string): string | undefined {
  return Object.hasOwn(header, key) ? textUnder(header, key) : undefined;
}

/** A whole number of bytes, or of anything else, under `key`. */
export function sizeUnder(header: JsonObject, key: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = ownValue(header, key);
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > most || Object.is(value, -0)) {
    throw wrong(key, `a whole number from 0 to ${String(most)}`, value);
  }
  return value;
}

/** 32 hexadecimal digits under `key`, in lower case. */
export function md5Under(header: JsonObject, key: string): string {
  const value = ownValue(header, key);
  if (typeof value !== 'string' || !/^[0-9a-fA-F]{32}$/.test(value)) throw wrong(key, '32 hexadecimal digits', value);
  return value.toLowerCase();
}

/** How far the reading back went, by whoever answers in a session, and of a verification. */
export function levelUnder(header: JsonObject, key: string): Verified {
  const value = ownValue(header, key);
  if (!isLevel(value)) throw wrong(key, '"device", "cache", "store" or "accepted"', value);
  return value;
}

/** Whether a level is known here. */
export function isLevel(value: unknown): value is Verified {
  return knownLevels.some((known) => known === value);
}

/** All levels of receipts that are known here. PROTOCOL.md 17.2. */
export const knownLevels: readonly Verified[] = ['device', 'cache', 'store', 'accepted'];

/** How far the reading back went, on the plain wire. */
export function verifiedUnder(header: JsonObject, key: string): 'device' | 'cache' {
  const value = ownValue(header, key);
  if (value !== 'device' && value !== 'cache') throw wrong(key, '"device" or "cache"', value);
  return value;
}

const instant = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z$/;

/** A moment under `key`: ISO 8601 in UTC, as `2026-11-29T09:11:00Z`. */
export function instantUnder(header: JsonObject, key: string): string {
  const value = ownValue(header, key);
  if (typeof value !== 'string' || !instant.test(value)) throw wrong(key, 'a moment as ISO 8601 in UTC', value);
  return value;
}

/** A time span under `key`. */
export function millisecondsUnder(waited: JsonObject, key: string): number {
  const value = ownValue(waited, key);
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw wrong(`waited.${key}`, 'a number of milliseconds', value);
  return value;
}

/** The failure for what stands under `key` and should be something else. */
export function wrong(key: string, wanted: string, value: unknown): TransferError {
  const found = value === undefined ? `The header lacks ${key}` : `${key} is ${quoted(value)}`;
  return new TransferError('bad-header', `${found}; it must be ${wanted}.`);
}

/** A whole number up to 2^32 - 1: the number of an entry, a segment or a connection. */
export function countUnder(header: JsonObject, key: string): number {
  return sizeUnder(header, key, 0xffffffff);
}

/** As `sizeUnder`, undefined where the key is absent. */
export function optionalSizeUnder(header: JsonObject, key: string): number | undefined {
  return Object.hasOwn(header, key) ? sizeUnder(header, key) : undefined;
}

/** As `countUnder`, undefined where the key is absent. */
export function optionalCountUnder(header: JsonObject, key: string): number | undefined {
  return Object.hasOwn(header, key) ? countUnder(header, key) : undefined;
}

export function roleUnder(header: JsonObject, key: string): 'sender' | 'receiver' {
  const value = ownValue(header, key);
  if (value !== 'sender' && value !== 'receiver') throw wrong(key, '"sender" or "receiver"', value);
  return value;
}

/** The digests that a session can be about. */
export type DigestName = keyof Digests;

const digestForm: Readonly<Record<DigestName, RegExp>> = {
  md5: /^[0-9a-f]{32}$/,
  sha256: /^[0-9a-f]{64}$/,
  blake3: /^[0-9a-f]{64}$/,
};

/** An object of digests, lower-case hex by algorithm; algorithms that are not known here are left out. */
export function digestsUnder(header: JsonObject, key: string): Digests {
  const value = ownValue(header, key);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(key, 'an object of digests', value);
  const found: Partial<Record<DigestName, string>> = {};
  for (const algorithm of Object.keys(digestForm) as DigestName[]) {
    const digest = ownValue(value as JsonObject, algorithm);
    if (digest === undefined) continue;
    if (!isDigest(digest, algorithm)) throw wrong(`${key}.${algorithm}`, 'lower-case hexadecimal digits', digest);
    found[algorithm] = digest;
  }
  return found;
}

/** Whether `value` is a digest of `algorithm`, as it is written on the wire. */
export function isDigest(value: unknown, algorithm: DigestName): value is string {
  return typeof value === 'string' && digestForm[algorithm].test(value);
}
