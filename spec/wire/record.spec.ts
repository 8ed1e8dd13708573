import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createRecordCipher } from '../../lib/session/record-cipher';
import { parseJsonObject } from '../../lib/wire/json-object';
import {
  connectionKeys,
  longestRecord,
  nextKey,
  openRecord,
  RecordCount,
  recordLength,
  recordPrefix,
  recordsPerKey,
  sealRecord,
  suites,
  type Suite,
  tagLength,
} from '../../lib/wire/record';
import { beginsSealed, parseSealedAnswer, parseSealedHello, sealedHello } from '../../lib/wire/sealed-hello';
import { encodeFrame } from '../../lib/wire/frame';
import { thrownCode } from './thrown-code';

/** fixtures/vectors/README.md says what the keys mean. */
interface RecordVector {
  readonly name: string;
  readonly suite: Suite;
  readonly connection: number;
  readonly secret: string;
  readonly dialed_nonce: string;
  readonly listening_nonce: string;
  readonly dialed_key: string;
  readonly listening_key: string;
  readonly next_dialed_key: string;
  readonly records: readonly {
    readonly by: 'dialed' | 'listening';
    readonly count: number;
    readonly plain: string;
    readonly record: string;
  }[];
}

const { vectors } = JSON.parse(
  readFileSync(join(__dirname, '..', '..', 'fixtures', 'vectors', 'sealed-records.json'), 'utf8'),
) as { readonly vectors: readonly RecordVector[] };
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
const key = Buffer.alloc(32, 9);
const fresh = (suite: Suite = 'aes-256-gcm', sealed = 0): RecordCount => RecordCount.from({ suite, key, sealed });

describe('the records of sealed connections', () => {
  for (const vector of vectors) {
    it(`come out as the vector says: ${vector.name}`, () => {
      const keys = connectionKeys({
        secret: bytes(vector.secret),
        suite: vector.suite,
        connection: vector.connection,
        dialed: bytes(vector.dialed_nonce),
        listening: bytes(vector.listening_nonce),
      });
      expect(keys.dialed.toString('hex')).to.equal(vector.dialed_key);
      expect(keys.listening.toString('hex')).to.equal(vector.listening_key);
      expect(nextKey(keys.dialed).toString('hex')).to.equal(vector.next_dialed_key);
      for (const { by, count, plain, record } of vector.records) {
        // Reached one by one, the key of the 65536th would be replaced on the way.
        const at = (): RecordCount => {
          const reached = RecordCount.from({
            suite: vector.suite,
            key: keys[by],
            sealed: Math.min(count, recordsPerKey - 1),
          });
          if (count >= recordsPerKey) reached.next();
          return reached;
        };
        expect(sealRecord(at(), bytes(plain)).toString('hex')).to.equal(record);
        expect(openRecord(at(), bytes(record)).toString('hex')).to.equal(plain);
        for (const build of ['in place', 'copying'] as const) {
          const [prefix, piece, tag] = [bytes(record).subarray(0, recordPrefix), bytes(plain), Buffer.alloc(tagLength)];
          const sealer = createRecordCipher(at().state, build);
          sealer.seal(prefix, [piece.subarray(0, 5), piece.subarray(5)], tag);
          sealer.close();
          expect(Buffer.concat([prefix, piece, tag]).toString('hex')).to.equal(record);
          const opener = createRecordCipher(at().state, build);
          const opened = Buffer.alloc(piece.length);
          expect(opener.open(prefix, piece, tag, (offset) => opened.subarray(offset, offset + 7))).to.equal(true);
          opener.close();
          expect(opened.toString('hex')).to.equal(plain);
        }
      }
    });
  }

  for (const suite of suites) {
    for (const build of ['pure', 'in place', 'copying'] as const) {
      const opens = (count: RecordCount, record: Uint8Array): boolean => {
        if (build === 'pure') return thrownCode(() => openRecord(count, record)) === 'none';
        const end = record.length - tagLength;
        const cipher = createRecordCipher(count.state, build);
        const opened = Buffer.alloc(end - recordPrefix);
        try {
          return cipher.open(
            record.subarray(0, recordPrefix),
            record.subarray(recordPrefix, end),
            record.subarray(end),
            (offset) => opened.subarray(offset),
          );
        } finally {
          cipher.close();
        }
      };

      it(`do not open with a bit flipped at any offset (${suite}, ${build})`, () => {
        const record = sealRecord(fresh(suite), encodeFrame({ type: 'heartbeat' }));
        expect(opens(fresh(suite), record)).to.equal(true);
        for (let bit = 0; bit < record.length * 8; bit++) {
          const flipped = Buffer.from(record);
          flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          expect(opens(fresh(suite), flipped), `bit ${String(bit)}`).to.equal(false);
        }
      });

      it(`do not open out of their order, twice, from another direction, or cut (${suite}, ${build})`, () => {
        const sealing = fresh(suite);
        const [first, second] = [sealRecord(sealing, Buffer.from('first')), sealRecord(sealing, Buffer.from('second'))];
        expect(opens(fresh(suite), second), 'reordered').to.equal(false);
        expect(opens(fresh(suite, 1), first), 'replayed').to.equal(false);
        expect(opens(fresh(suite, 1), second)).to.equal(true);
        const keys = connectionKeys({ secret: key, suite, connection: 1, dialed: key, listening: key });
        const mine = sealRecord(new RecordCount(suite, keys.dialed), Buffer.from('first'));
        expect(opens(new RecordCount(suite, keys.listening), mine), 'reflected').to.equal(false);
        const shorter = Buffer.concat([first.subarray(0, -tagLength - 1), first.subarray(-tagLength)]);
        expect(opens(fresh(suite), shorter), 'cut').to.equal(false);
        shorter.writeUInt32LE(4);
        expect(opens(fresh(suite), shorter), 'cut, with the length that it has then').to.equal(false);
      });
    }
  }

  it('have 1 to 2097152 bytes: anything else is refused by its length alone', () => {
    const prefixOf = (length: number): Buffer => {
      const prefix = Buffer.alloc(recordPrefix);
      prefix.writeUInt32LE(length);
      return prefix;
    };
    expect(recordLength(prefixOf(1))).to.equal(1);
    expect(recordLength(prefixOf(longestRecord))).to.equal(longestRecord);
    for (const length of [0, longestRecord + 1, 0xffffffff])
      expect(thrownCode(() => recordLength(prefixOf(length)))).to.equal('bad-frame');
  });

  it('are sealed with other keys for each connection, suite and nonce', () => {
    const source = {
      secret: key,
      suite: 'aes-256-gcm',
      connection: 1,
      dialed: Buffer.alloc(32, 1),
      listening: Buffer.alloc(32, 2),
    } as const;
    const others = [
      source,
      { ...source, connection: 2 },
      { ...source, suite: 'chacha20-poly1305' as const },
      { ...source, dialed: source.listening, listening: source.dialed },
      { ...source, listening: Buffer.alloc(32, 3) },
    ];
    const all = others
      .map(connectionKeys)
      .flatMap(({ dialed, listening }) => [dialed.toString('hex'), listening.toString('hex')]);
    expect(new Set(all).size).to.equal(all.length);
  });
});

describe('the first frame of a sealed connection', () => {
  const said = { session: 'ab'.repeat(16), connection: 3, suite: 'aes-256-gcm', fresh: Buffer.alloc(32, 5) } as const;

  it('is read as it was written, and told by its first bytes, however few there are', () => {
    const frame = encodeFrame(sealedHello(said));
    expect(parseSealedHello(parseJsonObject(frame.subarray(4)))).to.deep.equal(said);
    for (let length = 0; length <= frame.length; length++) {
      expect(beginsSealed(frame.subarray(0, length)), String(length)).to.equal(length < 21 ? undefined : true);
    }
  });

  it('is nothing that a sender of the plain wire, or TLS, begins with', () => {
    expect(beginsSealed(encodeFrame({ file_name: 'a', file_size: 1, md5: '' }))).to.equal(false);
    expect(beginsSealed(encodeFrame({ type: 'receipt' }))).to.equal(false);
    expect(beginsSealed(Buffer.from([0x16, 0x03, 0x01]))).to.equal(false);
    expect(beginsSealed(Buffer.from('GET / HTTP/1.1'))).to.equal(false);
  });

  it('is refused where a key is not as it should be', () => {
    const good = parseJsonObject(encodeFrame(sealedHello(said)).subarray(4));
    for (const wrong of [
      { type: 'hello' },
      { session: 'AB'.repeat(16) },
      { connection: 0 },
      { connection: 1.5 },
      { suite: 'none' },
      { nonce: 'ab' },
      { nonce: 'AB'.repeat(32) },
    ]) {
      expect(
        thrownCode(() => parseSealedHello({ ...good, ...wrong })),
        JSON.stringify(wrong),
      ).to.equal('bad-header');
    }
    expect(thrownCode(() => parseSealedAnswer({ type: 'sealed' }))).to.equal('bad-header');
  });
});
