import { mkdir, readdir, rm } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { createReceiver, TransferError } from '../../lib/index';
import { exchange, fileFrame, md5, RawSender } from '../send/raw-sender';
import { contentOf, Heard, ReceiveDirectory, temporaryDirectory } from './receive-directory';
import { bytes, sending, SourceTree } from '../send/source-tree';
import { skipTest } from '../skip-test';

async function rejection(promise: Promise<unknown>): Promise<TransferError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof TransferError)) throw new Error(`not a TransferError: ${String(error)}`);
  return error;
}

describe('a receiver', () => {
  const open: ReceiveDirectory[] = [];
  const start = async (...how: Parameters<typeof ReceiveDirectory.open>): Promise<ReceiveDirectory> => {
    const directory = await ReceiveDirectory.open(...how);
    open.push(directory);
    return directory;
  };
  afterEach(async () => {
    for (const directory of open.splice(0)) await directory.close();
  });

  describe('the plain wire from other machines', () => {
    const other = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.family === 'IPv4' && !each.internal)?.address;

    it('is refused with not-authorized, and taken with insecurePlain', async function () {
      if (other === undefined) {
        skipTest(this, 'this machine has no address but loopback');
      }
      for (const insecurePlain of [false, true]) {
        const { port, heard, place } = await start({ insecurePlain }, { address: '0.0.0.0:0' });
        const before = await contentOf(place);
        const sender = await RawSender.dial(port, other);
        void sender.send(fileFrame('foreign', 'foreign'), fileFrame('second', 'second'));
        sender.finish();
        const replies = (await sender.framesToTheEnd()).map(({ type, code }) => code ?? type);
        expect(replies).to.deep.equal(insecurePlain ? ['receipt', 'receipt'] : ['not-authorized']);
        if (insecurePlain) continue;
        expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['not-authorized']);
        expect(await contentOf(place)).to.deep.equal(before);
      }
    });

    it('is not spoken to them by our sender either, without a byte of the file', async function () {
      if (other === undefined) skipTest(this, 'this machine has no other address');
      const { port, heard } = await start({ insecurePlain: true }, { address: '0.0.0.0:0' });
      const tree = await SourceTree.make({ 'secret.txt': 'secret' });
      try {
        const target = `tcp://${other ?? ''}:${String(port)}`;
        const refused = await sending({ paths: [tree.at('secret.txt')], target });
        expect(refused.error?.code).to.equal('not-authorized');
        expect(heard.all('started')).to.deep.equal([]);
        expect((await sending({ paths: [tree.at('secret.txt')], target, insecurePlain: true })).error).to.equal(
          undefined,
        );
      } finally {
        await tree.remove();
      }
    });
  });

  describe('starting and stopping', () => {
    it('a restart on the same port works at once, with a connection of before still in TIME_WAIT', async () => {
      const place = await temporaryDirectory();
      let port = 0;
      try {
        for (let times = 0; times < 3; times++) {
          const receiver = await createReceiver({ directory: place });
          const listening = await receiver.listen(`127.0.0.1:${String(port)}`);
          port = listening.port ?? 0;
          expect((await exchange(port, fileFrame(`file-${String(times)}`, 'x')))[0]).to.include({ type: 'receipt' });
          const left = await RawSender.dial(port);
          await left.send(fileFrame('cut', 'whole').subarray(0, 30));
          await receiver.close();
        }
      } finally {
        await rm(place, { recursive: true });
      }
    });

    it('a port that is taken: cannot-connect, and the directory is free again after close', async () => {
      const { port } = await start();
      const place = await temporaryDirectory();
      const receiver = await createReceiver({ directory: place });
      expect((await rejection(receiver.listen(`127.0.0.1:${String(port)}`))).code).to.equal('cannot-connect');
      await receiver.close();
      await (await createReceiver({ directory: place })).close();
      await rm(place, { recursive: true });
    });

    it('close: a file whose bytes are all here is still answered, a cut one is discarded, no staging directory is left', async () => {
      const directory = await start();
      const { port, receiver, place, heard } = directory;
      const whole = await RawSender.dial(port);
      const cut = await RawSender.dial(port);
      await cut.send(fileFrame('cut/cut', bytes(500_000)).subarray(0, 300_000));
      await heard.first('started', ({ file_name }) => file_name === 'cut/cut');
      await whole.send(fileFrame('whole', bytes(500_000)));
      await heard.first('started', ({ file_name }) => file_name === 'whole');
      while ((await readdir(path.join(place, '.sendall', 'stage'))).length < 2 && heard.all('received').length === 0)
        await sleep(1);
      await sleep(100);
      await receiver.close();
      expect((await whole.framesToTheEnd())[0]).to.include({ type: 'receipt' });
      expect((await cut.framesToTheEnd()).at(0)).to.include({ type: 'refusal', code: 'interrupted' });
      expect(await readdir(place)).to.deep.equal(['whole']);
    });

    it('close with now: everything in the middle is discarded at once, and nobody is accepted any more', async () => {
      const { port, receiver, place } = await start();
      const cut = await RawSender.dial(port);
      await cut.send(fileFrame('cut', bytes(500_000)).subarray(0, 300_000));
      const began = performance.now();
      await receiver.close({ now: true });
      expect(performance.now() - began).to.be.below(1000);
      await cut.closed;
      expect(await readdir(place)).to.deep.equal([]);
      const error = await new Promise<NodeJS.ErrnoException>((resolve) =>
        net.connect({ port, host: '127.0.0.1' }).once('error', resolve),
      );
      expect(error.code).to.equal('ECONNREFUSED');
    });

    it('once: ends with the first transfer; a connection that says nothing is none', async () => {
      const { port, receiver } = await start();
      const end = receiver.once();
      (await RawSender.dial(port)).socket.destroy();
      await sleep(50);
      await exchange(port, fileFrame('first', 'first'), fileFrame('second', 'second'));
      expect(await end).to.include({ files: 2, bytes: 11 });
    });

    it('once: rejects with the failure of the first transfer', async () => {
      const { port, receiver } = await start();
      const end = rejection(receiver.once());
      await exchange(port, fileFrame('wrong', 'wrong', { md5: md5('other') }));
      expect((await end).code).to.equal('mismatch');
    });

    it('once: rejects with interrupted when it is closed before', async () => {
      const { receiver } = await start();
      const end = rejection(receiver.once());
      await receiver.close();
      expect((await end).code).to.equal('interrupted');
    });

    it('a missing directory, a file, and one in use: `directory`', async () => {
      const { place } = await start();
      const elsewhere = await temporaryDirectory();
      await mkdir(path.join(elsewhere, 'd'));
      for (const directory of [path.join(elsewhere, 'missing'), '/dev/null', place]) {
        expect((await rejection(createReceiver({ directory }))).code).to.equal('directory');
      }
      await rm(elsewhere, { recursive: true });
    });
  });

  describe('what it reports', () => {
    it('listening, started, received with everything that a receipt needs, and the summary last', async () => {
      const { port, heard } = await start();
      const frame = fileFrame('told', 'told');
      await exchange(port, frame);
      const told = heard.events.map(({ event }) => event).filter((event) => event !== 'progress');
      expect(told).to.deep.equal(['listening', 'started', 'received', 'summary']);
      expect(heard.all('received')[0]).to.include({
        file_name: 'told',
        file_size: 4,
        path: 'told',
        bytes_on_wire: frame.length,
      });
      expect(heard.all('received')[0]?.digests).to.deep.equal({ md5: md5('told') });
      expect(heard.events.at(-1)).to.include({ event: 'summary', files: 1, bytes: 4, bytes_on_wire: frame.length });
    });

    it('the progress of a slow file, at least twice a second, as far as it has come', async () => {
      const { port, heard } = await start();
      const sender = await RawSender.dial(port);
      const frame = fileFrame('slow', bytes(8 * 1024 * 1024));
      for (let at = 0; at < frame.length; at += 1024 * 1024) {
        await sender.send(frame.subarray(at, at + 1024 * 1024));
        await sleep(180);
      }
      await sender.frame();
      sender.socket.destroy();
      const told = heard.all('progress').filter(({ phase }) => phase === 'receive');
      expect(told.length).to.be.at.least(4);
      expect(told.at(-1)?.done).to.be.above(4 * 1024 * 1024);
      expect(told.map(({ done }) => done)).to.deep.equal(told.map(({ done }) => done).sort((a, b) => a - b));
      expect(told.every(({ total }) => total === 8 * 1024 * 1024)).to.equal(true);
      await heard.first('summary');
      expect(heard.all('summary')[0]?.bottleneck).to.equal('network');
    });

    it('a listener hears of nothing before it happened: `received` comes when the file is there', async () => {
      const heard = new Heard();
      const place = await temporaryDirectory();
      const seen: string[][] = [];
      const receiver = await createReceiver({
        directory: place,
        on: (event) => {
          heard.on(event);
          if (event.event === 'received') void readdir(place).then((names) => seen.push(names));
        },
      });
      const { port } = await receiver.listen('127.0.0.1:0');
      await exchange(port ?? 0, fileFrame('there', 'there'));
      await receiver.close();
      expect(seen[0]).to.include('there');
      await rm(place, { recursive: true });
    });
  });
});
