import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { ContentCutter, contentSizesOf, type ContentSizes, gear } from '../../lib/wire/content-segments';
import type { JsonObject } from '../../lib/wire/frame';
import { Coverage, mostSegments, pieceSize, segmentCountOf, segmentSizeOf, smallFile } from '../../lib/wire/segment';
import {
  type BadEntry,
  encodeList,
  type Entry,
  parseBundle,
  parseEntries,
  parseHeld,
  parseNumbers,
  parseReceipts,
} from '../../lib/wire/session-list';
import { parseFromKeeper } from '../../lib/wire/keeper-message';
import { longestBundle, longestList, parseFromReceiver, parseFromSender } from '../../lib/wire/session-message';
import { parseBasis } from '../../lib/wire/basis';
import { metadataKeys } from '../../lib/wire/metadata';
import { parseTicket } from '../../lib/net/ticket';
import { skipTest } from '../skip-test';

/** fixtures/vectors/README.md says what the keys mean. */
interface Outcome {
  readonly name: string;
  readonly refusal?: { readonly code: string; readonly reason: string };
}

interface MessageVector extends Outcome {
  readonly from: 'sender' | 'receiver';
  readonly header: JsonObject;
  readonly message?: JsonObject;
}

type Piece = { readonly text: string } | { readonly hex: string } | { readonly repeat: string; readonly times: number };
type Repeated = { readonly repeat: unknown; readonly times: number };

interface ListVector extends Outcome {
  readonly list: 'entries' | 'bundle' | 'held' | 'standing' | 'numbers' | 'receipts';
  readonly digest?: 'blake3' | 'sha256' | 'md5';
  readonly allow_hidden?: boolean;
  readonly elements?: readonly unknown[];
  readonly bytes?: readonly Piece[];
  readonly result?: readonly unknown[] | Repeated;
}

interface TicketVector {
  readonly name: string;
  readonly ticket: string;
  readonly address?: object;
  readonly others?: readonly object[];
  readonly relay?: object;
  readonly relayPass?: string;
  readonly id?: string;
  readonly key?: string;
  readonly refused?: true;
}

interface SizeVector {
  readonly size: number;
  readonly segment_size: number;
  readonly segments: number;
  readonly pieces: number;
}

interface CoverageVector {
  readonly name: string;
  readonly size: number;
  readonly add: readonly (readonly [number, number, number?])[];
  readonly refused?: true;
  readonly whole?: boolean;
  readonly prefix?: number;
  readonly segments?: readonly number[];
}

type ContentPiece =
  { readonly hex: string; readonly times: number } | { readonly noise: string; readonly size: number };

interface ContentVector {
  readonly name: string;
  readonly sizes: ContentSizes;
  readonly content: readonly ContentPiece[];
  readonly cuts: readonly number[];
}

const fixtures = join(__dirname, '..', '..', 'fixtures');
const messages = load<{ vectors: MessageVector[] }>('session-messages.json').vectors;
const lists = load<{ vectors: ListVector[] }>('session-lists.json').vectors;
const tickets = load<{ vectors: TicketVector[] }>('tickets.json').vectors;
const segments = load<{ limits: object; sizes: SizeVector[]; coverage: CoverageVector[] }>('segments.json');

const contentSegments = load<{ gear: string[]; sizes: (ContentSizes & { size: number })[]; vectors: ContentVector[] }>(
  'content-segments.json',
);

/** How the reasons for which a list is no list are put into words; every other reason is the key that is wrong. */
const wording: Readonly<Record<string, RegExp>> = {
  json: /^A list is not JSON in UTF-8\.$/,
  array: /^A list is not a JSON array\.$/,
  elements: /^A list has more than 65536 elements\.$/,
  nested: /^A list is nested too deep, or too much\.$/,
};

describe('fixtures/vectors/session-messages.json', () => {
  const types = {
    sender: [
      'hello',
      'heartbeat',
      'offer',
      'segment',
      'bundle',
      'keep',
      'copy',
      'close',
      'drop',
      'text',
      'end',
      'connect',
      'missing',
    ],
    asked: ['heartbeat', 'told', 'done', 'refusal'],
    receiver: [
      'hello',
      'heartbeat',
      'answer',
      'held',
      'standing',
      'receipts',
      'refusal',
      'taken',
      'progress',
      'alarm',
      'done',
    ],
  };
  for (const from of ['sender', 'receiver', 'asked'] as const) {
    const parse = { sender: parseFromSender, receiver: parseFromReceiver, asked: parseFromKeeper }[from];
    for (const vector of messages.filter((each) => each.from === from)) {
      it(`from ${from === 'asked' ? 'one that was asked' : `a ${from}`}: ${vector.name}`, () =>
        check(vector, vector.message, () => parse(vector.header)));
    }

    it(`every type of ${from === 'asked' ? 'one that was asked' : `a ${from}`} is there, good and bad`, () => {
      const told = (bad: boolean): Set<unknown> =>
        new Set(
          messages
            .filter((each) => each.from === from && bad === (each.refusal !== undefined))
            .map(({ header }) => header['type']),
        );
      expect([...told(false)]).to.have.members(types[from]);
      expect([...told(true)]).to.include.members(types[from].filter((type) => type !== 'heartbeat' && type !== 'end'));
    });
  }
});

describe('fixtures/vectors/session-lists.json', () => {
  for (const vector of lists) {
    it(`${vector.list}: ${vector.name}`, () => {
      const bytes = vector.bytes ? Buffer.concat(vector.bytes.map(bytesOf)) : encodeList(vector.elements ?? []);
      check(vector, vector.result && expanded(vector.result), () => parse(vector, bytes));
    });
  }

  it('every reason that is not a key is put into words, and every wording has its vector', () => {
    const reasons = new Set(lists.flatMap(({ refusal }) => (refusal?.code === 'bad-frame' ? [refusal.reason] : [])));
    expect([...reasons]).to.have.members(Object.keys(wording));
  });
});

describe('fixtures/vectors/tickets.json', () => {
  for (const { name, ticket, refused, ...wanted } of tickets) {
    it(name, () => {
      if (refused) {
        expect(() => parseTicket(ticket))
          .to.throw(TransferError)
          .with.property('code', 'usage');
        return;
      }
      const { address, others, relay, relayPass, id, key } = parseTicket(ticket);
      expect({
        address,
        ...(others && { others }),
        ...(relay && { relay }),
        ...(relayPass && { relayPass }),
        id,
        key: Buffer.from(key).toString('hex'),
      }).to.deep.equal(wanted);
    });
  }
});

describe('fixtures/vectors/segments.json', () => {
  it('the limits are those of the code', () => {
    expect(segments.limits).to.deep.equal({
      piece_size: pieceSize,
      small_file: smallFile,
      most_segments: mostSegments,
      longest_list: longestList,
      longest_bundle: longestBundle,
    });
  });

  for (const { size, segment_size: segmentSize, segments: count, pieces } of segments.sizes) {
    it(`a file of ${String(size)} bytes`, () => {
      expect(segmentSizeOf(size)).to.equal(segmentSize);
      expect(segmentCountOf(size)).to.equal(count);
      expect(Math.ceil(size / pieceSize)).to.equal(pieces);
    });
  }

  for (const { name, size, add, refused, ...wanted } of segments.coverage) {
    it(name, () => {
      const coverage = new Coverage(size);
      const adding = (): void =>
        add.forEach(([offset, length, fresh = 0]) => expect(coverage.add(offset, length)).to.equal(fresh));
      if (refused) {
        expect(adding).to.throw(TransferError).with.property('code', 'bad-header');
        return;
      }
      adding();
      expect({ whole: coverage.whole, prefix: coverage.prefix, segments: coverage.segments() }).to.deep.equal(wanted);
    });
  }
});

describe('fixtures/vectors/content-segments.json', () => {
  it('the gear table is that of the code', () => {
    expect(contentSegments.gear.map((hex) => Number.parseInt(hex, 16) | 0)).to.deep.equal([...gear]);
  });

  for (const { size, ...sizes } of contentSegments.sizes) {
    it(`a file of ${String(size)} bytes`, () => {
      expect(contentSizesOf(size)).to.deep.equal(sizes);
    });
  }

  for (const { name, sizes, content, cuts } of contentSegments.vectors) {
    it(name, () => {
      const made = Buffer.concat(content.map(contentOf));
      expect(new ContentCutter(sizes).push(made)).to.deep.equal(cuts);
    });
  }
});

describe('fixtures/python/check_vectors.py', () => {
  it('comes to the same outcomes with plain Python', function () {
    if (spawnSync('python3', ['--version']).status !== 0) {
      skipTest(this, 'python3 is not installed, so nothing checks the vectors from outside');
    }
    this.timeout(30_000);
    const files = {
      'session-messages.json': messages.length,
      'session-lists.json': lists.length,
      'tickets.json': tickets.length,
      'segments.json': segments.sizes.length + segments.coverage.length,
      'content-segments.json': 1 + contentSegments.sizes.length + contentSegments.vectors.length,
    };
    const run = spawnSync('python3', [join(fixtures, 'python', 'check_vectors.py'), ...Object.keys(files).map(path)], {
      encoding: 'utf8',
    });
    expect(run.status, run.stdout + run.stderr).to.equal(0);
    const lines = Object.entries(files).map(([name, count]) => `${name}: ${String(count)} vectors, 0 failures\n`);
    expect(run.stdout).to.equal(lines.join(''));
  });
});

function path(name: string): string {
  return join(fixtures, 'vectors', name);
}

function load<Content>(name: string): Content {
  return JSON.parse(readFileSync(path(name), 'utf8')) as Content;
}

function check({ refusal }: Outcome, wanted: unknown, act: () => unknown): void {
  if (!refusal) {
    expect(act()).to.deep.equal(wanted);
    return;
  }
  const words =
    refusal.code === 'bad-frame'
      ? wording[refusal.reason]
      : new RegExp(`\\b${refusal.reason.replace('.', '\\.')}(?![\\w.]) |lacks ${refusal.reason.replace('.', '\\.')};`);
  expect(act).to.throw(TransferError, words).with.property('code', refusal.code);
}

function parse({ list, digest = 'blake3', allow_hidden: allowHidden = false }: ListVector, bytes: Uint8Array): unknown {
  switch (list) {
    case 'entries':
      return parseEntries(bytes, { allowHidden }).map(shown);
    case 'bundle':
      return parseBundle(bytes, digest);
    case 'held':
      return parseHeld(bytes, digest);
    case 'standing':
      return parseBasis(bytes, digest);
    case 'numbers':
      return parseNumbers(bytes);
    case 'receipts':
      return parseReceipts(bytes);
  }
}

/** An entry as the vectors spell it: times in text, and nothing where nothing is known. */
function shown(entry: Entry | BadEntry): unknown {
  if ('error' in entry) return { file: entry.file, refused: entry.error.code };
  const { metadata, ...others } = entry;
  const known = Object.entries({ ...others, ...metadataKeys(metadata) }).filter(([, value]) => value !== undefined) as [
    string,
    unknown,
  ][];
  return Object.fromEntries(known.map(([key, value]) => [key, typeof value === 'bigint' ? String(value) : value]));
}

function bytesOf(piece: Piece): Buffer {
  if ('text' in piece) return Buffer.from(piece.text);
  if ('hex' in piece) return Buffer.from(piece.hex.replaceAll(' ', ''), 'hex');
  return Buffer.from(piece.repeat.repeat(piece.times));
}

function contentOf(piece: ContentPiece): Buffer {
  if ('hex' in piece) return Buffer.from(piece.hex.repeat(piece.times), 'hex');
  const digests = Array.from({ length: Math.ceil(piece.size / 32) }, (_, at) =>
    createHash('sha256')
      .update(`${piece.noise} ${String(at)}`)
      .digest(),
  );
  return Buffer.concat(digests).subarray(0, piece.size);
}

/** A result in which something stands often is not written out. */
function expanded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(expanded);
  if (typeof value !== 'object' || value === null) return value;
  if ('repeat' in value && 'times' in value) {
    const { repeat, times } = value as Repeated;
    return typeof repeat === 'string' ? repeat.repeat(times) : Array.from({ length: times }, () => repeat);
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, expanded(inner)]));
}
