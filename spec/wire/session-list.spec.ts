import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { type EntryName, parseEntryName } from '../../lib/name';
import {
  encodeEntry,
  encodeList,
  type Entry,
  parseBundle,
  parseEntries,
  parseHeld,
  parseNumbers,
  parseReceipts,
} from '../../lib/wire/session-list';
import { longestList } from '../../lib/wire/session-message';

const rule = { allowHidden: true };
const count = fc.oneof(fc.nat({ max: 0xffffffff }), fc.constantFrom(0, 0xffffffff));
const time = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const mode = fc.nat({ max: 0o777 });
const name = fc
  .array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 4 })
  .map((components) => entryName(components.join('/')));
const target = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter((text) => !text.includes('\0'));
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));

const entry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({
    type: fc.constant('file' as const),
    file: count,
    name,
    mtime: time,
    mode,
    size: fc.option(fc.maxSafeNat(), { nil: undefined }),
    ctime: fc.option(time, { nil: undefined }),
    inode: fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { nil: undefined }),
    data: fc.option(fc.maxSafeNat(), { nil: undefined }),
  }),
  fc.record({ type: fc.constant('directory' as const), file: count, name, mtime: time, mode }),
  fc.record({ type: fc.constant('symlink' as const), file: count, name, mtime: time, target }),
  fc.record({ type: fc.constant('link' as const), file: count, name, mtime: time, target: name }),
);

describe('entries', () => {
  it('are read as they were written, every kind of them', () => {
    const same = fc.property(fc.array(entry, { maxLength: 20 }), (entries) => {
      expect(parseEntries(encodeList(entries.map(encodeEntry)), rule)).to.deep.equal(entries);
    });
    fc.assert(same, { numRuns: 300 });
  });

  it('carry times to the nanosecond, before 1970 too', () => {
    for (const mtime of [1_700_000_000_123_456_789n, -1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
      const [read] = parseEntries(
        encodeList([encodeEntry({ type: 'directory', file: 1, name: entryName('d'), mode: 0, mtime })]),
        rule,
      );
      expect(read).to.deep.include({ mtime });
    }
  });

  it('with a bad name say why, and leave the others alone', () => {
    const good = { file: 1, type: 'directory', name: 'a', mode: 0, mtime: '0' };
    const [first, second, third] = parseEntries(
      encodeList([good, { ...good, file: 2, name: 'a/../../b' }, { ...good, file: 3, name: 'c' }]),
      rule,
    );
    expect([first, third]).to.deep.equal([
      { file: 1, type: 'directory', name: 'a', mode: 0, mtime: 0n },
      { file: 3, type: 'directory', name: 'c', mode: 0, mtime: 0n },
    ]);
    expect(second).to.include({ file: 2, text: 'a/../../b' }).and.to.have.nested.property('error.code', 'name');
  });

  it('with a target that has no UTF-8 are refused: the link would point elsewhere', () => {
    const link = { file: 1, type: 'symlink', name: 's', target: '\ud800', mtime: '0' };
    expect(parseEntries(encodeList([link]), rule)[0]).to.have.nested.property('error.code', 'name');
  });
});

describe('the other lists', () => {
  it('are read as they were written', () => {
    const rows = fc.array(
      fc.record({ file: count, size: fc.nat({ max: 65536 }), segment: fc.nat({ max: 65535 }), digest }),
      { maxLength: 20 },
    );
    const same = fc.property(rows, (each) => {
      expect(
        parseBundle(encodeList(each.map(({ file, size, digest: hex }) => [file, size, hex])), 'blake3'),
      ).to.deep.equal(each.map(({ file, size, digest: hex }) => ({ file, size, digest: hex })));
      expect(
        parseHeld(encodeList(each.map(({ file, segment, digest: hex }) => [file, segment, hex])), 'sha256'),
      ).to.deep.equal(each.map(({ file, segment, digest: hex }) => ({ file, segment, digest: hex })));
      expect(parseNumbers(encodeList(each.map(({ file }) => file)))).to.deep.equal(each.map(({ file }) => file));
      const receipts = each.map(({ file, digest: hex }) => ({
        file,
        verified: 'device' as const,
        digests: { blake3: hex },
        path: 'a',
        repaired: 1,
      }));
      expect(parseReceipts(encodeList(receipts))).to.deep.equal(receipts);
    });
    fc.assert(same, { numRuns: 200 });
  });

  it('have room for every segment of the longest file', () => {
    const held = Array.from({ length: 65536 }, (_, segment) => [0xffffffff, segment, 'ab'.repeat(32)]);
    const list = encodeList(held);
    expect(list.length).to.be.at.most(longestList);
    expect(parseHeld(list, 'blake3')).to.have.lengthOf(65536);
  });
});

describe('a hostile list', () => {
  const parsers: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
    entries: (bytes) => parseEntries(bytes, rule),
    bundle: (bytes) => parseBundle(bytes, 'blake3'),
    held: (bytes) => parseHeld(bytes, 'blake3'),
    numbers: parseNumbers,
    receipts: parseReceipts,
  };

  it('is refused with bad-frame or bad-header: nothing else is thrown', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.array(fc.jsonValue(), { maxLength: 5 }).map((list) => encodeList(list)),
      fc
        .string({ unit: fc.constantFrom('[', ']', '{', '}', '"', '\\', ',', ':', '0', ' '), maxLength: 20 })
        .map((text) => Buffer.from(text)),
    );
    const safe = fc.property(bytes, (hostile) => {
      for (const parse of Object.values(parsers)) {
        try {
          parse(hostile);
        } catch (error) {
          expect(error).to.be.instanceOf(TransferError);
          expect((error as TransferError).code).to.be.oneOf(['bad-frame', 'bad-header']);
        }
      }
    });
    fc.assert(safe, { numRuns: 2000 });
  });

  const worst = {
    'brackets only': '['.repeat(longestList),
    'brackets that close': '['.repeat(longestList / 2) + ']'.repeat(longestList / 2),
    'empty objects': `[${'{},'.repeat(2_700_000)}{}]`,
    'empty objects inside one': `[{"file":1,"verified":null,"x":[${'{},'.repeat(2_700_000)}{}]}]`,
    numbers: `[${'0,'.repeat(4_100_000)}0]`,
  };
  for (const [what, text] of Object.entries(worst)) {
    it(`of 8 MiB of ${what} is refused before it takes memory`, () => {
      const bytes = Buffer.from(text);
      const before = process.memoryUsage().heapUsed;
      expect(() => parseReceipts(bytes))
        .to.throw(TransferError)
        .with.property('code', 'bad-frame');
      expect(process.memoryUsage().heapUsed - before).to.be.below(16 * 1024 * 1024);
    });
  }

  it('repeats nothing of what was sent', () => {
    const hostile = `[{"file":1,"verified":"\u001b[31m${'x'.repeat(10_000)}"}]`;
    expect(() => parseReceipts(Buffer.from(hostile))).to.throw(TransferError, /^[^\p{Cc}]{1,200}$/u);
    expect(() => parseReceipts(Buffer.from('[\u001b[31m'))).to.throw(TransferError, 'A list is not JSON in UTF-8.');
  });
});

function entryName(text: string): EntryName {
  try {
    return parseEntryName(text, rule);
  } catch {
    // What chance made was no name.
    return parseEntryName('a');
  }
}
