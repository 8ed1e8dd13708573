import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, symlink, truncate } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { TransferError, type TransferEvent } from '../../lib/index';
import { OpenSource, scan, type ScanOptions, type SourceFile } from '../../lib/scan/source';
import { bytes, SourceTree } from '../send/source-tree';

describe('finding what to send', () => {
  let tree: SourceTree;
  beforeEach(async () => {
    tree = await SourceTree.make();
  });
  afterEach(() => tree.remove());

  async function found(paths: readonly string[], options: Partial<ScanOptions> = {}): Promise<{ names: string[]; errors: TransferError[]; skipped: Record<string, string> }> {
    const [names, errors, skipped]: [string[], TransferError[], Record<string, string>] = [[], [], {}];
    const on = (event: TransferEvent): void => {
      if (event.event === 'skipped') skipped[event.file_name] = event.reason;
    };
    for await (const each of scan(paths, { on, ...options })) {
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
    for (const [name, reason] of [['t/empty', 'an empty directory'], ['t/fifo', 'a named pipe'], ['t/link', 'a symbolic link'], ['t/socket', 'a socket']] as const) expect(skipped[name]).to.contain(reason);
  });

  it('what the user names is followed: a link to a file, a link to a directory', async () => {
    await tree.write('t/a', '');
    await symlink('t', tree.at('to-directory'));
    await symlink('t/a', tree.at('to-file'));
    expect((await found([tree.at('to-directory'), tree.at('to-file')])).names).to.deep.equal(['to-directory/a', 'to-file']);
  });

  it('a missing path, a FIFO, a dangling link: source-unreadable, and the others are found', async () => {
    execFileSync('mkfifo', [tree.at('fifo')]);
    await symlink('nowhere', tree.at('dangling'));
    const { names, errors } = await found([tree.at('missing'), tree.at('fifo'), tree.at('dangling'), await tree.write('good', '')]);
    expect(errors.map(({ code, fileName }) => [code, fileName])).to.deep.equal([
      ['source-unreadable', 'missing'],
      ['source-unreadable', 'fifo'],
      ['source-unreadable', 'dangling'],
    ]);
    expect(names).to.deep.equal(['good']);
  });

  it('a name that no receiver takes is told here, and the others are found', async () => {
    await tree.write('t/bad\nname', '');
    await tree.write('t/good', '');
    const { names, errors } = await found([tree.at('t')]);
    expect(errors.map(({ code }) => code)).to.deep.equal(['name']);
    expect(errors[0]?.message).not.to.contain('\n');
    expect(names).to.deep.equal(['t/good']);
  });

  it('patterns leave out files and whole directories', async () => {
    for (const name of ['t/a.o', 't/a.c', 't/build/x', 't/src/build/y', 't/src/b.o', 't/docs/[1].txt', 't/docs/1.txt']) await tree.write(name, '');
    expect((await found([tree.at('t')], { exclude: ['*.o', '/build/', 'docs/[0-9].txt'] })).names).to.deep.equal(['t/a.c', 't/docs/[1].txt', 't/src/build/y']);
    expect((await found([tree.at('t')], { exclude: ['build/', '**/*.o'] })).names).to.deep.equal(['t/a.c', 't/docs/1.txt', 't/docs/[1].txt']);
  });

  it('a name is for a single file', async () => {
    await mkdir(tree.at('d'));
    expect((await found([await tree.write('a', '')], { name: 'b' })).names).to.deep.equal(['b']);
    expect((await found([tree.at('d')], { name: 'b' })).errors[0]?.code).to.equal('usage');
  });

  it('a directory and a file without permission: source-unreadable for each, and the others are found', async function () {
    for (const name of ['t/closed/a', 't/secret', 't/good']) await tree.write(name, name);
    await chmod(tree.at('t/closed'), 0);
    await chmod(tree.at('t/secret'), 0);
    await chmod(tree.place, 0o755);
    // Root may read everything, so another user looks.
    const script = `
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
      const { scan, OpenSource } = require(${JSON.stringify(path.join(__dirname, '../../lib/scan/source'))});
      (async () => {
        for await (const each of scan([process.argv[1]], { on: () => undefined })) {
          const opened = each.code ? each : await OpenSource.open(each).catch((error) => error);
          console.log(opened.code ?? 'opened', opened.fileName ?? each.name);
        }
      })();`;
    const run = spawnSync(process.execPath, ['-r', './spec/typescript.js', '-e', script, tree.at('t')], { encoding: 'utf8', cwd: path.join(__dirname, '../..') });
    await chmod(tree.at('t/closed'), 0o755);
    if (run.status !== 0 && /EACCES|EPERM/.test(run.stderr)) {
      console.warn('      skipped: another user may not read this repository');
      this.skip();
    }
    expect(run.stdout.trim().split('\n'), run.stderr).to.deep.equal(['source-unreadable t/closed', 'opened t/good', 'source-unreadable t/secret']);
  });
});

describe('an open source', () => {
  let tree: SourceTree;
  let file: SourceFile;
  beforeEach(async () => {
    tree = await SourceTree.make({ file: bytes(100_000) });
    for await (const each of scan([tree.at('file')], { on: () => undefined })) if (!(each instanceof TransferError)) file = each;
  });
  afterEach(() => tree.remove());

  it('reads at any place, and less only at its end', async () => {
    const source = await OpenSource.open(file);
    const memory = new Uint8Array(60_000);
    expect(await source.read(memory, 10)).to.equal(60_000);
    expect(Buffer.from(memory).equals(bytes(100_000).subarray(10, 60_010))).to.equal(true);
    expect(await source.read(memory, 90_000)).to.equal(10_000);
    await source.checkUnchanged();
    await source.close();
  });

  it('notices every change: source-changed', async () => {
    const source = await OpenSource.open(file);
    await truncate(file.path, 99_999);
    const error: unknown = await source.checkUnchanged().catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: 'source-changed', fileName: 'file' });
    await source.close();
  });

  it('is never a FIFO, and nobody waits for a writer', async () => {
    execFileSync('mkfifo', [tree.at('fifo')]);
    const error: unknown = await OpenSource.open({ ...file, path: tree.at('fifo') }).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: 'source-unreadable' });
  });
});
