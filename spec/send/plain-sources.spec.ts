import { execFileSync } from 'node:child_process';
import { link, mkdir, symlink } from 'node:fs/promises';
import net from 'node:net';
import { Readable } from 'node:stream';
import { expect } from 'chai';
import { type SendOptions, TransferError, type TransferEvent } from '../../lib/index';
import { type FoundFile, scanTree } from '../../lib/scan/tree-scan';
import { plainSources } from '../../lib/send/plain-sources';
import { SourceTree } from './source-tree';

describe('finding what to send on the plain wire', () => {
  let tree: SourceTree;
  beforeEach(async () => {
    tree = await SourceTree.make();
  });
  afterEach(() => tree.remove());

  async function found(
    paths: readonly string[],
    options: Partial<SendOptions> = {},
  ): Promise<{ names: string[]; errors: TransferError[]; skipped: Record<string, string> }> {
    const [names, errors, skipped]: [string[], TransferError[], Record<string, string>] = [[], [], {}];
    const on = (event: TransferEvent): void => {
      if (event.event === 'skipped') skipped[event.file_name] = event.reason;
    };
    for await (const some of plainSources({ paths, ...options }, on))
      for (const each of some) {
        if (each instanceof TransferError) errors.push(each);
        else names.push(each.name);
      }
    return { names, errors, skipped };
  }

  it('a tree is named from its own name on, in an order that stays the same', async () => {
    for (const name of ['t/b', 't/a/z', 't/a/b/c', 't/Z']) await tree.write(name, '');
    expect((await found([tree.at('t')])).names).to.deep.equal(['t/Z', 't/a/b/c', 't/a/z', 't/b']);
    expect((await found([`${tree.at('t')}/`])).names).to.have.length(4);
  });

  it('is not opened while it is looked for: what its edges are is asked when it is sent', async () => {
    await tree.write('t/file', 'content');
    for (const paths of [[tree.at('t')], [tree.at('t/file')]]) {
      const all = [];
      for await (const some of plainSources({ paths }, () => undefined)) all.push(...some);
      expect(all).to.have.length(1);
      expect((all[0] as Partial<FoundFile>).edges).to.equal(undefined);
      for await (const { items } of scanTree({ paths })) {
        const files = items.filter((item): item is FoundFile => 'type' in item && item.type === 'file');
        expect(files.map((file) => typeof file.edges)).to.deep.equal(['bigint']);
      }
    }
  });

  it('links, FIFOs, sockets and empty directories in it are named as skipped; nobody waits for them', async () => {
    await tree.write('t/real', '');
    await symlink('real', tree.at('t/link'));
    await symlink(tree.place, tree.at('t/loop'));
    await mkdir(tree.at('t/empty'));
    execFileSync('mkfifo', [tree.at('t/fifo')]);
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(tree.at('t/socket'), resolve));
    const { names, errors, skipped } = await found([tree.at('t')]);
    server.close();
    expect(names).to.deep.equal(['t/real']);
    expect(errors).to.deep.equal([]);
    expect(Object.keys(skipped).sort()).to.deep.equal(['t/empty', 't/fifo', 't/link', 't/loop', 't/socket']);
    for (const [name, reason] of [
      ['t/empty', 'an empty directory'],
      ['t/fifo', 'a named pipe'],
      ['t/link', 'a symbolic link'],
      ['t/socket', 'a socket'],
    ] as const)
      expect(skipped[name]).to.contain(reason);
  });

  it('what the user names is followed: a link to a file, a link to a directory', async () => {
    await tree.write('t/a', '');
    await symlink('t', tree.at('to-directory'));
    await symlink('t/a', tree.at('to-file'));
    expect((await found([tree.at('to-directory'), tree.at('to-file')])).names).to.deep.equal([
      'to-directory/a',
      'to-file',
    ]);
  });

  it('a missing path, a dangling link: source-unreadable, and the others are found', async () => {
    await symlink('nowhere', tree.at('dangling'));
    const { names, errors } = await found([tree.at('missing'), tree.at('dangling'), await tree.write('good', '')]);
    expect(errors.map(({ code, fileName }) => [code, fileName])).to.deep.equal([
      ['source-unreadable', 'missing'],
      ['source-unreadable', 'dangling'],
    ]);
    expect(names).to.deep.equal(['good']);
  });

  it('a name that no receiver takes is told here, and the others are found', async () => {
    await tree.write('t/.sendall', ''); // a receive directory keeps it for itself
    await tree.write('t/odd\nname', '');
    await tree.write('t/good', '');
    const { names, errors } = await found([tree.at('t')]);
    expect(errors.map(({ code }) => code)).to.deep.equal(['name']);
    expect(names.sort()).to.deep.equal(['t/good', 't/odd\nname']);
  });

  it('patterns leave out files and whole directories', async () => {
    for (const name of ['t/a.o', 't/a.c', 't/build/x', 't/src/build/y', 't/src/b.o', 't/docs/[1].txt', 't/docs/1.txt'])
      await tree.write(name, '');
    expect((await found([tree.at('t')], { exclude: ['*.o', '/build/', 'docs/[0-9].txt'] })).names).to.deep.equal([
      't/a.c',
      't/docs/[1].txt',
      't/src/build/y',
    ]);
    expect((await found([tree.at('t')], { exclude: ['build/', '**/*.o'] })).names).to.deep.equal([
      't/a.c',
      't/docs/1.txt',
      't/docs/[1].txt',
    ]);
  });

  it('a name is for a single file', async () => {
    await mkdir(tree.at('d'));
    expect((await found([await tree.write('a', '')], { name: 'b' })).names).to.deep.equal(['b']);
    expect((await found([tree.at('d')], { name: 'b' })).errors[0]?.code).to.equal('usage');
  });

  it('what ignore files say is left out, and each name of a file is a file', async () => {
    for (const name of ['t/a.o', 't/a.c', 't/d/b.o']) await tree.write(name, '');
    await tree.write('t/.sendallignore', '*.o\n.sendallignore\n');
    await link(tree.at('t/a.c'), tree.at('t/b.c'));
    const { names, skipped } = await found([tree.at('t')]);
    expect(names).to.deep.equal(['t/a.c', 't/b.c']);
    expect(Object.keys(skipped), 'nothing of it is sent').to.deep.equal(['t/d']);
  });

  it('the second of two paths of one name is a failure, and so is one that has the name of the input', async () => {
    for (const name of ['a/x', 'b/x', 'stdin', 'c/d/x', 'e/d/y']) await tree.write(name, name);
    const { names, errors } = await found(
      ['a/x', 'b/x', 'stdin', 'c/d', 'e/d', '-'].map((each) => (each === '-' ? each : tree.at(each))),
      { input: Readable.from([]) },
    );
    expect(names).to.deep.equal(['x', 'd/x', 'stdin']);
    expect(errors.map(({ code, fileName }) => [code, fileName])).to.deep.equal([
      ['name', 'x'],
      ['name', 'stdin'],
      ['name', 'd'],
    ]);
  });
});
