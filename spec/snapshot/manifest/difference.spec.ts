import { expect } from 'chai';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Catalog } from '../../../lib/snapshot/manifest/catalog';
import { diffSnapshots, differenceOf } from '../../../lib/snapshot/manifest/difference';
import type { ManifestEntry } from '../../../lib/snapshot/manifest/manifest';
import { failureOf } from '../../store/delivery';
import { madeSnapshot } from '../made-snapshot';

const [first, second] = ['2026-11-16T100000Z', '2026-11-17T100000Z'];
const none = { added: [], removed: [], changed: [] };

describe('diffSnapshots', () => {
  let root: string;
  beforeEach(async () => (root = await mkdtemp(path.join(tmpdir(), 'sendall-difference-'))));
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('tells what was added, removed and changed, in the order of the paths', async () => {
    const before = { same: 's', 'd/was': 'x', text: 'one', kind: 'file', to: { symlink: 'a' }, lost: 'l' } as const;
    const { place } = await madeSnapshot(root, { name: 'laptop', id: first, number: 1 }, before);
    const after = {
      same: 's',
      'e/is': 'yz',
      text: 'two',
      kind: { symlink: 'x' },
      to: { symlink: 'b' },
      lost: { missing: 'source-unreadable' },
    } as const;
    await madeSnapshot(root, { name: 'laptop', id: second, number: 2 }, after, { previous: place });
    // The time of everything that was made anew is another one.
    const { changed, ...rest } = await diffSnapshots(new Catalog(root), `laptop/${first}`, 'laptop/latest');
    expect(rest).to.deep.equal({
      added: [
        { path: 'e', type: 'directory' },
        { path: 'e/is', type: 'file', bytes: 2 },
      ],
      removed: [
        { path: 'd', type: 'directory' },
        { path: 'd/was', type: 'file', bytes: 1 },
        { path: 'lost', type: 'file', bytes: 1, missing: 'made without it' },
      ],
    });
    expect(changed).to.deep.equal([
      { path: 'kind', type: 'symlink', what: 'content' },
      { path: 'text', type: 'file', what: 'content', bytes: 3 },
      { path: 'to', type: 'symlink', what: 'content' },
    ]);
    expect(await diffSnapshots(new Catalog(root), `laptop/${second}`, 'laptop/latest')).to.deep.equal(none);
  });

  it('reads no file: what is in the manifests counts', async () => {
    for (const [at, id] of [first, second].entries()) {
      const { place } = await madeSnapshot(root, { name: 'laptop', id, number: at + 1 }, { a: 'x' });
      await rm(path.join(place, 'a'));
    }
    expect((await diffSnapshots(new Catalog(root), `laptop/${first}`, `laptop/${second}`)).changed).to.deep.equal([
      { path: 'a', type: 'file', what: 'metadata', bytes: 1 },
    ]);
  });

  it('refuses snapshots that are not there, and those that are damaged', async () => {
    const { place } = await madeSnapshot(root, { name: 'laptop', id: first, number: 1 }, { a: 'x' });
    for (const other of ['laptop', `laptop/${second}`, 'desk/latest', '../x', ''])
      expect((await failureOf(diffSnapshots(new Catalog(root), 'laptop/latest', other))).code, other).to.equal('usage');
    await truncate(path.join(place, 'MANIFEST'), 250);
    expect((await failureOf(diffSnapshots(new Catalog(root), `laptop/${first}`, `laptop/${first}`))).code).to.equal(
      'mismatch',
    );
  });
});

describe('differenceOf', () => {
  const manifest = (...entries: object[]): { entries: ManifestEntry[] } => ({ entries: entries as ManifestEntry[] });
  const file = { type: 'file', name: 'a', size: 1, mode: 0o644, mtime: 5n, digests: { sha256: '00' }, source: {} };
  const changes = (before: object, after: object): string[] =>
    differenceOf(manifest(before), manifest(after)).changed.map(({ what }) => what);

  it('tells metadata from content, by a digest that both have', () => {
    expect(changes(file, file)).to.deep.equal([]);
    expect(changes(file, { ...file, mode: 0o600 })).to.deep.equal(['metadata']);
    expect(changes(file, { ...file, mtime: 6n })).to.deep.equal(['metadata']);
    expect(changes(file, { ...file, digests: { sha256: '01' } })).to.deep.equal(['content']);
    expect(changes(file, { ...file, digests: { md5: '11', sha256: '00' } })).to.deep.equal([]);
    expect(changes(file, { ...file, digests: { md5: '11', sha256: '01' } })).to.deep.equal(['content']);
    expect(changes(file, { ...file, source: { ctime: 7n } })).to.deep.equal([]);
  });

  it('goes by size and time where no digest is common', () => {
    expect(changes(file, { ...file, digests: { md5: '00' } })).to.deep.equal([]);
    expect(changes(file, { ...file, digests: { md5: '00' }, mtime: 6n })).to.deep.equal(['content']);
    expect(changes(file, { ...file, digests: { md5: '00' }, size: 2 })).to.deep.equal(['content']);
  });

  it('tells of the mode of a directory, not of the time of what happened in it', () => {
    const directory = { type: 'directory', name: 'd', mode: 0o755, mtime: 5n };
    expect(changes(directory, { ...directory, mtime: 6n })).to.deep.equal([]);
    expect(changes(directory, { ...directory, mode: 0o700 })).to.deep.equal(['metadata']);
  });

  it('takes another name of a file for the file', () => {
    const link = { type: 'link', name: 'b', target: 'a', mtime: 5n };
    expect(differenceOf(manifest(file, { ...file, name: 'b' }), manifest(file, link))).to.deep.equal(none);
    expect(differenceOf(manifest(file), manifest(file, link)).added).to.deep.equal([
      { path: 'b', type: 'link', bytes: 1 },
    ]);
    expect(
      differenceOf(manifest(file, link), manifest({ ...file, size: 2 }, link)).changed.map(
        ({ path: name, what }) => `${name} ${what}`,
      ),
    ).to.deep.equal(['a content', 'b content']);
  });
});
