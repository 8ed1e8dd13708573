import { expect } from 'chai';
import { lstatSync, readFileSync } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEntryName } from '../../../lib/name';
import { systemCalls } from '../../../lib/threads/system-calls';
import { codeOf, content } from '../delivery';
import type { EntryOutcome } from '../../../lib/store/local/batch';
import { Grouping, someTime, words } from './grouping';
import { everythingIn } from './local-place';
import { skipTest } from '../../skip-test';

const visible = async (directory: string): Promise<string[]> =>
  (await everythingIn(directory)).filter((name) => !name.startsWith('.sendall'));

// With a sync of the whole disk, where the system can, and with one for every file and directory, as it is elsewhere.
for (const syncEach of [false, true]) {
  describe(`A group of small files${syncEach ? ', each of them flushed by itself' : ''}`, function () {
    this.timeout(30_000);
    let place: Grouping;
    before(async function () {
      if (!syncEach && !systemCalls()) skipTest(this, 'the calls of Linux are not to be had here');
      place = await Grouping.open({ syncEach });
    });
    afterEach(() => place.clear());
    after(() => place?.end());

    it('is stored with all that was said of it, in directories old and new', async () => {
      await mkdir(place.at('old'));
      const files = {
        'a.txt': 'a',
        'new/b': content(4096),
        'new/deep/er/c': content(100_000, 2),
        'old/d': 'd',
        'old/new/e': '',
        'new/empty': '',
      };
      expect(await place.put(files)).to.deep.equal(Object.keys(files).map((name) => `stored ${name}`));
      for (const [name, bytes] of Object.entries(files))
        expect((await readFile(place.at(name))).equals(Buffer.from(bytes)), name).to.equal(true);
      expect(await visible(place.directory)).to.have.lengthOf(6 + 5);
    });

    it('has exactly the modes and times that were asked for, whatever the umask', async () => {
      const modes = [0o777, 0o666, 0o600, 0o444, 0o200, 0o000, 0o640];
      for (const mode of modes)
        await place.write({ [`d/${mode}`]: `content ${mode}` }, { mode, mtime: someTime + BigInt(mode) });
      const outcomes = await place.store.flush();
      for (const [at, mode] of modes.entries()) {
        const found = await lstat(place.at('d', String(mode)), { bigint: true });
        expect(Number(found.mode & 0o7777n), 'mode').to.equal(mode);
        if (systemCalls()) expect(found.mtimeNs).to.equal(someTime + BigInt(mode));
        const { ino, size, mtimeNs, ctimeNs } = found;
        expect(outcomes[at]?.stat, 'what the receipt index gets').to.deep.equal({
          ino,
          mode,
          size: Number(size),
          mtimeNs,
          ctimeNs,
        });
      }
    });

    it('tells the state of files that were moved one by one as well', async () => {
      await mkdir(place.at('d'));
      await writeFile(place.at('d/same'), 'same');
      await place.write({ 'd/same': 'same', 'd/fresh': 'fresh' });
      for (const { stat: told, committed } of await place.store.flush()) {
        const { ino, mode, size, mtimeNs, ctimeNs } = lstatSync(place.at(committed?.path ?? ''), { bigint: true });
        expect(told).to.deep.equal({ ino, mode: Number(mode & 0o7777n), size: Number(size), mtimeNs, ctimeNs });
      }
    });

    it('follows the rule for what stands under a name already', async () => {
      await mkdir(place.at('d/directory'), { recursive: true });
      for (const rule of ['refuse', 'skip', 'rename', 'replace'])
        await writeFile(place.at('d', `${rule}.txt`), `old ${rule}`);
      const results: string[] = [];
      for (const ifExists of ['refuse', 'skip', 'rename', 'replace'] as const) {
        const other = { [`d/${ifExists}.txt`]: `new ${ifExists}` };
        results.push(...(await place.put(other, { ifExists })), ...(await place.put(other, { ifExists })));
        results.push(...(await place.put({ 'd/directory': 'a file' }, { ifExists })));
      }
      expect(results).to.deep.equal([
        ...['exists', 'exists', 'exists'],
        ...['exists', 'exists', 'exists'],
        ...['renamed d/rename (1).txt', 'identical d/rename (1).txt', 'renamed d/directory (1)'],
        ...['replaced d/replace.txt', 'replaced d/replace.txt', 'exists'],
      ]);
      for (const [name, text] of [
        ['refuse.txt', 'old refuse'],
        ['skip.txt', 'old skip'],
        ['rename.txt', 'old rename'],
        ['rename (1).txt', 'new rename'],
        ['replace.txt', 'new replace'],
      ] as const) {
        expect(readFileSync(place.at('d', name), 'utf8')).to.equal(text);
      }
    });

    it('takes identical content for success, and leaves that file alone', async () => {
      await mkdir(place.at('d'));
      await writeFile(place.at('d/f'), 'the same');
      await writeFile(place.at('d/g'), 'the sane');
      const state = (): bigint[] => {
        const { ino, mtimeNs, ctimeNs, nlink } = lstatSync(place.at('d/f'), { bigint: true });
        return [ino, mtimeNs, ctimeNs, nlink];
      };
      const before = state();
      for (const ifExists of ['refuse', 'skip', 'rename'] as const)
        expect(await place.put({ 'd/f': 'the same' }, { ifExists })).to.deep.equal(['identical d/f']);
      expect(await place.put({ 'd/g': 'the same' })).to.deep.equal(['exists']);
      expect(state()).to.deep.equal(before);
    });

    it('keeps those apart that come under one name', async () => {
      await place.write({ 'd/f': 'one' });
      await place.write({ 'd/f': 'one' });
      await place.write({ 'd/f': 'two' });
      await place.write({ 'd/f': 'two' }, { ifExists: 'rename' });
      await place.write({ 'd/f/below': 'three' });
      await place.write({ d: 'four' }, { ifExists: 'rename' });
      expect(words(await place.store.flush())).to.deep.equal([
        'stored d/f',
        'identical d/f',
        'exists',
        'renamed d/f (1)',
        'exists',
        'renamed d (1)',
      ]);
      expect(await visible(place.directory)).to.deep.equal(['d (1)', 'd/', 'd/f', 'd/f (1)']);
    });

    it('takes the longest names', async () => {
      const long = `${`${'x'.repeat(250)}/`.repeat(16)}${'y'.repeat(70)}`;
      place.makeDirectory(`${long}z`);
      expect(await place.put({ [long]: 'far', near: 'near' })).to.deep.equal([
        `stored ${long}z`,
        `stored ${long}`,
        'stored near',
      ]);
      expect(await place.store.inDirectory.look([parseEntryName(long)])).to.have.nested.property('[0].size', 3);
    });

    it('leaves nothing staged when it is closed, nothing at all of what is not flushed, and takes nothing any more', async () => {
      await place.put({ 'a/b': 'x', c: 'y' });
      await place.write({ 'never/flushed': 'z' });
      place.makeDirectory('never/either');
      await place.closeStore();
      expect(await readdir(place.at('.sendall', 'stage'))).to.deep.equal([]);
      expect(await visible(place.directory)).to.deep.equal(['a/', 'a/b', 'c']);
      expect(await codeOf(place.write({ f: 'x' }))).to.equal('interrupted');
    });
  });
}

describe('A store of groups', function () {
  this.timeout(30_000);
  let place: Grouping;
  before(async () => (place = await Grouping.open()));
  afterEach(() => place.clear());
  after(() => place.end());

  it('makes directories, empty ones too, and gives them their modes and times at the end', async () => {
    await mkdir(place.at('old'));
    for (const name of ['old', 'old/empty', 'new', 'new/empty/deep']) place.makeDirectory(name);
    await place.write({ 'new/f': 'x', 'old/g': 'y' });
    expect(words(await place.store.flush())).to.deep.equal([
      'identical old',
      'stored old/empty',
      'stored new',
      'stored new/empty/deep',
      'stored new/f',
      'stored old/g',
    ]);
    const directories = ['new/empty/deep', 'new/empty', 'new', 'old', 'missing'].map((name, file) => ({
      file,
      name: parseEntryName(name),
      mode: 0o500 + file,
      mtime: someTime + BigInt(file),
    }));
    const outcomes = await place.store.finishDirectories(directories);
    for (const { file, name, mode, mtime } of directories) {
      const outcome = outcomes.find((one) => one.file === file);
      if (name === 'missing') expect(outcome?.error?.code).to.equal('disk');
      else {
        const found = await stat(place.at(name), { bigint: true });
        expect(Number(found.mode & 0o7777n), name).to.equal(mode);
        if (systemCalls()) expect(found.mtimeNs, name).to.equal(mtime);
        await chmod(place.at(name), 0o700);
      }
    }
  });

  it('writes nothing for directories that are there, and have their modes and times', async () => {
    const names = ['old', 'old/empty', 'old/full'];
    for (const name of names) place.makeDirectory(name, { mode: 0o750 });
    await place.write({ 'old/full/f': 'x' });
    await place.store.flush();
    const finish = (): Promise<EntryOutcome[]> =>
      place.store.finishDirectories(
        [...names].reverse().map((name, file) => ({ file, name: parseEntryName(name), mode: 0o750, mtime: someTime })),
      );
    await finish();
    const states = async (): Promise<bigint[]> => {
      const found = await Promise.all(names.map((name) => stat(place.at(name), { bigint: true })));
      const { mtimeNs } = await stat(place.at('.sendall', 'stage'), { bigint: true });
      return [...found.map(({ ctimeNs }) => ctimeNs), mtimeNs];
    };
    const before = await states();
    for (const name of names) place.makeDirectory(name, { mode: 0o750 });
    expect(words(await place.store.flush())).to.deep.equal(names.map((name) => `identical ${name}`));
    expect(words(await finish())).to.deep.equal([...names].reverse().map((name) => `stored ${name}`));
    expect(await states(), 'nothing was made, and nothing changed').to.deep.equal(before);
    await rm(place.at('old/empty'), { recursive: true });
    place.makeDirectory('old/empty');
    await place.write({ 'old/full/g': 'y' });
    expect(words(await place.store.flush())).to.deep.equal(['stored old/empty', 'stored old/full/g']);
  });

  it('stores symbolic links as links, and an identical one is as good', async () => {
    place.symlink('d/absolute', '/etc/passwd');
    place.symlink('d/dangling', '../../nowhere');
    expect(words(await place.store.flush())).to.deep.equal(['stored d/absolute', 'stored d/dangling']);
    expect([await readlink(place.at('d/absolute')), await readlink(place.at('d/dangling'))]).to.deep.equal([
      '/etc/passwd',
      '../../nowhere',
    ]);
    if (systemCalls()) expect((await lstat(place.at('d/absolute'), { bigint: true })).mtimeNs).to.equal(someTime);
    place.symlink('d/absolute', '/etc/passwd');
    place.symlink('d/absolute', '/etc/shadow');
    place.symlink('d/absolute', '/etc/group', { ifExists: 'replace' });
    place.symlink('d/absolute', '/etc/motd', { ifExists: 'rename' });
    expect(words(await place.store.flush())).to.deep.equal([
      'identical d/absolute',
      'exists',
      'replaced d/absolute',
      'renamed d/absolute (1)',
    ]);
    expect(await readlink(place.at('d/absolute'))).to.equal('/etc/group');
  });

  it('makes hard links', async () => {
    await place.put({ 'd/f': 'linked', 'd/other': 'other', 'd/copy': 'linked', 'd/none': 'x' });
    place.symlink('d/soft', 'f');
    await place.store.flush();
    expect(
      await place.link({
        'e/g': 'd/f',
        'd/other': 'd/f',
        'd/copy': 'd/f',
        'd/missing': 'no/such',
        'd/viaSoft': 'd/soft',
        'd/dir': 'd',
      }),
    ).to.deep.equal([...['stored e/g', 'exists', 'identical d/copy', 'unexpected', 'unexpected', 'unexpected']]);
    expect(await place.link({ 'e/g': 'd/f' }, 'rename')).to.deep.equal(['identical e/g']);
    expect(await place.link({ 'd/other': 'd/f' }, 'rename')).to.deep.equal(['renamed d/other (1)']);
    expect(await place.link({ 'd/other': 'd/f' }, 'replace')).to.deep.equal(['replaced d/other']);
    expect((await stat(place.at('d/f'))).nlink).to.equal(4);
    expect((await stat(place.at('e/g'))).ino).to.equal((await stat(place.at('d/other'))).ino);
    expect(await readdir(place.at('.sendall', 'stage'))).to.deep.equal([]);
  });

  it('says what stands under names, without following symbolic links', async () => {
    const outside = await mkdtemp(path.join(tmpdir(), 'sendall-outside-'));
    await writeFile(path.join(outside, 'f'), 'secret');
    await mkdir(place.at('d/e'), { recursive: true });
    await writeFile(place.at('d/f'), 'four', { mode: 0o640 });
    await symlink(outside, place.at('d/link'));
    const names = ['d/f', 'd', 'd/link', 'd/link/f', 'd/missing', 'no/such/place', 'd/f/below', 'd/e'].map((name) =>
      parseEntryName(name),
    );
    const [file, directory, link, ...others] = await place.store.inDirectory.look(names);
    const { ino, mtimeNs, ctimeNs } = await lstat(place.at('d/f'), { bigint: true });
    expect(file).to.deep.equal({ kind: 'file', mode: 0o640, size: 4, ino, mtimeNs, ctimeNs });
    expect(directory?.kind).to.equal('directory');
    expect(link).to.include({ kind: 'symlink', target: outside });
    expect(others.map((other) => other?.kind)).to.deep.equal([undefined, undefined, undefined, undefined, 'directory']);
    await rm(outside, { recursive: true });
  });
});
