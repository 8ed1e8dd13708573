import { readdir, rm, truncate, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { createReceiver, send, type TransferEvent } from '../../lib/index';
import { RawReceiver } from '../receive/raw-receiver';
import { contentOf, Heard, ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { bytes, sending, SourceTree } from './source-tree';

const mebibyte = 1024 * 1024;

describe('a sender and a receiver', () => {
  let directory: ReceiveDirectory;
  let tree: SourceTree;

  beforeEach(async () => {
    directory = await ReceiveDirectory.open();
    tree = await SourceTree.make();
  });
  afterEach(async () => {
    await directory.close();
    await tree.remove();
  });

  const sent = (heard: Heard): string[] => heard.all('sent').map(({ file_name }) => file_name);
  const stored = async (): Promise<string[]> =>
    Object.keys(await directory.content())
      .filter((name) => !name.startsWith('.sendall'))
      .sort();

  describe('sizes', () => {
    it('around every border, all arrive as they are, on one connection', async () => {
      const sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        65535,
        65536,
        65537,
        mebibyte - 1,
        mebibyte,
        mebibyte + 1,
        3 * mebibyte + 5,
      ];
      for (const size of sizes) await tree.write(`sizes/${String(size)}`, bytes(size, size));
      const { result } = await sending({ paths: [tree.at('sizes')], target: directory.target });
      expect(result?.summary).to.include({ files: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) });
      for (const size of sizes) {
        expect(result?.files.find(({ file_size }) => file_size === size)).to.include({ path: `sizes/${String(size)}` });
        expect((await directory.read(`sizes/${String(size)}`)).equals(bytes(size, size)), String(size)).to.equal(true);
      }
    });

    it('a file of 5 MiB on a real disk is read back from where the receipt says', async () => {
      const disk = await ReceiveDirectory.open({}, { onDisk: true });
      try {
        const { result } = await sending({
          paths: [await tree.write('file', bytes(5 * mebibyte))],
          target: disk.target,
        });
        expect(['device', 'cache']).to.include(result?.files[0]?.verified);
        expect((await disk.read('file')).equals(bytes(5 * mebibyte))).to.equal(true);
      } finally {
        await disk.close();
      }
    });
  });

  describe('many files', () => {
    it('go and are reported in the order in which they were named', async () => {
      const names = ['z', 'a', 'm', 'b/c', 'b/a'];
      for (const [at, name] of names.entries()) await tree.write(name, bytes(at % 2 === 0 ? 100_000 : 10, at + 1));
      const { heard } = await sending({
        paths: ['z', 'a', 'm', 'b'].map((name) => tree.at(name)),
        target: directory.target,
      });
      expect(sent(heard)).to.deep.equal(['z', 'a', 'm', 'b/a', 'b/c']);
    });

    for (const connections of [1, 4]) {
      it(`1,000 on ${String(connections)} connection(s): all verified, none twice`, async () => {
        for (let at = 0; at < 1000; at++) await tree.write(`many/${String(at % 10)}/${String(at)}`, String(at));
        const { result } = await sending({ paths: [tree.at('many')], target: directory.target, connections });
        expect(result?.files).to.have.length(1000);
        expect(new Set(result?.files.map(({ file_name }) => file_name)).size).to.equal(1000);
        expect((await directory.read('many/3/123')).toString()).to.equal('123');
        expect((await stored()).length).to.equal(1000 + 10 + 1);
      });
    }

    it('twice the same: success without anything written again', async () => {
      const paths = [await tree.write('a', 'a'), await tree.write('large', bytes(2 * mebibyte))];
      await sending({ paths, target: directory.target });
      const before = await directory.content();
      expect((await sending({ paths, target: directory.target })).error).to.equal(undefined);
      expect(await directory.content()).to.deep.equal(before);
    });
  });

  describe('what is sent', () => {
    it('a tree, but for what is excluded; hidden names are the receiver’s decision', async () => {
      for (const name of ['t/a.txt', 't/a.log', 't/sub/b.txt', 't/sub/b.log', 't/node_modules/x', 't/.hidden'])
        await tree.write(name, name);
      const { heard, failed } = await sending({
        paths: [tree.at('t')],
        target: directory.target,
        exclude: ['*.log', 'node_modules/'],
      });
      expect(sent(heard)).to.deep.equal(['t/a.txt', 't/sub/b.txt']);
      expect(failed).to.deep.equal(['name']);
      const lax = await ReceiveDirectory.open({ allowHidden: true });
      expect((await sending({ paths: [tree.at('t')], target: lax.target })).error).to.equal(undefined);
      await lax.close();
    });

    it('a name of its own for a single file', async () => {
      const { result } = await sending({
        paths: [await tree.write('a', 'a')],
        name: '/other/name.txt',
        target: directory.target,
      });
      expect(result?.files[0]).to.include({ path: 'other/name.txt' });
      expect((await directory.read('other/name.txt')).toString()).to.equal('a');
    });

    for (const [what, pieces] of [
      ['of many pieces', Array.from({ length: 300 }, (_, at) => bytes(10_000, at))],
      ['that is empty', []],
      ['of text', ['one ', 'two']],
    ] as const) {
      it(`standard input ${what}, spooled since the wire wants its md5 first`, async () => {
        const { result } = await sending({
          paths: ['-'],
          input: Readable.from(pieces, { objectMode: true }),
          name: 'input',
          target: directory.target,
        });
        expect(result?.files).to.have.length(1);
        expect(
          (await directory.read('input')).equals(Buffer.concat(pieces.map((piece) => Buffer.from(piece)))),
        ).to.equal(true);
      });
    }

    it('an input that breaks: source-unreadable, and nothing is stored', async () => {
      const input = new Readable({
        read() {
          this.push('begun');
          this.destroy(new Error('the pipe broke'));
        },
      });
      const { error } = await sending({ paths: ['-'], input, target: directory.target });
      expect(error?.code).to.equal('source-unreadable');
      expect(await stored()).to.deep.equal([]);
    });
  });

  it('a byte that flips on the way: mismatch, nothing stored, and the files before and after it arrive', async () => {
    const wrong = bytes(3 * mebibyte);
    const proxy = net.createServer({ allowHalfOpen: true }, (client) => {
      const server = net.connect({ port: directory.port, host: '127.0.0.1', allowHalfOpen: true });
      let passed = 0;
      client.on('data', (piece) => {
        const at = 1_500_000 - passed;
        if (at >= 0 && at < piece.length) piece[at] = (piece[at] ?? 0) ^ 1;
        passed += piece.length;
        server.write(piece);
      });
      client.on('end', () => server.end()).on('error', () => undefined);
      server.pipe(client).on('error', () => undefined);
      server.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const paths = [
      await tree.write('before', 'before'),
      await tree.write('wrong', wrong),
      await tree.write('after', 'after'),
    ];
    const { heard, failed } = await sending({
      paths,
      target: `tcp://127.0.0.1:${String((proxy.address() as net.AddressInfo).port)}`,
    });
    proxy.close();
    expect(failed).to.deep.equal(['mismatch']);
    expect(sent(heard)).to.deep.equal(['before', 'after']);
    expect(await stored()).to.deep.equal(['after', 'before']);
  });

  describe('rate and progress', () => {
    it('a limit is kept within a fifth, over all connections, and is what held it back', async () => {
      const paths = await Promise.all([1, 2, 3, 4].map((at) => tree.write(String(at), bytes(4 * mebibyte, at))));
      const { result } = await sending({ paths, target: directory.target, limit: 8 * mebibyte, connections: 2 });
      expect(result?.summary.seconds).to.be.within(1.6, 3.2);
      expect(result?.summary.bottleneck).to.equal('limit');
    });

    it('hash and send are told at least twice a second for a long file, and the summary is the last event', async () => {
      const place = tree.at('sparse');
      await writeFile(place, '');
      await truncate(place, 900 * mebibyte);
      const heard = new Heard();
      const times = new Map<string, number[]>();
      const abort = new AbortController();
      const began = performance.now();
      const on = (event: TransferEvent): void => {
        heard.on(event);
        if (event.event === 'progress')
          times.set(event.phase, [...(times.get(event.phase) ?? []), performance.now() - began]);
      };
      const running = send({
        paths: [place],
        target: directory.target,
        useCache: false,
        limit: 200 * mebibyte,
        on,
        signal: abort.signal,
      });
      await heard.first('progress', ({ phase, done }) => phase === 'send' && done > 200 * mebibyte);
      abort.abort();
      await running.catch(() => undefined);
      for (const phase of ['hash', 'send']) {
        const told = times.get(phase) ?? [];
        expect(told.length, phase).to.be.at.least(2);
        for (const [at, time] of told.entries()) expect(time - (told[at - 1] ?? time), phase).to.be.below(600);
        const done = heard
          .all('progress')
          .filter((event) => event.phase === phase)
          .map((event) => event.done);
        expect(done.at(-1), phase).to.be.above(done[0] ?? 0);
      }
      expect(heard.events.at(-1)?.event).to.equal('summary');
      expect(heard.events.filter(({ event }) => event === 'summary')).to.have.length(1);
    }).timeout(30_000);
  });

  describe('who dials, and over what', () => {
    const transports = (): readonly (readonly [string, string])[] => [
      ['IPv4', '127.0.0.1:0'],
      ['IPv6', '[::1]:0'],
      ['a unix socket', `unix:${path.join(tree.place, 's')}`],
    ];
    for (const at of [0, 1, 2]) {
      const [title] = ['IPv4', 'IPv6', 'a unix socket'].slice(at);
      it(`the sender dials over ${String(title)}`, async () => {
        const [, where = ''] = transports()[at] ?? [];
        const { address } = await directory.receiver.listen(where);
        const { error } = await sending({
          paths: [await tree.write('a', 'a'), await tree.write('large', bytes(2 * mebibyte))],
          target: address,
        });
        expect(error).to.equal(undefined);
        expect(await stored()).to.deep.equal(['a', 'large']);
      });

      it(`the receiver dials over ${String(title)}`, async () => {
        const [, where = ''] = transports()[at] ?? [];
        const heard = new Heard();
        const running = sending(
          {
            paths: [await tree.write('a', 'a'), await tree.write('large', bytes(2 * mebibyte))],
            listen: where,
            plain: true,
          },
          heard,
        );
        const { address } = await heard.first('listening');
        const received = await directory.receiver.dial(address);
        const { result } = await running;
        expect(received.files).to.equal(2);
        expect(result?.files).to.have.length(2);
        expect(await stored()).to.deep.equal(['a', 'large']);
      });
    }

    it('a host name that has several addresses', async () => {
      expect(
        (await sending({ paths: [await tree.write('a', 'a')], target: `tcp://localhost:${String(directory.port)}` }))
          .error,
      ).to.equal(undefined);
    });

    it('a receiver dials a sender that fails: both say so', async () => {
      const heard = new Heard();
      const running = sending(
        {
          paths: [await tree.write('.hidden', 'x'), await tree.write('good', 'good')],
          listen: '127.0.0.1:0',
          plain: true,
        },
        heard,
      );
      const { address } = await heard.first('listening');
      const received = await directory.receiver.dial(address).catch((error: unknown) => error);
      expect(received).to.include({ code: 'some-failed' });
      expect((await running).error?.code).to.equal('some-failed');
      expect(await stored()).to.deep.equal(['good']);
    });

    it('a listening sender whose receiver goes away fails the rest, each by its name', async () => {
      const heard = new Heard();
      const paths = [
        await tree.write('large', bytes(24 * mebibyte)),
        await tree.write('b', 'b'),
        await tree.write('c', 'c'),
      ];
      const running = sending({ paths, listen: '127.0.0.1:0', plain: true }, heard);
      const { port } = await heard.first('listening');
      const socket = net.connect(port ?? 0, '127.0.0.1');
      socket.once('data', () => socket.resetAndDestroy());
      const { error } = await running;
      expect(error?.code).to.equal('some-failed');
      expect(heard.all('failed').map(({ file_name, code }) => [file_name, code])).to.deep.equal([
        ['large', 'connection-lost'],
        ['b', 'connection-lost'],
        ['c', 'connection-lost'],
      ]);
    });
  });

  it('usage errors are told before anything happens', async () => {
    const paths = [await tree.write('a', 'a')];
    const { target } = directory;
    for (const options of [
      { paths: [], target },
      { paths },
      { paths, target, listen: '127.0.0.1:0' },
      { paths, target, name: '' },
      { paths, target, name: '../y.txt' },
      { paths, target: 'example.com' },
      { paths: [...paths, ...paths], target, name: 'x' },
      { paths: ['-', '-'], target },
      { paths, target, connections: 0 },
      { paths, target, limit: 0 },
    ]) {
      const { error, heard } = await sending(options);
      expect(error?.code, JSON.stringify(options)).to.equal('usage');
      expect(heard.events).to.deep.equal([]);
    }
  });

  it('no file descriptor stays open, however it ends', async () => {
    const paths = await Promise.all(Array.from({ length: 30 }, (_, at) => tree.write(String(at), bytes(100_000, at))));
    const raw = await RawReceiver.listen((connection) => connection.socket.destroy());
    // The receiver of this process has its thread for small files by then.
    await sending({ paths: [await tree.write('small', 'small')], target: directory.target });
    const before = await descriptors();
    await sending({ paths, target: raw.target });
    await sending({ paths, target: 'tcp://127.0.0.1:1' });
    await raw.close();
    await sleep(50);
    expect(await descriptors()).to.be.at.most(before + 1);
  });

  it('a receiver that stops in the middle: the sender is told, and what was complete stands', async () => {
    const place = await temporaryDirectory();
    const receiver = await createReceiver({ directory: place });
    const { address } = await receiver.listen('127.0.0.1:0');
    const heard = new Heard();
    const running = sending(
      {
        paths: [await tree.write('first', 'first'), await tree.write('large', bytes(24 * mebibyte))],
        target: address,
        limit: 10 * mebibyte,
      },
      heard,
    );
    await heard.first('progress', ({ phase, done }) => phase === 'send' && done > mebibyte);
    await receiver.close();
    const { failed } = await running;
    expect(failed[0]).to.equal('stopped');
    expect(sent(heard)).to.deep.equal(['first']);
    expect(Object.keys(await contentOf(place))).to.deep.equal(['first']);
    await rm(place, { recursive: true });
  });
});

async function descriptors(): Promise<number> {
  return (await readdir('/proc/self/fd')).length;
}
