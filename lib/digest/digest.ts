import { createHash, hash } from 'node:crypto';

import { withAddon } from '../threads/addon';
import { blakeAddon } from '../threads/program-parts';
import { asTransferError } from '../errors';
import type { Digests } from '../progress';

export type DigestAlgorithm = 'md5' | 'sha256' | 'blake3';

/** A digest in the making. The bytes may lie in shared memory; they are read before `update` returns. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** Lower-case hex; 32 digits for md5, 64 for the others. Once, at the end. */
  digest(): string;
}

/** The native build is some eight times as fast; the other one runs everywhere. */
export type Blake3Build = 'native' | 'wasm';

/**
 * Await it once; updates are synchronous. Rejects with `TransferError('unexpected')` where Node lacks the algorithm
 * (FIPS has no md5).
 */
export async function createDigest(algorithm: DigestAlgorithm): Promise<Digest> {
  return algorithm === 'blake3' ? createBlake3() : createOpenSslDigest(algorithm);
}

/**
 * A function for the digests of many short sequences of bytes, each whole at once, one after another: where a `Digest`
 * for each costs more than the hashing. Rejects like `createDigest`.
 */
export async function createDigestOf(algorithm: DigestAlgorithm): Promise<(bytes: Uint8Array) => string> {
  if (algorithm === 'blake3') return createBlake3Of();
  createOpenSslDigest(algorithm); // fails here and now where Node lacks it
  return (bytes) => hash(algorithm, bytes, 'hex');
}

/**
 * Several digests of the same bytes at once; `digests` has one for each of `algorithms`. Rejects like `createDigest`.
 */
export async function createDigests(
  algorithms: readonly DigestAlgorithm[],
): Promise<{ update(bytes: Uint8Array): void; digests(): Digests }> {
  const each = await Promise.all(
    algorithms.map(async (algorithm) => ({ algorithm, digest: await createDigest(algorithm) })),
  );
  return {
    update: (bytes) => {
      for (const { digest } of each) digest.update(bytes);
    },
    digests: () =>
      Object.fromEntries(each.map(({ algorithm, digest }): [DigestAlgorithm, string] => [algorithm, digest.digest()])),
  };
}

/**
 * `build` forces one; without it, the native build where it can be loaded. Rejects only if the one that is forced
 * cannot be loaded.
 */
export async function createBlake3(build: Blake3Build = fastestBuild()): Promise<Digest> {
  return build === 'native' ? createNative() : createWasm();
}

/** As `createDigestOf`, with `build` as for `createBlake3`: one hasher that starts anew each time. */
export async function createBlake3Of(build: Blake3Build = fastestBuild()): Promise<(bytes: Uint8Array) => string> {
  if (build === 'wasm') {
    const hasher = await loadWasm();
    return (bytes) => hasher.init().update(bytes).digest('hex');
  }
  const hasher = nativeHasher();
  return (bytes) => {
    hasher.reset();
    return hasher.update(asBuffer(bytes)).digest('hex');
  };
}

function createOpenSslDigest(algorithm: 'md5' | 'sha256'): Digest {
  try {
    const hash = createHash(algorithm);
    return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest('hex') };
  } catch (error) {
    throw asTransferError(error, 'unexpected', `This Node cannot compute ${algorithm} digests`);
  }
}

type NativeModule = ReturnType<typeof blakeAddon>;

let native: NativeModule | undefined;
let whyNoNative: unknown;

/** An optional dependency: it may be missing, or have no binary for this system. Tried once. */
function loadNative(): NativeModule | undefined {
  if (native === undefined && whyNoNative === undefined) {
    try {
      native = withAddon(blakeAddon);
    } catch (error) {
      whyNoNative = error;
    }
  }
  return native;
}

function fastestBuild(): Blake3Build {
  return loadNative() === undefined ? 'wasm' : 'native';
}

function nativeHasher(): InstanceType<NativeModule['Blake3Hasher']> {
  const loaded = loadNative();
  if (loaded === undefined)
    throw asTransferError(whyNoNative, 'unexpected', 'The native build of BLAKE3 cannot be loaded');
  return new loaded.Blake3Hasher();
}

/** The native build wants a Buffer; this copies nothing, it looks at the same memory. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function createNative(): Digest {
  const hasher = nativeHasher();
  return { update: (bytes) => void hasher.update(asBuffer(bytes)), digest: () => hasher.digest('hex') };
}

function loadWasm(): ReturnType<typeof import('hash-wasm').createBLAKE3> {
  const { createBLAKE3 } = require('hash-wasm') as typeof import('hash-wasm');
  return createBLAKE3();
}

async function createWasm(): Promise<Digest> {
  const hasher = (await loadWasm()).init();
  return { update: (bytes) => void hasher.update(bytes), digest: () => hasher.digest('hex') };
}
