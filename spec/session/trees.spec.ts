import { execFileSync } from 'node:child_process';
import {
  chmod,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { setFileTime, systemCalls } from '../../lib/threads/system-calls';
import { MiB, noise, Pair, succeeded } from './pair';

describe('a tree in a session', () => {
  let pair: Pair;
  afterEach(() => pair.close());

  const at = (name: string): string => path.join(pair.to.place, name);
  /** What is in the receive directory, links not followed. */
  const names = async (below = ''): Promise<string[]> => {
    const found = (await readdir(at(below), { withFileTypes: true })).filter(({ name }) => name !== '.sendall');
    const all = found.map(async (entry) => [
      below + entry.name,
      ...(entry.isDirectory() ? await names(`${below}${entry.name}/`) : []),
    ]);
    return (await Promise.all(all)).flat().sort();
  };

  it('arrives with its directories, empty ones too, with modes and times', async () => {
    pair = await Pair.make({ 'tree/deep/er/file': 'f', 'tree/script': '#!/bin/sh\n', 'tree/large': noise(2 * MiB) });
    const { source } = pair;
    await mkdir(source.at('tree/empty/nothing'), { recursive: true });
    await chmod(source.at('tree/script'), 0o755);
    await chmod(source.at('tree/large'), 0o640);
    await chmod(source.at('tree/empty'), 0o750);
    await chmod(source.at('tree/deep'), 0o555);
    const exact = systemCalls() !== undefined;
    const times = new Map<string, bigint>();
    for (const name of [
      'tree/script',
      'tree/large',
      'tree/deep/er/file',
      'tree/empty/nothing',
      'tree/empty',
      'tree/deep/er',
      'tree/deep',
      'tree',
    ]) {
      const wanted = 1_500_000_000_123_456_789n + BigInt(times.size) * 1_000_000_001n;
      if (exact) {
        const handle = await open(source.at(name));
        setFileTime(handle.fd, wanted);
        await handle.close();
      } else await utimes(source.at(name), 1_500_000_000 + times.size, 1_500_000_000 + times.size);
      times.set(name, (await stat(source.at(name), { bigint: true })).mtimeNs);
      if (exact) expect(times.get(name)).to.equal(wanted);
    }
    const { files } = succeeded(await pair.send(['tree'], { connections: 3 }));
    expect(files.map(({ file_name: name }) => name)).to.have.members([
      'tree/deep/er/file',
      'tree/script',
      'tree/large',
    ]);
    expect(await names()).to.deep.equal([
      'tree',
      'tree/deep',
      'tree/deep/er',
      'tree/deep/er/file',
      'tree/empty',
      'tree/empty/nothing',
      'tree/large',
      'tree/script',
    ]);
    for (const [name, time] of times) {
      const [here, there] = [await stat(source.at(name), { bigint: true }), await stat(at(name), { bigint: true })];
      expect((there.mode & 0o777n).toString(8), name).to.equal((here.mode & 0o777n).toString(8));
      expect(there.mtimeNs, name).to.equal(time);
    }
    // So that both can be removed.
    for (const place of [source.at('tree/deep'), at('tree/deep')]) await chmod(place, 0o755);
  });

  it('has its symbolic links as links, wherever they lead, and nothing that is behind them', async () => {
    pair = await Pair.make({ 'tree/file': 'f', 'outside/secret': 'secret' });
    const links = {
      'tree/in': 'file',
      'tree/out': '../outside',
      'tree/absolute': pair.source.at('outside/secret'),
      'tree/dangling': 'nowhere',
      'tree/self': 'self',
      'tree/sub': '.',
    };
    for (const [name, target] of Object.entries(links)) await symlink(target, pair.source.at(name));
    const { files } = succeeded(await pair.send(['tree']));
    expect(files.map(({ file_name: name }) => name)).to.deep.equal(['tree/file']);
    expect(await names()).to.deep.equal(['tree', ...Object.keys(links), 'tree/file'].sort());
    for (const [name, target] of Object.entries(links)) expect(await readlink(at(name)), name).to.equal(target);
    succeeded(await pair.send(['tree']));
  });

  // More than any number of handshakes: those of newer OpenSSL have some KiB each.
  const overhead = 30_000;
  for (const size of [50_000, 3 * MiB + 1]) {
    it(`has a file of ${String(size)} bytes with three names once: on the wire, and on the disk`, async () => {
      pair = await Pair.make({ 'tree/b/first': noise(size), 'tree/other': 'other' });
      await mkdir(pair.source.at('tree/a'));
      await link(pair.source.at('tree/b/first'), pair.source.at('tree/a/second'));
      await link(pair.source.at('tree/b/first'), pair.source.at('tree/third'));
      for (let times = 0; times < 2; times++) {
        const relay = await pair.relay();
        succeeded(await pair.send(['tree'], { relay }));
        expect(relay.there).to.be.within(times === 0 ? size : 0, times === 0 ? size * 1.01 + overhead : overhead);
        const [one, two, three] = await Promise.all(
          ['tree/a/second', 'tree/b/first', 'tree/third'].map((name) => lstat(at(name))),
        );
        expect([two?.ino, three?.ino]).to.deep.equal([one?.ino, one?.ino]);
        expect(one?.nlink).to.equal(3);
        expect(await pair.to.read('tree/third')).to.deep.equal(noise(size));
      }
    });
  }

  it('has sparse files whose holes are neither sent nor written', async () => {
    pair = await Pair.make({}, {}, { onDisk: true });
    const size = 300 * MiB + 100;
    const handle = await open(pair.source.at('sparse'), 'w');
    await handle.write(noise(MiB, 1), 0, MiB, 40 * MiB);
    await handle.write(noise(1000, 2), 0, 1000, 200 * MiB + 50_000);
    await handle.truncate(size);
    await handle.close();
    const empty = await open(pair.source.at('hole'), 'w');
    await empty.truncate(64 * MiB);
    await empty.close();
    const { files } = succeeded(await pair.send(['sparse', 'hole'], { connections: 2 }));
    for (const { file_name: name, bytes_on_wire: wire } of files) {
      expect(wire, name).to.be.below(name === 'sparse' ? 3 * MiB : 5000);
      const there = await stat(at(name));
      expect(there.size).to.equal(name === 'sparse' ? size : 64 * MiB);
      expect(there.blocks * 512, name).to.be.below(name === 'sparse' ? 4 * MiB : MiB);
    }
    expect(execFileSync('cmp', [pair.source.at('sparse'), at('sparse')]).toString()).to.equal('');
    expect(execFileSync('cmp', [pair.source.at('hole'), at('hole')]).toString()).to.equal('');
  });

  it('names what no wire carries, and skips it', async () => {
    pair = await Pair.make({ 'tree/file': 'f' });
    execFileSync('mkfifo', [pair.source.at('tree/pipe')]);
    const server = net.createServer().listen(pair.source.at('tree/socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      const sent = await pair.send(['tree']);
      succeeded(sent);
      expect(sent.heard.all('skipped').map(({ file_name: name }) => name)).to.have.members([
        'tree/pipe',
        'tree/socket',
      ]);
      for (const { reason } of sent.heard.all('skipped')) expect(reason).to.match(/pipe|socket/);
      expect(await names()).to.deep.equal(['tree', 'tree/file']);
    } finally {
      server.close();
    }
  });

  it('lacks what is excluded, by the sender or by files in it', async () => {
    const files = {
      'tree/keep': 'k',
      'tree/a.log': 'l',
      'tree/sub/b.log': 'l',
      'tree/sub/c.tmp': 't',
      'tree/sub/d': 'd',
      'tree/cache/x': 'x',
    };
    pair = await Pair.make(files, { allowHidden: true });
    await writeFile(pair.source.at('tree/sub/.sendallignore'), '*.tmp\n');
    succeeded(await pair.send(['tree'], { exclude: ['*.log', '/cache'] }));
    expect(await names()).to.deep.equal(['tree', 'tree/keep', 'tree/sub', 'tree/sub/.sendallignore', 'tree/sub/d']);
  });

  it('of thousands of small files, larger than what may be underway at once, arrives whole', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 3000 }, (_, at) => [`tree/${String(at % 50)}/${String(at)}`, noise((at * 37) % 9000, at)]),
    );
    pair = await Pair.make(files);
    const { summary } = succeeded(await pair.send(['tree'], { connections: 4 }));
    expect(summary.files).to.equal(3000);
    for (const [name, content] of Object.entries(files))
      expect((await pair.to.read(name)).equals(content), name).to.equal(true);
  });

  it('whose names the receiver does not take fails in those alone, each by its name', async () => {
    const files = { 'tree/good': 'g', 'tree/nul:colon': 'c', 'tree/large': noise(MiB) };
    pair = await Pair.make(files, { names: 'portable' });
    await rm(pair.source.at('tree/large'));
    await symlink('nowhere', pair.source.at('tree/trailing '));
    const { failed, error, heard } = await pair.send(['tree']);
    expect(failed).to.deep.equal(['name', 'name']);
    expect(error?.code).to.equal('some-failed');
    expect(heard.all('failed').map(({ file_name: name }) => name)).to.have.members([
      'tree/nul:colon',
      'tree/trailing ',
    ]);
    expect(await names()).to.deep.equal(['tree', 'tree/good']);
  });
});
