import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { type Manifest, type ManifestEntry, parseManifest } from '../../lib/snapshot/manifest/manifest';
import { metadataKeys } from '../../lib/wire/metadata';
import { encoded } from './made-snapshot';
import { skipTest } from '../skip-test';

/** fixtures/vectors/README.md says what the keys mean. */
type Piece = { readonly text: string } | { readonly hex: string } | { readonly repeat: string; readonly times: number };
type Vector = {
  readonly name: string;
  readonly result?: unknown;
  readonly refusal?: { readonly code: string; readonly reason: string };
} & ({ readonly lines: readonly string[] } | { readonly bytes: readonly Piece[] });

const fixtures = join(__dirname, '..', '..', 'fixtures');
const vectorsFile = join(fixtures, 'vectors', 'manifests.json');
const { vectors, withdrawn } = JSON.parse(readFileSync(vectorsFile, 'utf8')) as {
  vectors: readonly Vector[];
  withdrawn: readonly Vector[];
};

/** How each reason of the vectors is put into words. */
const wording: Readonly<Record<string, RegExp>> = {
  cut: /: it is cut off, or none\.$/,
  head: /: (line 1: .*|it is none, or of another version)\.$/,
  sum: /: it is cut off, or was changed\.$/,
  totals: /: (its totals: .*|its totals are not those of its entries|it has not as many entries as it says)\.$/,
  'line 2': /: line 2: /,
  'line 3': /: line 3: /,
  twice: / is in it twice\.$/,
  below: / lies below what is no directory\.$/,
  link: /, which is no file of it\.$/,
};

describe('fixtures/vectors/manifests.json', () => {
  for (const vector of vectors) {
    it(vector.name, () => {
      const bytes = bytesOf(vector);
      if (vector.refusal) {
        const { code, reason } = vector.refusal;
        expect(() => parseManifest(bytes))
          .to.throw(TransferError, wording[reason] ?? /^no words for this reason$/)
          .with.property('code', code);
        return;
      }
      const manifest = parseManifest(bytes);
      expect(shown(manifest)).to.deep.equal(vector.result);
      expect(parseManifest(encoded(manifest)), 'written again').to.deep.equal(manifest);
    });
  }

  it('what was refused once for its name alone, and is taken now, has a vector beside it that says so', () => {
    for (const vector of withdrawn) {
      expect(vector.refusal, vector.name).to.deep.equal({ code: 'mismatch', reason: 'line 2' });
      const beside = vectors.find((each) => bytesOf(each).equals(bytesOf(vector)));
      expect(beside?.result, vector.name).to.be.an('object');
    }
  });

  it('every reason that a vector names is put into words, and every wording has its vector', () => {
    expect([...new Set(vectors.flatMap(({ refusal }) => (refusal ? [refusal.reason] : [])))]).to.have.members(
      Object.keys(wording),
    );
  });

  it('the first vector is what our own encoder writes, to the byte', () => {
    const [first] = vectors;
    const bytes = first && bytesOf(first);
    expect(bytes && encoded(parseManifest(bytes)).toString()).to.equal(bytes?.toString());
  });

  it("Python's json and hashlib come to the same outcomes", function () {
    if (spawnSync('python3', ['--version']).status !== 0) {
      skipTest(this, 'python3 is not installed, so nothing checks the vectors from outside');
    }
    const run = spawnSync('python3', [join(fixtures, 'python', 'check_vectors.py'), vectorsFile], { encoding: 'utf8' });
    expect(run.status, run.stdout + run.stderr).to.equal(0);
    expect(run.stdout).to.equal(`manifests.json: ${vectors.length} vectors, 0 failures\n`);
  });
});

function bytesOf(vector: Vector): Buffer {
  if ('lines' in vector) return Buffer.from(vector.lines.map((line) => `${line}\n`).join(''));
  return Buffer.concat(
    vector.bytes.map((piece) => {
      if ('text' in piece) return Buffer.from(piece.text);
      return 'hex' in piece ? Buffer.from(piece.hex, 'hex') : Buffer.from(piece.repeat.repeat(piece.times));
    }),
  );
}

/** A manifest as the vectors spell it: times and inodes in text, and nothing where nothing is known. */
function shown({ head, entries, totals: { entries: count, bytes, newBytes, missing } }: Manifest): unknown {
  return { head, entries: entries.map(shownEntry), totals: { entries: count, bytes, new_bytes: newBytes, missing } };
}

function shownEntry(entry: ManifestEntry): unknown {
  const { source, ...all } = entry.type === 'file' ? entry : { ...entry, source: {} };
  const { metadata, kept = {}, ...others } = { metadata: undefined, kept: undefined, ...all };
  const found = {
    ...others,
    ...source,
    ...metadataKeys(metadata),
    ...('apart' in kept ? { kept_apart: true } : {}),
    ...('mode' in kept ? { kept_mode: kept.mode?.toString(8).padStart(4, '0') } : {}),
    ...('mtime' in kept ? { kept_mtime: kept.mtime } : {}),
  };
  return Object.fromEntries(
    Object.entries(found)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]: [string, unknown]) => [key, typeof value === 'bigint' ? String(value) : value]),
  );
}
