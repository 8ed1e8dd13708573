import { expect } from 'chai';
import fc from 'fast-check';
import { parseEntryName } from '../../../lib/name';
import { digestInLine, fileLine, UnchangedFile } from '../../../lib/snapshot/manifest/file-line';
import { ManifestEncoder, type ManifestFile } from '../../../lib/snapshot/manifest/manifest';
import { encodeEntry } from '../../../lib/snapshot/manifest/manifest-entry';

const nameOf = (text: string): ManifestFile['name'] => parseEntryName(text, { allowHidden: true, names: 'any' });
const lineOf = (file: ManifestFile): string => JSON.stringify(encodeEntry(file));
/** As it is written into the next manifest, without its line feed. */
const written = (file: ManifestFile): string => new ManifestEncoder().entry(file).slice(0, -1);

const file: ManifestFile = {
  type: 'file',
  name: nameOf('src/größe.ts'),
  size: 5,
  mode: 0o640,
  mtime: -5n,
  digests: { sha256: 'ab'.repeat(32) },
  source: { ctime: 1795169553123456790n, inode: (1n << 64n) - 1n },
  content: { key: 'packs/1f', offset: 4096 },
  metadata: { owner: { uid: 0, gid: 100, user: 'root' }, xattrs: { 'user.a': 'Yg==' } },
};

describe('the line of a file in a manifest', () => {
  it('is found by its name, and taken over as it is where the file is as it was, whatever that is', () => {
    const time = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
    const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
    const owner = fc.record(
      { uid: fc.nat(), gid: fc.nat(), user: fc.string({ minLength: 1 }), group: fc.string({ minLength: 1 }) },
      { requiredKeys: ['uid', 'gid'] },
    );
    const metadata = fc.record(
      { special: fc.integer({ min: 1, max: 7 }), time, owner, xattrs: fc.constant({ 'user."}': 'eA==' }) },
      { requiredKeys: [] },
    );
    const component = fc.string({ unit: 'binary', maxLength: 20 }).map((text) => `x${text.replace(/[/\0]/g, '')}`);
    const made = fc.record({
      type: fc.constant('file' as const),
      name: component.map((text) => `d/${text}` as ManifestFile['name']),
      size: fc.nat(),
      mode: fc.nat({ max: 0o777 }),
      mtime: time,
      digests: fc.record({ sha256: hex }),
      source: fc.record({ ctime: time, inode: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) }),
      content: fc.record({ key: fc.stringMatching(/^packs\/[0-9a-f]{1,32}$/), offset: fc.nat() }),
      metadata: fc.option(metadata, { nil: undefined }),
    });
    let taken = 0;
    fc.assert(
      fc.property(made, (one) => {
        const line = fileLine(Buffer.from(lineOf(one)));
        // What is escaped in a name is for who takes lines apart.
        expect(line === undefined).to.equal(JSON.stringify(one.name) !== `"${one.name}"`);
        if (line === undefined) return;
        expect(line).to.deep.equal({ name: one.name, text: lineOf(one) });
        expect(digestInLine(line.text, 'sha256')).to.equal(one.digests.sha256);
        const { digests: _, content: __, ...found } = one;
        const unchanged = UnchangedFile.of(line.text, found, 'sha256');
        expect({ ...unchanged }).to.deep.equal(one);
        expect(unchanged && written(unchanged)).to.equal(line.text);
        taken++;
      }),
      { numRuns: 300 },
    );
    expect(taken).to.be.greaterThan(50);
  });

  it('is not taken over where anything was changed', () => {
    const line = lineOf(file);
    expect(UnchangedFile.of(line, file, 'sha256')).to.not.equal(undefined);
    const changed: readonly Partial<ManifestFile>[] = [
      { name: nameOf('src/groesse.ts') },
      { size: 6 },
      { mode: 0o600 },
      { mtime: 5n },
      { source: { ...file.source, ctime: 1n } },
      { source: { ...file.source, inode: 1n } },
      { metadata: undefined },
      { metadata: { ...file.metadata, owner: { uid: 1, gid: 100, user: 'root' } } },
      { metadata: { owner: { uid: 0, gid: 100, user: 'root' } } },
    ];
    for (const each of changed)
      expect(UnchangedFile.of(line, { ...file, ...each }, 'sha256'), Object.keys(each)[0]).to.equal(undefined);
    expect(UnchangedFile.of(line, file, 'blake3')).to.equal(undefined);
  });

  it('is not taken over where it says more than it should, or what no manifest may say', () => {
    const line = lineOf(file);
    for (const [from, to] of [
      ['"offset":4096', '"offset":04096'],
      ['"offset":4096', '"offset":-1'],
      ['"offset":4096', '"offset":4096,"kept_mode":"0600"'],
      ['"content":"packs/1f","offset":4096', '"content":"packs/1f"'],
      ['packs/1f', 'packs/\\u0031f'],
      ['abab"}', 'abab","md5":"cd"}'],
      ['abab"}', 'ab"}'],
      ['ab'.repeat(32), 'ab'.repeat(16)],
      ['abab"}', 'abAB"}'],
    ] as const) {
      expect(line, from).to.include(from);
      expect(UnchangedFile.of(line.replace(from, to), file, 'sha256'), to).to.equal(undefined);
    }
    expect(UnchangedFile.of(`${line} `, file, 'sha256')).to.equal(undefined);
  });

  it('is left to who takes lines apart where it is none of a file, escaped, or no UTF-8', () => {
    const latin1 = Buffer.from(lineOf(file), 'latin1');
    for (const other of ['', '{}', lineOf(file).replace('"type":"file"', '"type":"link"'), ` ${lineOf(file)}`])
      expect(fileLine(Buffer.from(other)), other).to.equal(undefined);
    expect(fileLine(Buffer.from(lineOf({ ...file, name: nameOf('a"b') })))).to.equal(undefined);
    expect(fileLine(latin1)).to.equal(undefined);
    expect(digestInLine('{"type":"file","name":"x"}', 'sha256')).to.equal(undefined);
  });

  it('is made anew for a copy with something changed', () => {
    const unchanged = UnchangedFile.of(lineOf(file), file, 'sha256');
    if (unchanged === undefined) throw new Error('It is unchanged.');
    expect(written({ ...unchanged, content: undefined })).to.equal(lineOf({ ...file, content: undefined }));
  });
});
