import { expect } from 'chai';
import * as fc from 'fast-check';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { createBlake3, createBlake3Of, createDigest, createDigestOf } from '../../lib/digest/digest';
import type { Digest, DigestAlgorithm } from '../../lib/digest/digest';

/** As far as it is needed here; only the browsers' type library declares it. */
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number; maximum: number; shared: true }) => {
    readonly buffer: SharedArrayBuffer;
  };
};

interface Vector {
  readonly text?: string;
  readonly times?: number;
  readonly length?: number;
  readonly digest: string;
}

const root = join(__dirname, '..', '..');
const vectors = JSON.parse(readFileSync(join(root, 'fixtures/vectors/digests.json'), 'utf8')) as Record<
  DigestAlgorithm,
  readonly Vector[]
>;

const makers: readonly {
  readonly title: string;
  readonly algorithm: DigestAlgorithm;
  readonly create: () => Promise<Digest>;
}[] = [
  { title: 'md5', algorithm: 'md5', create: () => createDigest('md5') },
  { title: 'sha256', algorithm: 'sha256', create: () => createDigest('sha256') },
  { title: 'blake3', algorithm: 'blake3', create: () => createDigest('blake3') },
  { title: 'blake3, native', algorithm: 'blake3', create: () => createBlake3('native') },
  { title: 'blake3, wasm', algorithm: 'blake3', create: () => createBlake3('wasm') },
];

function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index % 251);
}

function inputOf({ text = '', times = 1, length }: Vector): Uint8Array {
  return length === undefined ? Buffer.from(text.repeat(times), 'ascii') : counting(length);
}

async function digestOf(create: () => Promise<Digest>, pieces: Iterable<Uint8Array>): Promise<string> {
  const digest = await create();
  for (const piece of pieces) digest.update(piece);
  return digest.digest();
}

/** Pieces of 1, 2, 4, 8, … bytes less one now and then: never aligned with what an algorithm takes at a time. */
function* oddPieces(bytes: Uint8Array): Generator<Uint8Array> {
  let size = 1;
  for (let at = 0; at < bytes.length; at += size, size = (size * 2 + 1) % 40_961) yield bytes.subarray(at, at + size);
}

function inSharedMemory(bytes: Uint8Array, offset: number): Uint8Array {
  const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
  const view = new Uint8Array(memory.buffer, offset, bytes.length);
  view.set(bytes);
  return view;
}

describe('createDigest', () => {
  for (const { title, algorithm, create } of makers) {
    describe(title, () => {
      for (const vector of vectors[algorithm]) {
        const input =
          vector.length === undefined ? `"${vector.text}" × ${vector.times ?? 1}` : `${vector.length} counting bytes`;

        it(`is the published digest of ${input}, in one go and in odd pieces`, async () => {
          const bytes = inputOf(vector);
          expect(await digestOf(create, [bytes])).to.equal(vector.digest);
          expect(await digestOf(create, oddPieces(bytes))).to.equal(vector.digest);
        });
      }

      it('reads bytes in shared memory, at any offset, also as a Buffer', async () => {
        const bytes = counting(100_001);
        const expected = await digestOf(create, [bytes]);
        for (const offset of [0, 1, 4096]) {
          const shared = inSharedMemory(bytes, offset);
          expect(shared.buffer).to.be.instanceOf(SharedArrayBuffer);
          expect(await digestOf(create, [shared])).to.equal(expected);
          expect(await digestOf(create, oddPieces(shared))).to.equal(expected);
          expect(await digestOf(create, [Buffer.from(shared.buffer, offset, bytes.length)])).to.equal(expected);
        }
      });

      it('has read the bytes when update returns, so that the memory can be used again', async () => {
        const bytes = inSharedMemory(counting(70_000), 0);
        const digest = await create();
        digest.update(bytes);
        bytes.fill(0xff);
        expect(digest.digest()).to.equal(await digestOf(create, [counting(70_000)]));
      });

      it('keeps digests that are made at the same time apart', async () => {
        const [one, other] = await Promise.all([create(), create()]);
        one.update(counting(3000));
        other.update(counting(5));
        one.update(counting(7));
        expect(other.digest()).to.equal(await digestOf(create, [counting(5)]));
        expect(one.digest()).to.equal(await digestOf(create, [counting(3000), counting(7)]));
      });
    });
  }

  it('gives the same blake3 digest natively and in wasm, however the bytes are split', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 8 }), async (pieces) => {
        const whole = Buffer.concat(pieces);
        const expected = await digestOf(() => createBlake3('native'), [whole]);
        expect(await digestOf(() => createBlake3('wasm'), pieces)).to.equal(expected);
        expect(await digestOf(() => createBlake3('native'), pieces)).to.equal(expected);
      }),
    );
  });
});

describe('createDigestOf', () => {
  const each: readonly {
    readonly title: string;
    readonly algorithm: DigestAlgorithm;
    readonly create: () => Promise<(bytes: Uint8Array) => string>;
  }[] = [
    { title: 'md5', algorithm: 'md5', create: () => createDigestOf('md5') },
    { title: 'sha256', algorithm: 'sha256', create: () => createDigestOf('sha256') },
    { title: 'blake3', algorithm: 'blake3', create: () => createDigestOf('blake3') },
    { title: 'blake3, native', algorithm: 'blake3', create: () => createBlake3Of('native') },
    { title: 'blake3, wasm', algorithm: 'blake3', create: () => createBlake3Of('wasm') },
  ];
  for (const { title, algorithm, create } of each) {
    it(`${title}: gives the published digests one after another, also of shared memory`, async () => {
      const hashing = await create();
      for (const vector of [...vectors[algorithm], ...vectors[algorithm]]) {
        const bytes = inputOf(vector);
        expect(hashing(bytes)).to.equal(vector.digest);
        if (bytes.length < 200_000) expect(hashing(inSharedMemory(bytes, 1))).to.equal(vector.digest);
      }
    });
  }
});

describe('createBlake3', () => {
  /** Runs `script` in a Node of its own, which loads `lib/digest/digest` as `digest`; returns what it printed. */
  function run(script: string): string {
    const load = `
      const digest = require('./lib/digest/digest');
      const loaded = (name) => Object.keys(require.cache).some((path) => path.includes(name));`;
    const args = ['-r', './spec/typescript.js', '-e', `${load}\n${script}`];
    return execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }).trim();
  }

  const withoutNative = `
    const { Module } = require('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...rest) {
      if (name.startsWith('@napi-rs/')) throw new Error('no binary for this system');
      return resolve.call(this, name, ...rest);
    };`;

  it('loads neither build before it is asked for blake3', () => {
    const script =
      "digest.createDigest('md5').then((md5) => console.log(md5.digest(), loaded('hash-wasm'), loaded('blake-hash')));";
    expect(run(script)).to.equal('d41d8cd98f00b204e9800998ecf8427e false false');
  });

  it('prefers the native build', () => {
    const script = "digest.createDigest('blake3').then(() => console.log(loaded('hash-wasm'), loaded('blake-hash')));";
    expect(run(script)).to.equal('false true');
  });

  it('falls back to wasm where the native build cannot be loaded', () => {
    const script = `${withoutNative}
      digest.createDigest('blake3').then((blake3) => console.log(blake3.digest(), loaded('hash-wasm'), loaded('blake-hash')));`;
    expect(run(script)).to.equal(`${vectors.blake3[0]?.digest} true false`);
  });

  it('says why, when the native build is forced and cannot be loaded', () => {
    const script = `${withoutNative}
      digest.createBlake3('native').catch((error) => console.log(error.code, error.message));`;
    expect(run(script)).to.equal('unexpected The native build of BLAKE3 cannot be loaded: no binary for this system');
  });
});
