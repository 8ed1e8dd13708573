/**
 * The records of a sealed connection (PROTOCOL.md, section 24): which keys they are sealed with, and what they look
 * like. Pure: small records are sealed and opened here, those with pieces of files in the memory where they lie
 * (lib/threads/record-cipher).
 */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { TransferError } from '../errors';

/** What records are sealed with; both have keys of 32 bytes, nonces of 12 and tags of 16. */
export const suites = ['aes-256-gcm', 'chacha20-poly1305'] as const;
export type Suite = (typeof suites)[number];

/** In bytes: of the length before a record, of the tag behind it, of the secret, of a key and of a nonce. */
export const recordPrefix = 4;
export const tagLength = 16;
export const secretLength = 32;
export const keyLength = 32;
export const nonceLength = 12;
/** What each side contributes to the keys of a connection, in bytes. */
export const freshLength = 32;
/** The most that one record seals, in bytes: a piece of a file, or a bundle, with its header. */
export const longestRecord = 2 * 1024 * 1024;
/** Records that one key seals; then the next key is derived from it. */
export const recordsPerKey = 65536;

/**
 * The exporter of TLS (RFC 8446, section 7.5) is asked for `secretLength` bytes by this label, with an empty context.
 */
export const exporterLabel = 'EXPORTER-sendall-sealed';

const keyInfo = 'sendall sealed 1';
const nextInfo = 'sendall sealed 1 next';

/** What the keys of a connection are made of. */
export interface KeySource {
  /** Of connection 0: `secretLength` bytes from the exporter of its TLS. */
  readonly secret: Uint8Array;
  readonly suite: Suite;
  /** The number of the connection in its session. */
  readonly connection: number;
  /** `freshLength` random bytes of the side that dialed, and of the side that listens. */
  readonly dialed: Uint8Array;
  readonly listening: Uint8Array;
}

/** The first keys of both directions, by who seals with them: HKDF-SHA256 (RFC 5869). */
export function connectionKeys({ secret, suite, connection, dialed, listening }: KeySource): {
  readonly dialed: Buffer;
  readonly listening: Buffer;
} {
  const salt = Buffer.concat([dialed, listening]);
  const number = Buffer.alloc(4);
  number.writeUInt32LE(connection);
  const keyOf = (direction: string): Buffer =>
    derive(secret, salt, Buffer.concat([Buffer.from(`${keyInfo} ${suite} ${direction} `), number]));
  return { dialed: keyOf('dialed'), listening: keyOf('listening') };
}

/** The key that follows after `recordsPerKey` records. Nobody who learns it finds the one before. */
export function nextKey(key: Uint8Array): Buffer {
  return derive(key, Buffer.alloc(0), Buffer.from(nextInfo));
}

/**
 * Writes the nonce of record `count` (from 0, through all keys of a direction) into the `nonceLength` bytes of `nonce`:
 * four zeros, then the count as a little-endian number of 64 bits.
 */
function writeNonce(nonce: Uint8Array, count: number): void {
  const view = new DataView(nonce.buffer, nonce.byteOffset, nonceLength);
  view.setUint32(0, 0, true);
  view.setUint32(4, count >>> 0, true);
  view.setUint32(8, Math.floor(count / 0x1_0000_0000), true);
}

/**
 * How many bytes the record seals whose first four bytes are `prefix`.
 * @throws TransferError `bad-frame` for none, and for more than `most`
 */
export function recordLength(prefix: Uint8Array, most = longestRecord): number {
  const length = new DataView(prefix.buffer, prefix.byteOffset, recordPrefix).getUint32(0, true);
  if (length >= 1 && length <= most) return length;
  throw new TransferError(
    'bad-frame',
    `A sealed record of ${String(length)} bytes is none; it has 1 to ${String(most)}.`,
  );
}

/**
 * What a record is that does not open: changed on its way, cut, repeated, out of its order, or sealed with another key.
 */
export function notSealedHere(): TransferError {
  return new TransferError(
    'connection-lost',
    'A sealed record of the other side does not open: the connection was disturbed.',
    { hint: '' },
  );
}

/** One direction of a sealed connection: counts its records, and replaces its key. */
export class RecordCount {
  private sealed = 0;
  private readonly nonce = Buffer.alloc(nonceLength);

  constructor(
    readonly suite: Suite,
    private key: Uint8Array,
  ) {}

  /**
   * The key and the nonce of the next record; valid until the next call. `fresh` where the key is another one than that
   * of the record before.
   */
  next(): { readonly key: Uint8Array; readonly nonce: Uint8Array; readonly fresh: boolean } {
    const replaced = this.sealed > 0 && this.sealed % recordsPerKey === 0;
    if (replaced) this.key = nextKey(this.key);
    writeNonce(this.nonce, this.sealed);
    const fresh = replaced || this.sealed === 0;
    this.sealed++;
    return { key: this.key, nonce: this.nonce, fresh };
  }

  /** What another thread needs to go on with this direction. */
  get state(): { readonly suite: Suite; readonly key: Uint8Array; readonly sealed: number } {
    return { suite: this.suite, key: this.key, sealed: this.sealed };
  }

  /**
   * A direction in which `sealed` records went by; `key` is that of the last one, or of the first where there was none.
   */
  static from({ suite, key, sealed }: RecordCount['state']): RecordCount {
    const count = new RecordCount(suite, key);
    count.sealed = sealed;
    return count;
  }
}

/** The next record of a direction around `plain`: its length, what is sealed, its tag. */
export function sealRecord(count: RecordCount, plain: Uint8Array): Buffer {
  const { key, nonce } = count.next();
  const prefix = Buffer.alloc(recordPrefix);
  prefix.writeUInt32LE(plain.length);
  const cipher = createCipheriv(count.suite as 'aes-256-gcm', key, nonce, { authTagLength: tagLength });
  cipher.setAAD(prefix, { plaintextLength: plain.length });
  return Buffer.concat([prefix, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/**
 * What the next record of a direction seals; `record` is all of it, with length and tag.
 * @throws TransferError `connection-lost` where it does not open
 */
export function openRecord(count: RecordCount, record: Uint8Array): Buffer {
  const { key, nonce } = count.next();
  const end = record.length - tagLength;
  if (end <= recordPrefix || recordLength(record) !== end - recordPrefix) throw notSealedHere();
  const decipher = createDecipheriv(count.suite as 'aes-256-gcm', key, nonce, { authTagLength: tagLength });
  decipher.setAAD(record.subarray(0, recordPrefix), { plaintextLength: end - recordPrefix });
  decipher.setAuthTag(record.subarray(end));
  try {
    return Buffer.concat([decipher.update(record.subarray(recordPrefix, end)), decipher.final()]);
  } catch {
    throw notSealedHere(); // OpenSSL says no more than that
  }
}

function derive(secret: Uint8Array, salt: Uint8Array, info: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, info, keyLength));
}
