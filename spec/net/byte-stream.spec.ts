import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { bytes } from '../send/source-tree';
import { makings, type Pair, pair } from './pair';

const mebibyte = 1024 * 1024;
const nine = bytes(9 * mebibyte, 3);

// The conformance of every way in which a stream comes about.
for (const making of makings) {
  describe(`a byte stream (${making})`, () => {
    let made: Pair;
    beforeEach(async () => {
      made = await pair(making);
    });
    afterEach(() => made.close());

    async function codeOf(promise: Promise<unknown>): Promise<unknown> {
      return promise.then(
        () => 'no error',
        (error: unknown) => (error instanceof TransferError ? error.code : error),
      );
    }

    it('shows what arrived, takes off its front, and tells the end', async () => {
      const { stream, peer } = made;
      peer.write('hello');
      expect(await stream.more()).to.equal(true);
      expect(Buffer.from(stream.peek()).toString()).to.equal('hello');
      stream.take(2);
      peer.end('!');
      while (await stream.more());
      expect(Buffer.from(stream.peek()).toString()).to.equal('llo!');
      expect(stream.atEnd).to.equal(false);
      stream.take(4);
      expect(stream.atEnd).to.equal(true);
    });

    it('fills memory of any length, at any offset, with exactly what was sent', async () => {
      const { stream, peer } = made;
      peer.end(nine);
      const got: Buffer[] = [];
      for (const length of [1, 4095, 16_384, 100_000, 65_536, mebibyte, 3, 2 * mebibyte, 5 * mebibyte, mebibyte]) {
        const memory = new Uint8Array(length + 10).fill(7);
        const count = await stream.fill(memory.subarray(5, 5 + length));
        expect([...memory.subarray(0, 5), ...memory.subarray(5 + length)]).to.deep.equal(new Array(10).fill(7));
        got.push(Buffer.from(memory.subarray(5, 5 + count)));
      }
      expect(Buffer.concat(got).equals(nine)).to.equal(true);
      expect(stream.bytesRead).to.equal(nine.length);
    });

    it('finds the next header behind a payload, whatever the sizes', async () => {
      const { stream, peer } = made;
      for (const size of [0, 1, 16_383, 16_384, 65_535, 65_536, 65_537, 200_000]) {
        const content = bytes(size, size + 1);
        peer.write(Buffer.concat([content, Buffer.from('NEXT')]));
        const memory = new Uint8Array(size);
        expect(await stream.fill(memory)).to.equal(size);
        expect(Buffer.from(memory).equals(content)).to.equal(true);
        while (stream.peek().length < 4) await stream.more();
        expect(Buffer.from(stream.peek()).toString()).to.equal('NEXT');
        stream.take(4);
      }
    });

    it('reads nothing while nobody asks: the peer cannot write more than the system’s buffers take', async () => {
      const { stream, peer } = made;
      peer.write(Buffer.alloc(64 * mebibyte));
      await stream.more();
      await stream.fill(new Uint8Array(mebibyte));
      await sleep(300);
      expect(stream.bytesRead).to.be.at.most(2 * mebibyte);
      expect(peer.bytesWritten - peer.writableLength).to.be.below(64 * mebibyte);
    });

    it('a pending fill ends with what it has when it is interrupted, and nothing is lost', async () => {
      const { stream, peer } = made;
      const memory = new Uint8Array(mebibyte);
      const filling = stream.fill(memory);
      peer.write(bytes(100_000, 4));
      while (stream.bytesRead < 100_000) await sleep(1);
      stream.interrupt();
      const count = await filling;
      const rest = new Uint8Array(100_000 - count + 5);
      peer.write('after');
      expect(await stream.fill(rest)).to.equal(rest.length);
      expect(
        Buffer.concat([memory.subarray(0, count), rest]).equals(
          Buffer.concat([bytes(100_000, 4), Buffer.from('after')]),
        ),
      ).to.equal(true);
      expect([...memory.subarray(count, count + 1000)], 'memory given back is not written to').to.deep.equal(
        new Array(1000).fill(0),
      );
    });

    it('memory that was given back is never written to again', async () => {
      const { stream, peer } = made;
      for (let times = 0; times < 20; times++) {
        const memory = new Uint8Array(100_000);
        const filling = stream.fill(memory);
        peer.write(bytes(50_000, 9));
        await sleep(1);
        stream.interrupt();
        const count = await filling;
        const before = Buffer.from(memory);
        peer.write(bytes(70_000, 5));
        await sleep(2);
        const sink = new Uint8Array(120_000 - count);
        await stream.fill(sink);
        expect(before.equals(memory)).to.equal(true);
      }
    });

    it('a reset while it is filled, or waited for: connection-lost', async () => {
      const { stream } = made;
      const filling = codeOf(stream.fill(new Uint8Array(1000)));
      await sleep(10);
      made.reset();
      expect(await filling).to.equal('connection-lost');
      expect(await codeOf(stream.more())).to.equal('connection-lost');
      expect(await codeOf(stream.write(Buffer.alloc(10)))).to.equal('connection-lost');
    });

    it('FIN in the middle of a fill: what has come, and then the end', async () => {
      const { stream, peer } = made;
      peer.end('abc');
      expect(await stream.fill(new Uint8Array(100))).to.equal(3);
      expect(stream.atEnd).to.equal(true);
      expect(await stream.more()).to.equal(false);
    });

    it('whoever reads when it is destroyed gets the reason', async () => {
      const { stream } = made;
      const reading = codeOf(stream.more());
      stream.destroy(new TransferError('interrupted', 'Interrupted.'));
      expect(await reading).to.equal('interrupted');
    });

    it('stopReading ends reading with its reason, and what is written still goes out', async () => {
      const { stream, peer } = made;
      const reading = codeOf(stream.more());
      stream.stopReading(new TransferError('timeout', 'Too slow.'));
      expect(await reading).to.equal('timeout');
      const heard = new Promise((resolve) => peer.once('data', (piece) => resolve(String(piece))));
      await stream.write(Buffer.from('last '), Buffer.from('words'));
      expect(await heard).to.match(/^last/);
    });

    it('finish sends FIN, and the peer may still speak', async () => {
      const { stream, peer } = made;
      peer.resume();
      const ended = new Promise<void>((resolve) => peer.once('end', () => resolve()));
      await stream.finish();
      await ended;
      peer.end('answer');
      while (await stream.more());
      expect(Buffer.from(stream.peek()).toString()).to.equal('answer');
      await stream.finish();
    });

    it('detached, hands out what was not taken in front of what comes next, and touches it no more', async () => {
      const { stream, peer } = made;
      peer.write('hello');
      while (stream.peek().length < 5) await stream.more();
      stream.take(2);
      const duplex = stream.detach();
      expect(['data', 'end', 'error'].map((event) => duplex.listeners(event).length)).to.have.property('0', 0);
      expect(String(duplex.read())).to.equal('llo');
      expect(stream.peek()).to.have.length(0);
      stream.destroy();
      expect(duplex.destroyed).to.equal(true);
    });

    it('is not detached once the peer has finished, or the connection is lost', async () => {
      const { stream, peer } = made;
      peer.end('bye');
      while (await stream.more());
      expect(() => stream.detach())
        .to.throw(TransferError)
        .with.property('code', 'connection-lost');
      expect(Buffer.from(stream.peek()).toString()).to.equal('bye');
    });
  });
}
