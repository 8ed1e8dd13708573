/**
 * Seals and opens records where they lie, a piece of a file at a time, without memory of its own: by OpenSSL's
 * functions, which Node's binary exports, through the foreign function interface. Where those are not to be had, by
 * node:crypto, which copies.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { type ForeignFunctions, foreignFunctions } from '../threads/system-calls';
import { keyLength, RecordCount, recordPrefix, sealRecord, type Suite, tagLength } from '../wire/record';

/** One direction of a connection, in a thread of its own. */
export interface RecordCipher {
  /**
   * Seals the next record: `prefix` is its length, `pieces` are sealed in place, one after another, and `tag` is
   * written.
   */
  seal(prefix: Uint8Array, pieces: readonly Uint8Array[], tag: Uint8Array): void;
  /**
   * Opens the next record into `pieces`, which together are as long as `sealed`; the first may depend on what `opened`
   * says of the bytes before it. False where it does not open: then nothing in `pieces` means anything.
   */
  open(prefix: Uint8Array, sealed: Uint8Array, tag: Uint8Array, pieces: PieceOf): boolean;
  /** Gives up what it has of the system. */
  close(): void;
}

/**
 * Where the bytes of a record from `offset` on go, all that were opened before being known; undefined once there are no
 * more.
 */
export type PieceOf = (offset: number) => Uint8Array | undefined;

/** What continues a direction in another thread. */
export type RecordState = RecordCount['state'];

/** `build` forces one; without it, OpenSSL's own functions where they do what node:crypto does. */
export function createRecordCipher(state: RecordState, build?: 'in place' | 'copying'): RecordCipher {
  const count = RecordCount.from(state);
  const functions = build === 'copying' ? undefined : openSsl();
  if (functions) return new InPlace(count, functions);
  if (build === 'in place') throw new Error('OpenSSL exports no functions here.');
  return new Copying(count);
}

/** EVP_EncryptInit_ex(3) and its kin, of the OpenSSL that Node has in it. */
interface OpenSsl {
  /** The number by which a suite is meant. */
  cipherOf(suite: Suite): unknown;
  create(): unknown;
  free(context: unknown): void;
  /** Each of these is 1 where it went well. Null leaves what was set before. */
  encryptInit(context: unknown, cipher: unknown, key: Uint8Array | null, nonce: Uint8Array): number;
  decryptInit(context: unknown, cipher: unknown, key: Uint8Array | null, nonce: Uint8Array): number;
  encrypt(context: unknown, out: Uint8Array | null, bytes: Uint8Array): number;
  decrypt(context: unknown, out: Uint8Array | null, bytes: Uint8Array): number;
  encryptFinal(context: unknown, rest: Uint8Array): number;
  decryptFinal(context: unknown, rest: Uint8Array): number;
  getTag(context: unknown, tag: Uint8Array): number;
  setTag(context: unknown, tag: Uint8Array): number;
}

// EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG
const [getTag, setTag] = [0x10, 0x11];

let bound: { readonly functions: OpenSsl | undefined } | undefined;

/** Undefined where they cannot be called, or do something else than node:crypto. Tried once in each thread. */
function openSsl(): OpenSsl | undefined {
  bound ??= { functions: foreignFunctions((foreign) => tried(bindOpenSsl(foreign))) };
  return bound.functions;
}

function bindOpenSsl(foreign: ForeignFunctions): OpenSsl {
  const library = foreign.load(null);
  const call = library.func.bind(library) as unknown as (prototype: string) => (...values: unknown[]) => unknown;
  const ciphers: Readonly<Record<Suite, () => unknown>> = {
    'aes-256-gcm': call('void *EVP_aes_256_gcm()'),
    'chacha20-poly1305': call('void *EVP_chacha20_poly1305()'),
  };
  const init = (name: string): ((...values: unknown[]) => unknown) =>
    call(`int ${name}(void *context, void *cipher, void *engine, void *key, void *nonce)`);
  const update = (name: string): ((...values: unknown[]) => unknown) =>
    call(`int ${name}(void *context, void *out, void *length, void *bytes, int count)`);
  const [encryptInit, decryptInit] = [init('EVP_EncryptInit_ex'), init('EVP_DecryptInit_ex')];
  const [encrypt, decrypt] = [update('EVP_EncryptUpdate'), update('EVP_DecryptUpdate')];
  const encryptFinal = call('int EVP_EncryptFinal_ex(void *context, void *rest, void *length)');
  const decryptFinal = call('int EVP_DecryptFinal_ex(void *context, void *rest, void *length)');
  const control = call('int EVP_CIPHER_CTX_ctrl(void *context, int type, int count, void *memory)');
  const free = call('void EVP_CIPHER_CTX_free(void *context)');
  /** Where they say how many bytes they wrote, which is always all. */
  const length = new Int32Array(1);
  return {
    cipherOf: (suite) => ciphers[suite](),
    create: call('void *EVP_CIPHER_CTX_new()'),
    free: (context) => void free(context),
    encryptInit: (context, cipher, key, nonce) => Number(encryptInit(context, cipher, null, key, nonce)),
    decryptInit: (context, cipher, key, nonce) => Number(decryptInit(context, cipher, null, key, nonce)),
    encrypt: (context, out, bytes) => Number(encrypt(context, out, length, bytes, bytes.length)),
    decrypt: (context, out, bytes) => Number(decrypt(context, out, length, bytes, bytes.length)),
    encryptFinal: (context, rest) => Number(encryptFinal(context, rest, length)),
    decryptFinal: (context, rest) => Number(decryptFinal(context, rest, length)),
    getTag: (context, tag) => Number(control(context, getTag, tag.length, tag)),
    setTag: (context, tag) => Number(control(context, setTag, tag.length, tag)),
  };
}

/** Whether both ways give the same bytes, tried on a record before files depend on it. */
function tried(functions: OpenSsl): OpenSsl | undefined {
  const state = { suite: 'aes-256-gcm', key: Buffer.alloc(keyLength, 7), sealed: 3 } as const;
  const plain = Buffer.alloc(1000, 'sendall');
  const right = sealRecord(RecordCount.from(state), plain);
  const [prefix, bytes, tag] = [right.subarray(0, recordPrefix), Buffer.from(plain), Buffer.alloc(tagLength)];
  const cipher = new InPlace(RecordCount.from(state), functions);
  try {
    cipher.seal(prefix, [bytes.subarray(0, 77), bytes.subarray(77)], tag);
    return Buffer.concat([prefix, bytes, tag]).equals(right) ? functions : undefined;
  } catch {
    return undefined; // as above
  } finally {
    cipher.close();
  }
}

/** By functions of OpenSSL, in the memory where the bytes are. */
class InPlace implements RecordCipher {
  private readonly context: unknown;
  /** Whether the context has a key. */
  private keyed = false;
  private readonly rest = new Uint8Array(tagLength);

  constructor(
    private readonly count: RecordCount,
    private readonly functions: OpenSsl,
  ) {
    this.context = functions.create();
  }

  seal(prefix: Uint8Array, pieces: readonly Uint8Array[], tag: Uint8Array): void {
    const { context, functions, count, rest } = this;
    const { key, nonce, fresh } = count.next();
    const keyed = this.keyed && !fresh;
    check(functions.encryptInit(context, keyed ? null : functions.cipherOf(count.suite), keyed ? null : key, nonce));
    this.keyed = true;
    check(functions.encrypt(context, null, prefix));
    for (const piece of pieces) check(functions.encrypt(context, piece, piece));
    check(functions.encryptFinal(context, rest));
    check(functions.getTag(context, tag));
  }

  open(prefix: Uint8Array, sealed: Uint8Array, tag: Uint8Array, pieces: PieceOf): boolean {
    const { context, functions, count, rest } = this;
    const { key, nonce, fresh } = count.next();
    const keyed = this.keyed && !fresh;
    check(functions.decryptInit(context, keyed ? null : functions.cipherOf(count.suite), keyed ? null : key, nonce));
    this.keyed = true;
    check(functions.decrypt(context, null, prefix));
    for (let at = 0; at < sealed.length;) {
      const piece = pieces(at);
      if (!piece) return false;
      check(functions.decrypt(context, piece, sealed.subarray(at, at + piece.length)));
      at += piece.length;
    }
    check(functions.setTag(context, tag));
    return functions.decryptFinal(context, rest) === 1;
  }

  close(): void {
    this.functions.free(this.context);
  }
}

function check(result: number): void {
  if (result !== 1) throw new Error('OpenSSL refused to seal or open a record.');
}

/** By node:crypto, which copies. */
class Copying implements RecordCipher {
  constructor(private readonly count: RecordCount) {}

  seal(prefix: Uint8Array, pieces: readonly Uint8Array[], tag: Uint8Array): void {
    const { key, nonce } = this.count.next();
    const cipher = createCipheriv(this.count.suite as 'aes-256-gcm', key, nonce, { authTagLength: tagLength });
    cipher.setAAD(prefix, { plaintextLength: pieces.reduce((sum, { length }) => sum + length, 0) });
    for (const piece of pieces) piece.set(cipher.update(piece));
    cipher.final();
    tag.set(cipher.getAuthTag());
  }

  open(prefix: Uint8Array, sealed: Uint8Array, tag: Uint8Array, pieces: PieceOf): boolean {
    const { key, nonce } = this.count.next();
    const decipher = createDecipheriv(this.count.suite as 'aes-256-gcm', key, nonce, { authTagLength: tagLength });
    decipher.setAAD(prefix, { plaintextLength: sealed.length });
    decipher.setAuthTag(tag);
    for (let at = 0; at < sealed.length;) {
      const piece = pieces(at);
      if (!piece) return false;
      piece.set(decipher.update(sealed.subarray(at, at + piece.length)));
      at += piece.length;
    }
    try {
      decipher.final();
      return true;
    } catch {
      return false; // OpenSSL says no more than that
    }
  }

  close(): void {
    // node:crypto frees what it has by itself
  }
}
