import { expect } from 'chai';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseEntryName } from '../../../lib/name';
import { Directory } from '../../../lib/store/local/directory';
import { DirectoryTree } from '../../../lib/store/local/directory-tree';
import { codeOf } from '../delivery';
import { emptyDirectory, everythingIn } from './local-place';
import { skipTest } from '../../skip-test';

/** Nothing for a descriptor that is closed by now. */
function readlinkOf(link: string): string[] {
  try {
    return [readlinkSync(link)];
  } catch {
    return [];
  }
}

describe('DirectoryTree', () => {
  let place: string;
  let root: Directory;
  let tree: DirectoryTree;

  beforeEach(async () => {
    place = await emptyDirectory();
    root = await Directory.open(place);
    tree = new DirectoryTree(root, false);
  });
  afterEach(async () => {
    tree.close();
    await root.close();
    await rm(place, { recursive: true, force: true });
  });

  const everything = (): Promise<string[]> => everythingIn(place);
  const put = (name: string): Promise<void> =>
    tree
      .within(parseEntryName(name), (directory) =>
        writeFile(directory.at(path.posix.basename(name)), name, { flag: 'wx' }),
      )
      .then(() => tree.keep(parseEntryName(name)));
  const fail = async (name: string): Promise<void> => {
    const failure = new Error('no');
    expect(
      await tree.within(parseEntryName(name), () => Promise.reject(failure)).catch((error: unknown) => error),
    ).to.equal(failure);
    await tree.prune(parseEntryName(name));
  };

  // Found by the fault experiment fuzz: descriptors that nobody had closed were closed when they were garbage.
  it('that is closed while somebody is on the way leaves nothing open', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    await put('a/b/c/f');
    tree.close();
    const open = (): string[] =>
      readdirSync('/proc/self/fd')
        .flatMap((fd) => readlinkOf(`/proc/self/fd/${fd}`))
        .filter((target) => target.startsWith(`${place}/`));
    for (let patience = 100; open().length > 0 && patience > 0; patience--) await pause(10);
    tree = new DirectoryTree(root, false);
    const finding = tree.find(parseEntryName('a/b/c/f'));
    tree.close();
    (await finding)?.release();
    for (let patience = 100; open().length > 0 && patience > 0; patience--) await pause(10);
    expect(open()).to.deep.equal([]);
  });

  it('makes the directories that a name needs, and finds them without making any', async () => {
    expect(await tree.find(parseEntryName('a/b/f'))).to.equal(undefined);
    expect(await everything()).to.deep.equal([]);
    await put('a/b/f');
    expect(await everything()).to.deep.equal(['a/', 'a/b/', 'a/b/f']);
    const reached = await tree.find(parseEntryName('a/b/f'));
    expect(await reached?.directory.list()).to.deep.equal(['f']);
    reached?.release();
  });

  it('removes what was made in vain, and nothing else', async () => {
    await mkdir(path.join(place, 'theirs'));
    await fail('a/b/c/f');
    await fail('theirs/new/f');
    expect(await everything()).to.deep.equal(['theirs/']);
    await put('a/kept');
    await fail('a/b/f');
    expect(await everything()).to.deep.equal(['a/', 'a/kept', 'theirs/']);
    await rm(path.join(place, 'a/kept'));
    await fail('a/f');
    expect(await everything(), 'a directory in which something was kept stays').to.deep.equal(['a/', 'theirs/']);
  });

  it('removes the upper directories too where a lower one could not be made', async () => {
    const long = `${'a'.repeat(255)}`;
    await tree
      .within(parseEntryName('up/f'), () => writeFile(path.join(place, 'up', 'file'), ''))
      .catch(() => undefined);
    expect(await codeOf(tree.within(parseEntryName(`up/file/${long}/f`), () => Promise.resolve()))).to.equal('exists');
    await rm(path.join(place, 'up', 'file'));
    await tree.prune(parseEntryName('up/file/x/f'));
    expect(await everything()).to.deep.equal([]);
  });

  it('gives a file its directory though others fail in it, and remove it, at the same time', async () => {
    const names = Array.from({ length: 200 }, (_, at) => `d${at % 7}/e${at % 3}/${at}`);
    await Promise.all(names.map((name, at) => (at % 2 === 0 ? put(name) : fail(name))));
    const stored = (await everything()).filter((name) => !name.endsWith('/'));
    expect(stored).to.deep.equal(names.filter((_, at) => at % 2 === 0).sort());
  });

  it('leaves no directory when all fail at the same time', async () => {
    await Promise.all(Array.from({ length: 100 }, (_, at) => fail(`x/${at % 5}/y/${at}`)));
    expect(await everything()).to.deep.equal([]);
  });

  it('makes a directory anew that somebody removed', async () => {
    await put('a/b/one');
    await rm(path.join(place, 'a'), { recursive: true });
    await put('a/b/two');
    expect(await everything()).to.deep.equal(['a/', 'a/b/', 'a/b/two']);
  });

  it('says so when the root itself is gone', async () => {
    await rm(place, { recursive: true });
    expect(await codeOf(put('a/f'))).to.equal('directory');
  });

  it('looks as deep as a name can be (the faults of fuzz)', async () => {
    expect(await tree.find(parseEntryName(`${'y/'.repeat(2040)}z`))).to.equal(undefined);
  });

  it('follows no symbolic link, and refuses a file on the way', async () => {
    await mkdir(path.join(place, 'real'));
    await symlink('real', path.join(place, 'link'));
    await writeFile(path.join(place, 'file'), '');
    for (const name of ['link/f', 'file/f', 'link/new/f', 'file/new/f']) {
      expect(await codeOf(put(name)), name).to.equal('exists');
      expect(
        await codeOf(tree.find(parseEntryName(name)).then((reached) => expect(reached).to.equal(null))),
        name,
      ).to.equal('exists');
    }
    expect(await readdir(path.join(place, 'real'))).to.deep.equal([]);
  });

  it('keeps using the directory that it has, wherever a link then points', async () => {
    const reached = await tree.find(parseEntryName('f'));
    await put('a/one');
    await rename(path.join(place, 'a'), path.join(place, 'moved'));
    await mkdir(path.join(place, 'other'));
    await symlink('other', path.join(place, 'a'));
    await put('a/two').catch(() => undefined);
    expect(await readdir(path.join(place, 'other'))).to.deep.equal([]);
    reached?.release();
  });

  it('does not run out of descriptors over many directories', async () => {
    const before = (await readdir('/proc/self/fd')).length;
    for (let at = 0; at < 400; at += 40)
      await Promise.all(Array.from({ length: 40 }, (_, number) => put(`d${at + number}/e/f`)));
    expect((await readdir('/proc/self/fd')).length - before).to.be.lessThan(120);
    tree.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await readdir('/proc/self/fd')).length).to.be.at.most(before + 2);
  });

  it('refuses a directory that collides with another one, where the disk folds names', async () => {
    const folding = new DirectoryTree(root, true);
    await mkdir(path.join(place, 'Fotos'));
    const use = (name: string): Promise<void> =>
      folding.within(parseEntryName(name), (directory) =>
        folding.refuseCollision(directory, path.posix.basename(name)),
      );
    expect(await codeOf(use('fotos/f'))).to.equal('name');
    await use('Fotos/f');
    await writeFile(path.join(place, 'Fotos', 'a'), '');
    expect(await codeOf(use('Fotos/A'))).to.equal('name');
    await use('Fotos/a');
    folding.close();
  });
});
