import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { HeaderDecoder } from '../../lib/wire/frame';
import { parseFileHeader, type FileHeader } from '../../lib/wire/message';
import { skipTest } from '../skip-test';

/** fixtures/vectors/README.md says what the keys mean. */
type Piece =
  | { readonly int32le: number }
  | { readonly int32be: number }
  | { readonly hex: string }
  | { readonly text: string }
  | { readonly repeat: string; readonly times: number };

interface Vector {
  readonly name: string;
  readonly bytes: readonly Piece[];
  readonly headers?: readonly FileHeader[];
  readonly refusal?: { readonly code: string; readonly reason: string };
}

interface Outcome {
  readonly headers: readonly FileHeader[];
  readonly refusal: TransferError | undefined;
}

const fixtures = join(__dirname, '..', '..', 'fixtures');
const vectorsFile = join(fixtures, 'vectors', 'frames.json');
const { vectors } = JSON.parse(readFileSync(vectorsFile, 'utf8')) as { vectors: Vector[] };

/** How each reason of the vectors is put into words. */
const wording: Readonly<Record<string, RegExp>> = {
  length: /^The header's length is -?\d+; it must be 2 to 65536\.$/,
  'big-endian': /It looks big-endian \(\d+\)/,
  text: /looks like text, for instance an HTTP request/,
  tls: /^This is TLS; this port speaks the plain wire here\.$/,
  end: /^The connection ended after \d+ of /,
  'utf-8': /not valid UTF-8/,
  bom: /byte order mark/,
  json: /not exactly one JSON object/,
  duplicate: /has the key ".*" twice/,
  object: /^The header is .*, not a JSON object\.$/,
  depth: /nested more than 32 levels/,
  keys: /more than 1024 keys/,
  file_name: /\bfile_name\b/,
  file_size: /\bfile_size\b/,
  md5: /\bmd5\b/,
};

describe('fixtures/vectors/frames.json', () => {
  for (const vector of vectors) {
    const bytes = Buffer.concat(vector.bytes.map(bytesOf));

    it(`${vector.name}: the same outcome whole, in single bytes and split at random`, () => {
      const whole = receive([bytes]);
      expect(whole.headers).to.deep.equal(vector.headers ?? []);
      expect(whole.refusal?.code, whole.refusal?.message).to.equal(vector.refusal?.code);
      if (vector.refusal)
        expect(whole.refusal?.message).to.match(wording[vector.refusal.reason] ?? /^no words for this reason$/);

      const told = tell(whole);
      expect(tell(receive(Array.from(bytes, (byte) => Uint8Array.of(byte))))).to.deep.equal(told);
      const cuts = fc.array(fc.nat({ max: bytes.length }), { minLength: 1, maxLength: 12 });
      const split = fc.property(cuts, (at) => {
        expect(tell(receive(splitAt(bytes, at)))).to.deep.equal(told);
      });
      fc.assert(split, { numRuns: 20 });
    });
  }

  it('every reason that a vector names is put into words, and every wording has its vector', () => {
    const reasons = new Set(vectors.flatMap(({ refusal }) => (refusal ? [refusal.reason] : [])));
    expect([...reasons].sort()).to.deep.equal(Object.keys(wording).sort());
  });

  it("Python's struct and json come to the same outcomes", function () {
    if (spawnSync('python3', ['--version']).status !== 0) {
      skipTest(this, 'python3 is not installed, so nothing checks the vectors from outside');
    }
    this.timeout(20_000);
    const run = spawnSync('python3', [join(fixtures, 'python', 'check_vectors.py'), vectorsFile], { encoding: 'utf8' });
    expect(run.status, run.stdout + run.stderr).to.equal(0);
    expect(run.stdout).to.contain(`${vectors.length} vectors, 0 failures`);
  });
});

/** What a receiver does with the bytes: header, payload, header, payload …, then FIN. */
function receive(pieces: readonly Uint8Array[]): Outcome {
  const headers: FileHeader[] = [];
  const decoder = new HeaderDecoder();
  let missing = 0; // bytes of the current payload
  try {
    for (const piece of pieces) {
      for (let rest = piece; rest.length > 0;) {
        if (missing > 0) {
          const taken = Math.min(missing, rest.length);
          missing -= taken;
          rest = rest.subarray(taken);
          continue;
        }
        rest = rest.subarray(decoder.push(rest));
        if (decoder.header === undefined) continue;
        const header = parseFileHeader(decoder.header);
        headers.push(header);
        missing = header.file_size;
        decoder.reset();
      }
    }
    if (missing > 0) throw cutPayload(headers.at(-1), missing);
    decoder.finish();
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    return { headers, refusal: error };
  }
  return { headers, refusal: undefined };
}

function cutPayload(header: FileHeader | undefined, missing: number): TransferError {
  const size = header?.file_size ?? 0;
  return new TransferError(
    'connection-lost',
    `The connection ended after ${size - missing} of a payload's ${size} bytes.`,
  );
}

function tell({ headers, refusal }: Outcome): unknown {
  return { headers, refusal: refusal && `${refusal.code}: ${refusal.message}` };
}

function splitAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const sorted = [0, ...[...cuts].sort((a, b) => a - b), bytes.length];
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
}

function bytesOf(piece: Piece): Buffer {
  if ('text' in piece) return Buffer.from(piece.text, 'utf8');
  if ('hex' in piece) return Buffer.from(piece.hex.replaceAll(' ', ''), 'hex');
  if ('repeat' in piece) return Buffer.from(piece.repeat.repeat(piece.times), 'utf8');
  const prefix = Buffer.alloc(4);
  if ('int32le' in piece) prefix.writeInt32LE(piece.int32le);
  else prefix.writeInt32BE(piece.int32be);
  return prefix;
}
