import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { encodeFrame } from '../../lib/wire/frame';
import { exchange, fileFrame, md5, RawSender } from '../send/raw-sender';
import { contentOf, ReceiveDirectory } from './receive-directory';
import { bytes } from '../send/source-tree';

/** So short that a test can wait for them. */
const short = { first: { silence: 0, whole: 400 }, later: { silence: 400, whole: 400 }, stall: 400 };

describe('a receiver among the slow, the silent and the many', () => {
  const open: ReceiveDirectory[] = [];
  const start = async (...how: Parameters<typeof ReceiveDirectory.open>): Promise<ReceiveDirectory> => {
    const directory = await ReceiveDirectory.open(...how);
    open.push(directory);
    return directory;
  };
  afterEach(async () => {
    for (const directory of open.splice(0)) await directory.close();
  });

  describe('deadlines', () => {
    it('a connection that says nothing is closed, and that is no transfer', async () => {
      const { port, heard } = await start({ deadlines: short });
      const began = performance.now();
      const sender = await RawSender.dial(port);
      await sender.closed;
      expect(performance.now() - began).to.be.within(350, 1500);
      expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['timeout']);
    });

    for (const [where, frame] of [
      ['before its length is complete', Buffer.from([200, 0, 0, 0])],
      ['in the middle of the header', encodeFrame({ file_name: 'slow', file_size: 5, md5: md5('hello'), reply: true })],
    ] as const) {
      it(`a header that dribbles in, ${where}: the deadline counts from accepting, not from the last byte`, async () => {
        const { port, heard, place } = await start({ deadlines: short });
        const before = await contentOf(place);
        const began = performance.now();
        const sender = await RawSender.dial(port);
        const dribbled = setInterval(() => sender.socket.write(frame.subarray(at, ++at)), 150);
        let at = 0;
        await sender.closed;
        clearInterval(dribbled);
        expect(performance.now() - began).to.be.within(350, 1500);
        expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['timeout']);
        expect(await contentOf(place)).to.deep.equal(before);
        expect((await exchange(port, fileFrame('next', 'next')))[0]).to.include({ type: 'receipt' });
      });
    }

    it('a second header that dribbles in: timeout, told to whom asked for replies; the first file stands', async () => {
      const { port, heard } = await start({ deadlines: short });
      const sender = await RawSender.dial(port);
      await sender.send(fileFrame('first', 'first'), fileFrame('second', 'second').subarray(0, 20));
      expect((await sender.framesToTheEnd()).map(({ type, code }) => code ?? type)).to.deep.equal([
        'receipt',
        'timeout',
      ]);
      expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['timeout']);
    });

    it('a payload that stops: timeout, told to whom asked for replies, and nothing is left', async () => {
      const { port, heard, place } = await start({ deadlines: short });
      const before = await contentOf(place);
      const sender = await RawSender.dial(port);
      await sender.send(fileFrame('deep/stops', bytes(3_000_000)).subarray(0, 2_000_000));
      expect((await sender.framesToTheEnd())[0]).to.include({ code: 'timeout', file_name: 'deep/stops' });
      expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['timeout']);
      expect(await contentOf(place)).to.deep.equal(before);
    });

    it('a payload that is slow and does not stop is taken', async () => {
      const { port } = await start({ deadlines: short });
      const frame = fileFrame('slow', 'slow but steady');
      const sender = await RawSender.dial(port);
      await sender.send(frame.subarray(0, -10));
      for (let at = frame.length - 10; at < frame.length; at += 2) {
        await sleep(150);
        await sender.send(frame.subarray(at, at + 2));
      }
      expect(await sender.frame()).to.include({ type: 'receipt' });
    });

    it('a sender that asks for replies and never reads them: reading from it stops, and it is given up', async function () {
      this.timeout(30_000);
      let refused = 0;
      let givenUp: () => void = () => undefined;
      const end = new Promise<void>((resolve) => {
        givenUp = resolve;
      });
      const { port, receiver } = await start({
        deadlines: { ...short, stall: 2500 },
        on: (event) => {
          if (event.event === 'failed') refused++;
          if (event.event === 'failed' && event.code === 'timeout') givenUp();
        },
      });
      const sender = await RawSender.dial(port);
      sender.socket.pause();
      const frames = Buffer.concat(Array.from({ length: 1000 }, () => fileFrame(`../${'x'.repeat(2000)}`, '')));
      void (async () => {
        while (!sender.socket.destroyed) await sender.send(frames);
      })();
      // What fits into the buffers of both ends is still read; a slow machine takes seconds for that.
      let before = -1;
      for (let waited = 0; waited < 15_000 && refused !== before; waited += 800) {
        before = refused;
        await sleep(800);
      }
      expect(refused, 'nothing more was read').to.equal(before);
      await end;
      sender.socket.destroy();
      await receiver.close();
    });
  });

  describe('crowds', () => {
    it('1,000 idle connections do not keep a good sender waiting', async function () {
      this.timeout(30_000);
      const { port, place } = await start();
      const idle = await Promise.all(Array.from({ length: 1000 }, () => RawSender.dial(port)));
      try {
        const began = performance.now();
        const [receipt] = await exchange(port, fileFrame('good', bytes(3_000_000)));
        expect(receipt).to.include({ type: 'receipt' });
        expect(performance.now() - began).to.be.below(2000);
        expect(await readdir(place)).to.include('good');
      } finally {
        for (const { socket } of idle) socket.destroy();
      }
    });

    it('40 senders that dribble in the middle of large files do not hold up a fast one', async function () {
      this.timeout(60_000);
      const { port } = await start({}, { onDisk: true });
      const alone = performance.now();
      await exchange(port, fileFrame('alone', bytes(64 * 1024 * 1024, 3)));
      const fastest = performance.now() - alone;
      const slow = await Promise.all(Array.from({ length: 40 }, () => RawSender.dial(port)));
      const header = (at: number): Buffer =>
        encodeFrame({ file_name: `slow-${String(at)}`, file_size: 100_000_000, md5: md5(''), reply: true });
      for (const [at, sender] of slow.entries()) await sender.send(header(at), Buffer.alloc(100_000));
      const dribbling = setInterval(() => {
        for (const { socket } of slow) socket.write(Buffer.alloc(1000));
      }, 250);
      try {
        await sleep(1000);
        const began = performance.now();
        const [receipt] = await exchange(port, fileFrame('fast', bytes(64 * 1024 * 1024, 5)));
        expect(receipt).to.include({ type: 'receipt' });
        expect(performance.now() - began).to.be.below(2 * fastest + 1500);
        expect(
          slow.every(({ socket }) => !socket.destroyed),
          'the slow ones are still served',
        ).to.equal(true);
      } finally {
        clearInterval(dribbling);
        for (const { socket } of slow) socket.destroy();
      }
    });

    it('200 senders at once: every file is stored, and nothing else', async function () {
      this.timeout(60_000);
      const { port, place } = await start();
      const content = bytes(100_000, 9);
      const answers = await Promise.all(
        Array.from({ length: 200 }, (_, at) => exchange(port, fileFrame(`at-once/${String(at)}`, content))),
      );
      expect(answers.every(([receipt]) => receipt?.['type'] === 'receipt')).to.equal(true);
      const stored = await contentOf(path.join(place, 'at-once'));
      expect(Object.values(stored).filter((what) => what.startsWith(`file ${md5(content)}`))).to.have.length(200);
      expect(await readdir(path.join(place, '.sendall', 'stage'))).to.deep.equal([]);
    });

    it('several senders with other content under the same name at once: one is stored, whole, the others are refused', async () => {
      const { port, read } = await start().then((directory) => ({
        port: directory.port,
        read: () => directory.read('same'),
      }));
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, at) => exchange(port, fileFrame('same', bytes(200_000, at + 1)))),
      );
      const won = answers.flatMap(([reply], at) => (reply?.['type'] === 'receipt' ? [at] : []));
      expect(won).to.have.length(1);
      expect(answers.flat().filter(({ code }) => code === 'exists')).to.have.length(19);
      expect(md5(await read())).to.equal(md5(bytes(200_000, (won[0] ?? 0) + 1)));
    });
  });
});
