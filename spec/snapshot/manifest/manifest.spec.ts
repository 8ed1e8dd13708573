import { createHash } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import {
  longestManifestHead,
  type Manifest,
  type ManifestEntry,
  type ManifestHead,
  parseManifest,
  parseManifestHead,
  parseManifestOutline,
  parseOtherFiles,
} from '../../../lib/snapshot/manifest/manifest';
import { parseSnapshotId } from '../../../lib/snapshot/manifest/snapshot-id';
import { encoded } from '../made-snapshot';

const nameOf = (text: string): ReturnType<typeof parseEntryName> => parseEntryName(text, { allowHidden: true });
const head: ManifestHead = {
  name: nameOf('laptop'),
  id: parseSnapshotId('2026-11-20T101233Z'),
  number: 3,
  digest: 'sha256',
};
const digests = { sha256: 'ab'.repeat(32) };

const entries: readonly ManifestEntry[] = [
  { type: 'directory', name: nameOf('src'), mode: 0o755, mtime: 1n },
  {
    type: 'file',
    name: nameOf('src/a.ts'),
    size: 5,
    mode: 0o640,
    mtime: 1795169553123456789n,
    digests,
    source: { ctime: 1795169553123456790n, inode: (1n << 64n) - 1n },
  },
  {
    type: 'file',
    name: nameOf('.größe'),
    size: 0,
    mode: 0o004,
    mtime: -1n,
    digests: { ...digests, md5: 'cd'.repeat(16) },
    source: {},
  },
  { type: 'link', name: nameOf('b.ts'), target: nameOf('src/a.ts'), mtime: 1795169553123456789n },
  { type: 'symlink', name: nameOf('away'), target: '../../etc: "x"\n', mtime: 0n },
  { type: 'missing', name: 'src/\ud800\0', code: 'name', reason: 'The name "\ud800" …' },
];

function manifestOf(some: readonly ManifestEntry[]): Manifest {
  const bytes = some.reduce((sum, entry) => sum + (entry.type === 'file' ? entry.size : 0), 0);
  return {
    head,
    entries: some,
    totals: { entries: some.length, bytes, newBytes: 0, missing: some.filter(({ type }) => type === 'missing').length },
  };
}

/** The lines, their ends included, but for the last one. */
function linesOf(manifest: Manifest): string[] {
  return encoded(manifest)
    .toString()
    .split(/(?<=\n)/)
    .slice(0, -1);
}

/** Lines as somebody would write them who knows how the last one is made. */
function summed(lines: readonly string[]): Buffer {
  const written = lines.join('');
  return Buffer.from(`${written}{"sha256":"${createHash('sha256').update(written).digest('hex')}"}\n`);
}

function expectRefusal(
  bytes: Uint8Array,
  words: RegExp = /^A manifest cannot be believed: .*[^.]\.$/,
  shown?: string,
): void {
  expect(() => parseManifest(bytes), shown)
    .to.throw(TransferError, words)
    .with.property('code', 'mismatch');
}

describe('a manifest', () => {
  const manifest = manifestOf(entries);
  const bytes = encoded(manifest);
  const lines = linesOf(manifest);

  it('is read as it was written', () => {
    expect(parseManifest(bytes)).to.deep.equal(manifest);
    expect(parseManifest(encoded(manifestOf([]))).entries).to.deep.equal([]);
    expect(summed(lines).equals(bytes), 'the last line is what PROTOCOL.md says').to.equal(true);
  });

  it('gives the files whose digest is not known, however its lines are spelled, and is refused as a whole where it was changed', () => {
    const other = { sha256: 'cd'.repeat(32) };
    const file = {
      type: 'file',
      name: nameOf('new'),
      size: 1,
      mode: 0o600,
      mtime: 5n,
      digests: other,
      source: {},
    } as const;
    const known = (digest: string): boolean => digest === digests.sha256;
    expect(parseOtherFiles(encoded(manifestOf([...entries, file])), known).files).to.deep.equal([file]);
    expect(parseOtherFiles(bytes, () => false).files).to.deep.equal(entries.filter(({ type }) => type === 'file'));
    const spaced = lines.map((line, at) => (at === 2 || at === 3 ? line.replace('"sha256":"', '"sha256" : "') : line));
    expect(parseOtherFiles(summed(spaced), known).files).to.deep.equal([]);
    expect(parseOtherFiles(summed(spaced), () => false).files).to.have.lengthOf(2);
    const changed = Buffer.from(bytes);
    changed[changed.indexOf('a.ts')] = 0x62;
    expect(() => parseOtherFiles(changed, known))
      .to.throw(TransferError)
      .with.property('code', 'mismatch');
    expect(() => parseOtherFiles(summed(lines.map((line, at) => (at === 2 ? '{}\n' : line))), known))
      .to.throw(TransferError)
      .with.property('code', 'mismatch');
  });

  it('is read as it was written, whatever is in the snapshot', () => {
    const component = fc
      .string({ unit: 'binary', maxLength: 20 })
      .map((text) => `.${text.replace(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\p{Cs}\\:/]/gu, '')}x`);
    const time = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
    const source = fc.record(
      { ctime: time, inode: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) },
      { requiredKeys: [] },
    );
    const mode = fc.nat({ max: 0o777 });
    const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
    const file = fc.record({
      type: fc.constant('file' as const),
      name: component,
      size: fc.nat(),
      mode,
      mtime: time,
      digests: fc.record({ sha256: hex, blake3: hex }, { requiredKeys: ['sha256'] }),
      source,
    });
    const other = fc.oneof(
      fc.record({ type: fc.constant('directory' as const), name: component, mode, mtime: time }),
      fc.record({
        type: fc.constant('symlink' as const),
        name: component,
        target: fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0')),
        mtime: time,
      }),
      fc.record({
        type: fc.constant('missing' as const),
        name: fc.string({ unit: 'binary' }),
        code: fc.constantFrom('name' as const, 'source-unreadable' as const),
        reason: fc.string({ unit: 'binary' }),
      }),
    );
    fc.assert(
      fc.property(fc.uniqueArray(fc.oneof(file, other), { selector: ({ name }) => name, maxLength: 8 }), (made) => {
        const some = made.map((entry) =>
          entry.type === 'missing' ? entry : { ...entry, name: nameOf(`.x/${entry.name}`) },
        );
        const wanted = manifestOf(some);
        expect(parseManifest(encoded(wanted))).to.deep.equal(wanted);
      }),
    );
  });

  it('of which one byte was changed, wherever, is refused', () => {
    for (let at = 0; at < bytes.length; at++) {
      for (const byte of new Set([0x00, 0x0a, 0x20, 0x30, 0xff, (bytes[at] ?? 0) ^ 0x01, (bytes[at] ?? 0) ^ 0x20])) {
        if (byte === bytes[at]) continue;
        const changed = Buffer.from(bytes);
        changed[at] = byte;
        expectRefusal(changed, undefined, `byte ${at} is ${byte}`);
      }
    }
  });

  it('that was cut off, wherever, is refused', () => {
    for (let length = 0; length < bytes.length; length++)
      expectRefusal(bytes.subarray(0, length), undefined, `${length} bytes`);
    for (let length = 1; length < bytes.length; length++)
      expectRefusal(bytes.subarray(length), undefined, `without the first ${length} bytes`);
  });

  it('to which something was added is refused', () => {
    for (const more of ['\n', ' ', '\0', lines[1], lines.at(-1), bytes.toString()])
      expectRefusal(Buffer.concat([bytes, Buffer.from(more ?? '')]));
  });

  it('of which a line was dropped, doubled, or swapped with another one is refused', () => {
    const all = bytes.toString().split(/(?<=\n)/);
    for (let at = 0; at < all.length; at++) {
      expectRefusal(Buffer.from(all.toSpliced(at, 1).join('')));
      expectRefusal(Buffer.from(all.toSpliced(at, 0, all[at] ?? '').join('')));
      for (let other = at + 1; other < all.length; other++)
        expectRefusal(
          Buffer.from(
            all
              .with(at, all[other] ?? '')
              .with(other, all[at] ?? '')
              .join(''),
          ),
        );
    }
  });

  it('that was never one is refused', () => {
    for (const text of [
      '',
      '\n',
      '\n\n\n',
      '{}\n',
      '{}\n{}\n{}\n',
      'x'.repeat(100),
      `${'ab'.repeat(32)}  a\n`.repeat(3),
      lines[0] ?? '',
    ]) {
      expectRefusal(Buffer.from(text));
      expectRefusal(summed([text]));
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => expectRefusal(noise)));
  });

  it('takes keys that nobody knows, and JSON as others write it', () => {
    const spaced = lines.map(
      (line) =>
        `${JSON.stringify({ later: [{ deep: null }], ...(JSON.parse(line) as object) }, null, 1)
          .replaceAll('\n', ' ')
          .replaceAll('ö', '\\u00f6')}\n`,
    );
    expect(parseManifest(summed(spaced))).to.deep.equal(manifest);
  });

  it('is told by its first line, and summed up without a look at its entries', () => {
    const { totals } = manifest;
    expect(parseManifestHead(bytes.subarray(0, longestManifestHead))).to.deep.equal(head);
    expect(parseManifestOutline(bytes)).to.deep.equal({ head, totals });
    expect(parseManifestOutline(summed(lines.toSpliced(2, 1, 'x\n')))).to.deep.equal({ head, totals });
    for (const other of [
      Buffer.from(lines[0]?.trimEnd() ?? ''),
      Buffer.from('x\n'),
      Buffer.alloc(longestManifestHead, ' '),
    ]) {
      expect(() => parseManifestHead(other))
        .to.throw(TransferError)
        .with.property('code', 'mismatch');
    }
    const long = lines.with(
      0,
      `${JSON.stringify({ ...(JSON.parse(lines[0] ?? '') as object), later: 'x'.repeat(longestManifestHead) })}\n`,
    );
    expectRefusal(summed(long), /cut off, or none/);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (bytes[at] ?? 0) ^ 0x01;
      expect(() => parseManifestOutline(changed), `byte ${at}`)
        .to.throw(TransferError)
        .with.property('code', 'mismatch');
    }
  });

  it('that names something twice within one line is refused, and says which line', () => {
    expectRefusal(
      summed(lines.with(2, lines[2]?.replace('"size":5', '"size":5,"size":5') ?? '')),
      /: line 3: the line has the key "size" twice\.$/,
    );
    expectRefusal(
      summed(lines.with(0, lines[0]?.replace('"number"', '"name":"laptop","number"') ?? '')),
      /: line 1: the line has the key "name" twice\.$/,
    );
  });

  it('holds a hundred thousand entries', () => {
    const many = manifestOf(
      Array.from(
        { length: 100_000 },
        (_, index) => ({ ...entries[0], name: nameOf(`d${index % 100}/${index}`) }) as ManifestEntry,
      ),
    );
    expect(parseManifest(encoded(many)).entries[99_999]).to.deep.equal(many.entries[99_999]);
  });
});

describe('a manifest that was made wrong, with a sum that is right', () => {
  const [directory, file, , link] = entries as [
    ManifestEntry,
    ManifestEntry & { type: 'file' },
    ManifestEntry,
    ManifestEntry & { type: 'link' },
  ];
  const refusedWith = (some: readonly ManifestEntry[], words: RegExp): void =>
    expectRefusal(encoded(manifestOf(some)), words);

  for (const name of [
    'MANIFEST',
    'SHA256SUMS',
    'MD5SUMS',
    'B3SUMS',
    'MANIFEST/a',
    '../a',
    'a/../../b',
    '/etc/passwd',
    '',
    '.',
    'a//b',
    'a/',
    'a\0b',
    '.sendall/x',
    '\ud800',
    '\udcc3\udca9',
  ]) {
    it(`is refused for the name ${JSON.stringify(name)}, and for a link to it`, () => {
      for (const entry of [file, directory, link]) refusedWith([{ ...entry, name } as ManifestEntry], /: line 2: /);
      refusedWith([file, { ...link, target: name } as ManifestEntry], /: line 3: /);
    });
  }

  it('is refused for names that cannot stand in one directory', () => {
    refusedWith([file, directory, file], /"src\/a\.ts" is in it twice/);
    refusedWith([file, { ...directory, name: nameOf('src/a.ts') }], /is in it twice/);
    for (const above of [file, link, entries[4]]) {
      const named = { ...above, name: nameOf('src') } as ManifestEntry;
      refusedWith(
        [named, ...(named.type === 'link' ? [] : [file])],
        named.type === 'link' ? /is no file of it/ : /"src\/a\.ts" lies below what is no directory/,
      );
      refusedWith(
        [
          { ...file, name: nameOf('src/x/y/z') },
          ...(named.type === 'link' ? [{ ...file, name: nameOf('src/a.ts') }] : []),
          named,
        ],
        /lies below what is no directory/,
      );
    }
    expect(parseManifest(encoded(manifestOf([file]))).entries, 'directories need not be told').to.deep.equal([file]);
    expect(
      parseManifest(
        encoded(
          manifestOf([
            file,
            { type: 'missing', name: 'src', code: 'name', reason: '' },
            { type: 'missing', name: 'src/a.ts', code: 'name', reason: '' },
          ]),
        ),
      ).entries,
    ).to.have.length(3);
  });

  it('is refused for a link to what is no file of it', () => {
    refusedWith([link], /"b\.ts" is a link to "src\/a\.ts", which is no file of it/);
    refusedWith([{ ...directory, name: file.name }, link], /is no file of it/);
    refusedWith([file, link, { ...link, name: nameOf('c'), target: link.name }], /"c" is a link to "b\.ts"/);
  });

  it('is refused for totals that are not those of its entries', () => {
    const manifest = manifestOf(entries);
    for (const others of [
      { entries: 5 },
      { entries: 7 },
      { bytes: 4 },
      { bytes: 6 },
      { missing: 0 },
      { missing: 2 },
      { newBytes: 6 },
    ])
      expectRefusal(encoded(manifest, others), /: it(s totals are not those| has not as many)/);
    expect(parseManifest(encoded(manifest, { newBytes: 5 })).totals.newBytes).to.equal(5);
  });
});
