import { expect } from 'chai';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BatchTree } from '../../../lib/store/local/batch-tree';
import { unfinishedMode } from '../../../lib/store/local/unfinished';
import { Grouping, words } from './grouping';
import { everythingIn } from './local-place';

const visible = async (directory: string): Promise<string[]> =>
  (await everythingIn(directory)).filter((name) => !name.startsWith('.sendall'));

describe('A group that meets what is there already', function () {
  this.timeout(30_000);
  let place: Grouping;
  let outside: string;
  before(async () => (place = await Grouping.open()));
  beforeEach(async () => (outside = await mkdtemp(path.join(tmpdir(), 'sendall-outside-'))));
  afterEach(async () => {
    await place.clear();
    await rm(outside, { recursive: true });
  });
  after(() => place.end());

  it('goes into directories that exist, as deep as they do, and leaves the rest of them alone', async () => {
    await mkdir(place.at('a/b/c'), { recursive: true });
    for (const name of ['a/x', 'a/b/x', 'a/b/c/x']) await writeFile(place.at(name), 'old');
    const files = {
      'a/y': '1',
      'a/b/y': '2',
      'a/b/c/y': '3',
      'a/b/new/y': '4',
      'a/b/c/new/er/y': '5',
      'a/b/c/x': 'other',
      top: '6',
    };
    expect(await place.put(files)).to.deep.equal(
      Object.keys(files).map((name) => (name === 'a/b/c/x' ? 'exists' : `stored ${name}`)),
    );
    for (const [name, text] of Object.entries(files))
      expect(await readFile(place.at(name), 'utf8'), name).to.equal(name === 'a/b/c/x' ? 'old' : text);
    expect(await readFile(place.at('a/b/x'), 'utf8')).to.equal('old');
  });

  it('brings few files into a directory that exists, or many, of old and new names', async () => {
    for (const [count, directory] of [
      [3, 'few'],
      [30, 'many'],
    ] as const) {
      await mkdir(place.at(directory));
      const names = Array.from({ length: count }, (_, at) => `${directory}/${String(at)}`);
      await writeFile(place.at(`${directory}/1`), 'other');
      await writeFile(place.at(`${directory}/2`), 'new 2');
      const files = Object.fromEntries(names.map((name, at) => [name, `new ${String(at)}`]));
      expect(await place.put(files)).to.deep.equal(
        names.map((name, at) => (at === 1 ? 'exists' : `${at === 2 ? 'identical' : 'stored'} ${name}`)),
      );
      expect(await place.put({ [`${directory}/1`]: 'new 1' }, { ifExists: 'replace' })).to.deep.equal([
        `replaced ${directory}/1`,
      ]);
      for (const [name, text] of Object.entries(files))
        expect(await readFile(place.at(name), 'utf8'), name).to.equal(text);
    }
    expect(await readdir(place.at('.sendall', 'stage'))).to.deep.equal([]);
  });

  it('stages the first few files for a finished directory apart, and no others', async () => {
    await mkdir(place.at('finished/below'), { recursive: true });
    await mkdir(place.at('unfinished'));
    await chmod(place.at('unfinished'), unfinishedMode);
    await symlink('finished', place.at('link'));
    await writeFile(place.at('file'), '');
    const tree = new BatchTree(place.at('.sendall', 'stage', 'batch'), false, place.directory);
    const apart = (name: string): number =>
      Array.from({ length: 20 }, () => tree.isForFew(tree.branchNamed(name))).filter(Boolean).length;
    expect(['finished', 'finished/below'].map(apart)).to.deep.equal([8, 8]);
    expect(['.', 'unfinished', 'missing', 'missing/below', 'link', 'file', 'file/below'].map(apart)).to.deep.equal(
      Array<number>(7).fill(0),
    );
  });

  it('writes nothing through a symbolic link that stands where a directory is expected', async () => {
    await mkdir(path.join(outside, 'sub'));
    await mkdir(place.at('d'));
    await symlink(outside, place.at('link'));
    await symlink(outside, place.at('d/link'));
    await symlink('d', place.at('inside'));
    place.makeDirectory('link/made');
    place.makeDirectory('link');
    place.symlink('link/soft', 'target');
    place.symlink('link/sub/soft', 'target');
    await place.write({ 'link/f': 'x', 'd/link/sub/f': 'y', 'inside/f': 'z', 'd/fine': 'fine' });
    expect(words(await place.store.flush())).to.deep.equal([...Array<string>(7).fill('exists'), 'stored d/fine']);
    expect(
      words(await place.store.finishDirectories([{ file: 0, name: 'link' as never, mode: 0o777, mtime: 0n }])),
    ).to.deep.equal(['disk']);
    expect(await place.link({ 'link/hard': 'd/fine' })).to.deep.equal(['exists']);
    expect(await place.link({ 'd/hard': 'link/sub' })).to.deep.equal(['unexpected']);
    expect(await everythingIn(outside)).to.deep.equal(['sub/']);
    expect(await visible(place.directory)).to.deep.equal(['d/', 'd/fine', 'd/link', 'inside', 'link']);
  });

  it('writes nothing through a symbolic link that came in the same group', async () => {
    for (const through of ['through', 'd/through']) {
      place.symlink(through, outside);
      place.symlink(`${through}/soft`, 'x');
      place.makeDirectory(`${through}/made`);
      await place.write({ [`${through}/f`]: 'x', [`${through}/sub/g`]: 'y' });
    }
    const results = words(await place.store.flush());
    expect(await everythingIn(outside)).to.deep.equal([]);
    expect(results).to.include('stored d/through/f');
    expect(results[0], 'the name is taken by a directory').to.equal('exists');
    await place.store.flush();
    place.symlink('late', outside);
    expect(words(await place.store.flush())).to.deep.equal(['stored late']);
    expect(await place.put({ 'late/f': 'x' })).to.deep.equal(['exists']);
    expect(await everythingIn(outside)).to.deep.equal([]);
  });

  it('refuses everything below a file that stands where a directory is expected, and nothing else', async () => {
    await writeFile(place.at('a'), 'a file');
    place.makeDirectory('a');
    place.makeDirectory('a/empty');
    await place.write({ 'a/b/c': '1', 'a/d': '2', 'e/f': '3' });
    expect(words(await place.store.flush())).to.deep.equal(['exists', 'exists', 'exists', 'exists', 'stored e/f']);
    expect(await readFile(place.at('a'), 'utf8')).to.equal('a file');
  });

  it('says of what failed in a new directory, and leaves no directory of it behind', async () => {
    await place.write({ 'new/deep/bad': 'x' }, { digest: '0'.repeat(64) });
    await place.write({ 'new/good': 'y', 'other/worse/z': 'z' });
    await place.write({ 'lost/f': 'x' }, { digest: '1'.repeat(64) });
    expect(words(await place.store.flush())).to.deep.equal([
      'mismatch',
      'stored new/good',
      'stored other/worse/z',
      'mismatch',
    ]);
    expect(await visible(place.directory)).to.deep.equal([
      'new/',
      'new/good',
      'other/',
      'other/worse/',
      'other/worse/z',
    ]);
  });

  it('lets two groups overlap: one is written while the other is flushed', async () => {
    const flushes: Promise<string[]>[] = [];
    for (let group = 0; group < 6; group++) {
      await place.write({ [`d/g${group}/f`]: `${group}`, [`flat/${group}`]: `${group}`, same: 'same' });
      flushes.push(place.store.flush().then(words));
      expect(place.store.open).to.include({ files: 0, bytes: 0 });
    }
    const results = await Promise.all(flushes);
    expect(results).to.deep.equal(
      results.map((_, group) => [
        `stored d/g${group}/f`,
        `stored flat/${group}`,
        `${group === 0 ? 'stored' : 'identical'} same`,
      ]),
    );
    expect(await readdir(place.at('d'))).to.have.lengthOf(6);
  });

  it('counts what is open', async () => {
    for (let bundle = 0; bundle < 4; bundle++)
      await place.write(
        Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`d/${bundle}-${at}`, 'x'.repeat(10)])),
      );
    place.symlink('s', 't');
    expect(place.store.open).to.include({ files: 201, bytes: 2_000 });
    await place.store.flush();
    expect(place.store.open).to.include({ files: 0, bytes: 0 });
  });
});

describe('A group on a disk that folds names', () => {
  it('refuses what would be one with another, in the group or on the disk', async function () {
    this.timeout(30_000);
    const place = await Grouping.open({ foldsNames: true });
    await mkdir(place.at('Old'));
    await writeFile(place.at('Old/Readme'), 'old');
    await place.write({
      'Old/README': '1',
      'old/x': '2',
      'Old/fine': '3',
      'new/a': '4',
      'new/A': '5',
      'NEW/b': '6',
      'new/b': '7',
    });
    place.symlink('oLD/s', 'target');
    expect(words(await place.store.flush())).to.deep.equal([
      'name',
      'name',
      'stored Old/fine',
      'stored new/a',
      'name',
      'name',
      'stored new/b',
      'name',
    ]);
    expect(await visible(place.directory)).to.deep.equal(['Old/', 'Old/Readme', 'Old/fine', 'new/', 'new/a', 'new/b']);
    await place.end();
  });
});
