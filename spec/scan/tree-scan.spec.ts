import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/index';
import {
  type FoundEntry,
  type ScanBatch,
  scanTree,
  type Skipped,
  type TreeScanOptions,
} from '../../lib/scan/tree-scan';
import { SourceTree } from '../send/source-tree';
import { skipTest } from '../skip-test';

/** Everything that one scan gives, by its name. */
class Findings {
  readonly batches: ScanBatch[] = [];
  readonly items = new Map<string, FoundEntry | Skipped | TransferError>();
  readonly entries: FoundEntry[] = [];

  static async of(options: TreeScanOptions): Promise<Findings> {
    const findings = new Findings();
    for await (const batch of scanTree(options)) findings.take(batch);
    return findings;
  }

  get names(): string[] {
    return [...this.items.keys()];
  }

  private take(batch: ScanBatch): void {
    this.batches.push(batch);
    for (const item of batch.items) {
      // No scan here asks for attributes.
      if (!(item instanceof TransferError) && item.type === 'left-out') continue;
      this.items.set(item instanceof TransferError ? `failed ${item.fileName ?? ''}` : item.name, item);
      if (!(item instanceof TransferError) && item.type !== 'skipped') this.entries.push(item);
    }
  }
}

const sourceRoot = path.join(__dirname, '../..');
const linux = process.platform === 'linux';

describe('scanning a tree', () => {
  let tree: SourceTree;
  let found: Findings;

  before(async () => {
    tree = await SourceTree.make();
    for (const name of [
      't/b',
      't/a/z',
      't/a.b',
      't/a/b/c',
      't/Z',
      't/.hidden',
      'alone',
      'other/alone',
      't/bad\nname/inside',
      't/.sendall/x',
    ])
      await tree.write(name, name);
    mkdirSync(tree.at('t/empty'));
    chmodSync(tree.at('t/empty'), 0o1751);
    chmodSync(tree.at('t/b'), 0o4640);
    execFileSync('touch', ['-d', '2001-02-03T04:05:06.123456789Z', tree.at('t/b'), tree.at('t/empty')]);
    symlinkSync('../../nowhere', tree.at('t/to-nothing'));
    symlinkSync(tree.place, tree.at('t/to-tree'));
    linkSync(tree.at('t/b'), tree.at('t/c'));
    linkSync(tree.at('t/b'), tree.at('elsewhere'));
    symlinkSync('t/a', tree.at('named'));
    await tree.write('t/sparse', '');
    truncateSync(tree.at('t/sparse'), 3 * 2 ** 32);
    execFileSync('mkfifo', [tree.at('t/fifo'), tree.at('fifo')]);
    symlinkSync('nowhere', tree.at('dangling'));
    if (linux) {
      mkdirSync(tree.at('bytes'));
      for (const name of ['caf\xe9', 'out.tm\xff'])
        writeFileSync(Buffer.concat([Buffer.from(tree.at('bytes/')), Buffer.from(name, 'latin1')]), '');
      await tree.write('bytes/caf\ufffd', '');
      await tree.write('bytes/café', '');
      symlinkSync(Buffer.from('x\xe9', 'latin1'), tree.at('bytes/link'));
    }
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(tree.at('t/socket'), resolve));
    const paths = [
      't',
      'alone',
      'elsewhere',
      'named',
      'other/alone',
      'missing',
      'fifo',
      'dangling',
      ...(linux ? ['bytes'] : []),
    ].map((name) => tree.at(name));
    found = await Findings.of({ paths, exclude: ['*.tm?'] });
    server.close();
  });
  after(() => tree.remove());

  it('gives a directory before what is in it, siblings by the code units of their names, each named from what the caller named', () => {
    const names = found.names.filter((name) => /^t(\/|$)/.test(name));
    const expected = [
      't',
      't/.hidden',
      't/Z',
      't/a',
      't/a/b',
      't/a/b/c',
      't/a/z',
      't/a.b',
      't/b',
      't/bad\nname',
      't/bad\nname/inside',
      't/c',
      't/empty',
      't/fifo',
      't/socket',
      't/sparse',
      't/to-nothing',
      't/to-tree',
    ];
    expect(names).to.deep.equal(expected);
    for (const entry of found.entries.filter(({ name }) => name.startsWith('t/')))
      expect(entry).to.include({ path: tree.at('t'), below: entry.name.slice(2) });
  });

  it('tells size, permission bits and times to the nanosecond', () => {
    const { ctimeNs, ino } = lstatSync(tree.at('t/b'), { bigint: true });
    const mtime = BigInt(Date.parse('2001-02-03T04:05:06Z')) * 1_000_000n + 123_456_789n;
    expect(found.items.get('t/b')).to.deep.equal({
      type: 'file',
      path: tree.at('t'),
      below: 'b',
      name: 't/b',
      size: 3,
      mode: 0o640,
      mtime,
      ctime: ctimeNs,
      sparse: false,
      inode: ino,
      metadata: { special: 4 },
    });
    expect(found.items.get('t/empty')).to.include({ type: 'directory', mode: 0o751, mtime });
  });

  it('gives symbolic links as they are, and never looks behind them', () => {
    expect(found.items.get('t/to-nothing')).to.include({ type: 'symlink', target: '../../nowhere' });
    expect(found.items.get('t/to-tree')).to.include({ type: 'symlink', target: tree.place });
  });

  it('follows what the caller names', () => {
    expect(found.items.get('named')).to.include({ type: 'directory', path: tree.at('named') });
    expect(found.items.get('named/b/c')).to.include({ type: 'file', path: tree.at('named'), below: 'b/c' });
  });

  it('gives a file with several names once, then links to its first name, across all paths', () => {
    expect(found.items.get('t/c')).to.include({ type: 'link', target: 't/b', path: tree.at('t'), below: 'c' });
    expect(found.items.get('elsewhere')).to.include({ type: 'link', target: 't/b' });
  });

  it('tells files that have holes', () => {
    expect(found.items.get('t/sparse')).to.include({ type: 'file', size: 3 * 2 ** 32, sparse: true });
  });

  it('names special files and skips them; one that the caller names is an error', () => {
    expect(found.items.get('t/fifo')).to.deep.equal({ type: 'skipped', name: 't/fifo', reason: 'a named pipe' });
    expect(found.items.get('t/socket')).to.deep.equal({ type: 'skipped', name: 't/socket', reason: 'a socket' });
    expect(found.items.get('failed fifo')).to.include({ code: 'source-unreadable' });
  });

  it('refuses the second of two paths that would get the same name, and says both', () => {
    expect(found.items.get('alone')).to.include({ path: tree.at('alone') });
    const message = `Two of the paths would both become "alone": ${tree.at('alone')} and ${tree.at('other/alone')}.`;
    expect(found.items.get('failed alone')).to.include({ code: 'name', message });
  });

  it('tells what is missing, and goes on', () => {
    expect(found.items.get('failed missing')).to.include({
      code: 'source-unreadable',
      message: `${tree.at('missing')} does not exist.`,
    });
    expect(found.items.get('failed dangling')).to.include({ code: 'source-unreadable' });
    expect((found.items.get('failed missing') as TransferError).cause).to.include({ code: 'ENOENT' });
  });

  it('tells names that no receiver takes, once for a directory', () => {
    const failed = found.names.filter((name) => name.startsWith('failed t/'));
    expect(failed).to.deep.equal(['failed t/.sendall']);
    for (const name of failed) {
      expect(found.items.get(name)).to.include({ code: 'name' });
      expect((found.items.get(name) as TransferError).message).not.to.contain('\n');
    }
  });

  it('gives names and targets that are not UTF-8 as they are', function () {
    if (!linux) skipTest(this, 'it is about Linux');
    expect(found.names.filter((name) => name.includes('bytes'))).to.deep.equal([
      'bytes',
      'bytes/café',
      'bytes/caf\udce9',
      'bytes/caf\ufffd',
      'bytes/link',
    ]);
    expect(found.items.get('bytes/link')).to.include({ type: 'symlink', target: 'x\udce9' });
  });

  it('refuses what would get a name that something else of the transfer has, also from the root of a file system', async function () {
    const taken = await Findings.of({ paths: [tree.at('alone'), tree.at('t/b')], taken: ['alone'] });
    expect(taken.names).to.deep.equal(['failed alone', 'b']);
    if (!linux) skipTest(this, 'it is about Linux');
    await tree.write('etc', '');
    const root = await Findings.of({
      paths: [tree.at('etc'), '/'],
      exclude: ['/*', '!/etc', '/etc/*', '!/etc/passwd'],
    });
    expect(root.names).to.deep.equal(['etc', 'failed etc']);
    expect(root.items.get('failed etc')).to.include({
      code: 'name',
      message: `Two of the paths would both become "etc": ${tree.at('etc')} and /etc.`,
    });
  });

  it('gives each name of a file as a file of its own where that is wanted, and sums alone', async () => {
    const { items } = await Findings.of({ paths: [tree.at('t')], hardLinks: false });
    expect(items.get('t/c')).to.include({ type: 'file', size: 3 });
    const sums = await Findings.of({ paths: [tree.at('t')], hardLinks: false, totalsOnly: true });
    const files = [...items.values()].filter((item) => !(item instanceof TransferError) && item.type === 'file') as {
      size: number;
    }[];
    expect([sums.names, sums.batches.at(-1)]).to.deep.equal([
      [],
      { items: [], files: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) },
    ]);
  });

  it('adds up files and bytes', () => {
    const files = found.entries.filter((entry) => entry.type === 'file');
    expect(found.batches.at(-1)).to.include({
      files: files.length,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
    });
  });

  it('reads the edges of what was written to lately, and of what the caller names, however old that is', async () => {
    const files = await SourceTree.make({ 't/old': 'old', 't/new': 'new', named: 'named' });
    for (const name of ['t/old', 'named']) utimesSync(files.at(name), 1e9, 1e9);
    const edgesOf = async (options: Omit<TreeScanOptions, 'paths'>, ...names: string[]): Promise<unknown> => {
      const { entries } = await Findings.of({ paths: names.map((name) => files.at(name)), ...options });
      return entries.filter((entry) => entry.type === 'file').map(({ name, edges }) => [name, typeof edges]);
    };
    const inTree = [
      ['t/new', 'bigint'],
      ['t/old', 'undefined'],
    ];
    expect(await edgesOf({}, 'named')).to.deep.equal([['named', 'bigint']]);
    expect(await edgesOf({}, 't', 'named')).to.deep.equal([...inTree, ['named', 'bigint']]);
    expect(await edgesOf({ metadata: true }, 'named')).to.deep.equal([['named', 'bigint']]);
    expect(await edgesOf({ edges: false }, 't/new', 'named')).to.deep.equal([
      ['new', 'undefined'],
      ['named', 'undefined'],
    ]);
    await files.remove();
  });

  it('names a single file as the caller says, and no directory', async () => {
    const { items, names } = await Findings.of({ paths: [tree.at('alone'), tree.at('t')], name: 'x/y' });
    expect(names).to.deep.equal(['x/y', 'failed x/y']);
    expect(items.get('x/y')).to.include({ path: tree.at('alone') });
    const directory = await Findings.of({ paths: [tree.at('t')], name: 'x/y' });
    expect(directory.items.get('failed x/y')).to.include({
      code: 'usage',
      message: `--name is for a single file, and ${tree.at('t')} is a directory.`,
    });
  });

  it('the root of the file system has no name of its own', async function () {
    if (!linux) skipTest(this, 'it is about Linux');
    const { items, names } = await Findings.of({ paths: ['/'], exclude: ['/*', '!/etc', '/etc/*', '!/etc/passwd'] });
    expect(names).to.deep.equal(['etc', 'etc/passwd']);
    expect(items.get('etc/passwd')).to.include({ path: '/', below: 'etc/passwd' });
  });
});

describe('what is left out of a scan', () => {
  let tree: SourceTree;
  before(async () => {
    tree = await SourceTree.make();
  });
  after(() => tree.remove());

  it('is what the caller, the closest ignore file and those above say, in this order; nothing comes back from an excluded directory', async () => {
    for (const name of [
      'a.o',
      'b.o',
      'keep.o',
      'build/keep.o',
      'd/a.o',
      'd/c.log',
      'd/x/c.log',
      'd/x/top',
      'top',
      'named.o',
    ])
      await tree.write(`t/${name}`, '');
    await tree.write('t/.sendallignore', '# objects\n*.o\n!keep.o\nbuild/\n/top\n*.log\n');
    await tree.write('t/d/.sendallignore', '!/c.log\n!a.o\n');
    const { names } = await Findings.of({ paths: [tree.at('t')], exclude: ['!b.o', 'd/a.o'] });
    expect(names.slice(1)).to.deep.equal([
      't/.sendallignore',
      't/b.o',
      't/d',
      't/d/.sendallignore',
      't/d/c.log',
      't/d/x',
      't/d/x/top',
      't/keep.o',
    ]);
    const unread = await Findings.of({
      paths: [tree.at('t/build'), tree.at('t/named.o')],
      exclude: ['*.o'],
      ignoreFile: '',
    });
    expect(unread.names, 'what the caller names is never left out').to.deep.equal(['build', 'named.o']);
  });

  it('an ignore file that cannot be read: nothing of its directory is sent, and that is said', async () => {
    await tree.write('u/sub/secret', '');
    await tree.write('u/sub/.sendallignore', Buffer.alloc(1024 * 1024 + 1, 0x23));
    await tree.write('u/z', '');
    const { names, items } = await Findings.of({ paths: [tree.at('u')] });
    expect(names).to.deep.equal(['u', 'u/sub', 'failed u/sub/.sendallignore', 'u/z']);
    expect((items.get('failed u/sub/.sendallignore') as TransferError).message).to.contain(
      'Nothing in its directory is sent',
    );
  });

  it('an ignore file that is a link, a directory or a pipe is named, and nothing beside it is sent', async () => {
    await tree.write('v/rules', 'secret\n');
    for (const name of ['link', 'dangling', 'directory', 'pipe']) await tree.write(`v/${name}/secret`, 'x');
    symlinkSync('../rules', tree.at('v/link/.sendallignore'));
    symlinkSync('nowhere', tree.at('v/dangling/.sendallignore'));
    mkdirSync(tree.at('v/directory/.sendallignore'));
    execFileSync('mkfifo', [tree.at('v/pipe/.sendallignore')]);
    const { items, names } = await Findings.of({ paths: [tree.at('v')] });
    expect(names.filter((name) => name.includes('secret'))).to.deep.equal([]);
    for (const [name, kind] of [
      ['link', 'a symbolic link'],
      ['dangling', 'a symbolic link'],
      ['directory', 'a directory'],
      ['pipe', 'a named pipe'],
    ] as const) {
      const { code, message, hint } = items.get(`failed v/${name}/.sendallignore`) as TransferError;
      expect(code).to.equal('source-unreadable');
      expect(message).to.equal(
        `v/${name}/.sendallignore is ${kind}, and no regular file. ` +
          'Nothing in its directory is sent, since it may say what to leave out.',
      );
      expect(hint).to.equal('Put the file itself there, or take it away.');
    }
  });

  it('a directory that may not be read is told, and the rest is found', function () {
    mkdirSync(tree.at('w/closed'), { recursive: true });
    writeFileSync(tree.at('w/good'), '');
    chmodSync(tree.at('w/closed'), 0);
    chmodSync(tree.place, 0o755);
    // Root may read everything, so another user looks.
    const script = `
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
      const { scanTree } = require(${JSON.stringify(path.join(sourceRoot, 'lib/scan/tree-scan'))});
      (async () => { for await (const { items } of scanTree({ paths: [process.argv[1]] })) for (const { type, code, name, fileName } of items) console.log(type ?? code, fileName ?? name); })();`;
    const run = spawnSync(process.execPath, ['-r', './spec/typescript.js', '-e', script, tree.at('w')], {
      encoding: 'utf8',
      cwd: sourceRoot,
    });
    chmodSync(tree.at('w/closed'), 0o755);
    if (run.status !== 0 && /EACCES|EPERM/.test(run.stderr))
      skipTest(this, 'another user may not read this repository');
    expect(run.stdout.trim().split('\n'), run.stderr).to.deep.equal([
      'directory w',
      'source-unreadable w/closed',
      'file w/good',
    ]);
  });
});

describe('a scan of many files', () => {
  let tree: SourceTree;
  before(async () => {
    tree = await SourceTree.make();
    for (let directory = 10; directory < 22; directory++) {
      mkdirSync(tree.at(`t/${directory}`), { recursive: true });
      for (let file = 0; file < 511; file++) writeFileSync(tree.at(`t/${directory}/${file}`), '');
    }
  });
  after(() => tree.remove());

  it('comes in batches of 512 at most, made a few ahead of whoever takes them and no more', async () => {
    const scan = scanTree({ paths: [tree.at('t')] });
    const all = [(await scan.next()).value as ScanBatch];
    await pause(300);
    // The thread waits: it finds what is made now where it has not been yet.
    await tree.write('t/19/new', '');
    for await (const batch of scan) all.push(batch);
    const items = all.flatMap((batch) => batch.items as readonly FoundEntry[]);
    expect(items).to.have.length(1 + 12 * 512 + 1);
    expect(items.some(({ name }) => name === 't/19/new')).to.equal(true);
    expect(Math.max(...all.map((batch) => batch.items.length))).to.equal(512);
    expect(all.map(({ files }) => files)).to.deep.equal(all.map(({ files }) => files).sort((a, b) => a - b));
  });

  it('ends with interrupted once its signal is aborted, before and while it runs', async () => {
    const stop = new AbortController();
    const scan = scanTree({ paths: [tree.at('t')], signal: stop.signal });
    await scan.next();
    stop.abort();
    for (const each of [scan, scanTree({ paths: [tree.at('t')], signal: stop.signal })]) {
      const error: unknown = await each.next().catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: 'interrupted' });
    }
  });

  it('whoever leaves it ends its thread; whoever stops asking is not kept alive by it', () => {
    const script = `
      const { scanTree } = require(${JSON.stringify(path.join(sourceRoot, 'lib/scan/tree-scan'))});
      const scan = () => scanTree({ paths: [process.argv[1]] });
      const leave = async () => { for await (const batch of scan()) return process.platform === 'linux' ? require('fs').readdirSync('/proc/self/task').length : 0; };
      (async () => { console.log((await leave()) === (await leave())); await scan().next(); })();`;
    const run = spawnSync(process.execPath, ['-r', './spec/typescript.js', '-e', script, tree.at('t')], {
      encoding: 'utf8',
      cwd: sourceRoot,
      timeout: 15_000,
    });
    expect([run.status, run.stdout.trim()], run.stderr).to.deep.equal([0, 'true']);
  });
});
