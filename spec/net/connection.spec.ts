import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Connection, type HeaderDeadlines } from '../../lib/net/connection';
import { TransferError } from '../../lib/errors';
import { encodeFrame } from '../../lib/wire/frame';
import { bytes } from '../send/source-tree';
import { type Pair, pair } from './pair';

const patient: HeaderDeadlines = { silence: null, whole: 5000 };
const mebibyte = 1024 * 1024;

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof TransferError ? error.code : error),
  );
}

describe('a connection', () => {
  let made: Pair;
  let connection: Connection;
  beforeEach(async () => {
    made = await pair('accepted');
    connection = new Connection(made.stream, 'the peer', 300);
  });
  afterEach(() => made.close());

  it('reads header and payload in turn, however they are cut, and then the end', async () => {
    const frame = (at: number): Buffer => Buffer.concat([encodeFrame({ at }), bytes(at * 1000, at)]);
    for (const at of [0, 1, 2, 300]) made.peer.write(frame(at));
    made.peer.end();
    for (const at of [0, 1, 2, 300]) {
      expect(await connection.readHeader(patient)).to.deep.equal({ at });
      const payload = new Uint8Array(at * 1000);
      expect(await connection.fill(payload)).to.equal(payload.length);
      expect(Buffer.from(payload).equals(bytes(at * 1000, at))).to.equal(true);
    }
    expect(await connection.readHeader(patient)).to.equal(undefined);
    expect(connection.consumed).to.equal([0, 1, 2, 300].reduce((sum, at) => sum + frame(at).length, 0));
  });

  it('skips a payload that nobody wants, and finds the next header', async () => {
    made.peer.write(Buffer.concat([encodeFrame({ first: true }), bytes(3 * mebibyte), encodeFrame({ second: true })]));
    await connection.readHeader(patient);
    await connection.skip(3 * mebibyte);
    expect(await connection.readHeader(patient)).to.deep.equal({ second: true });
  });

  for (const [deadlines, when, send] of [
    [{ silence: 200, whole: 5000 }, 'nothing arrives', []],
    [{ silence: 5000, whole: 200 }, 'a header stops', [Buffer.from([9, 0, 0])]],
    [{ silence: 0, whole: 200 }, 'nothing arrives and the whole counts from now', []],
    [{ silence: 0, whole: 200 }, 'a header stops and the whole counts from now', [Buffer.from([9])]],
    [{ silence: null, whole: 200 }, 'a header stops', [Buffer.from([9, 0, 0, 0, 0x7b])]],
  ] as const) {
    it(`times out when ${when} (${JSON.stringify(deadlines)})`, async () => {
      for (const piece of send) made.peer.write(piece);
      const began = performance.now();
      expect(await codeOf(connection.readHeader(deadlines))).to.equal('timeout');
      expect(performance.now() - began).to.be.within(150, 1000);
    });
  }

  it('where the whole counts from now, the first byte does not begin it anew', async () => {
    setTimeout(() => made.peer.write(Buffer.from([9])), 200);
    const began = performance.now();
    expect(await codeOf(connection.readHeader({ silence: 0, whole: 300 }))).to.equal('timeout');
    expect(performance.now() - began).to.be.below(450);
  });

  it('a header that keeps dribbling does not move its deadline', async () => {
    const frame = encodeFrame({ long: 'x'.repeat(100) });
    let at = 0;
    const dribbling = setInterval(() => made.peer.write(frame.subarray(at, ++at)), 20);
    expect(await codeOf(connection.readHeader({ silence: 5000, whole: 200 }))).to.equal('timeout');
    clearInterval(dribbling);
  });

  it('a deadline of null never ends the wait', async () => {
    const reading = connection.readHeader({ silence: null, whole: 50 });
    await sleep(400);
    made.peer.write(encodeFrame({ late: true }));
    expect(await reading).to.deep.equal({ late: true });
  });

  it('after a timeout our last word still goes out', async () => {
    const heard: Buffer[] = [];
    made.peer.on('data', (piece) => heard.push(piece));
    await codeOf(connection.readHeader({ silence: 50, whole: 50 }));
    await connection.send({ type: 'refusal' });
    await connection.linger();
    while (heard.length === 0) await sleep(1);
    expect(Buffer.concat(heard).equals(encodeFrame({ type: 'refusal' }))).to.equal(true);
  });

  it('bad-frame for what is no frame, and for FIN in the middle of one', async () => {
    made.peer.write('GET / HTTP/1.1\r\n');
    expect(await codeOf(connection.readHeader(patient))).to.equal('bad-frame');
    const other = await pair('accepted');
    other.peer.end(Buffer.from([5, 0]));
    expect(await codeOf(new Connection(other.stream, 'other').readHeader(patient))).to.equal('bad-frame');
    await other.close();
  });

  it('a payload: connection-lost when the peer finishes in it, timeout when it stops, and that is the reason from then on', async () => {
    const filling = codeOf(connection.fill(new Uint8Array(1000)));
    made.peer.write('half');
    expect(await filling).to.equal('timeout');
    expect(connection.failure?.code).to.equal('timeout');
    expect(await codeOf(connection.fill(new Uint8Array(1000)))).to.equal('timeout');
    const other = await pair('accepted');
    const cut = new Connection(other.stream, 'other');
    other.peer.end('half');
    expect(await codeOf(cut.fill(new Uint8Array(1000)))).to.equal('connection-lost');
    expect(cut.failure?.code).to.equal('connection-lost');
    await other.close();
  });

  it('a slow peer is asked to hurry: fill gives back what it has, and arrival waits for more', async () => {
    made.peer.write('some');
    const memory = new Uint8Array(1000);
    const count = await connection.fill(memory, () => true);
    expect(Buffer.from(memory.subarray(0, count)).toString()).to.equal('some');
    const arrival = connection.arrival();
    setTimeout(() => made.peer.write('more'), 100);
    await arrival;
    expect(await connection.fill(memory.subarray(0, 4))).to.equal(4);
    expect(Buffer.from(memory.subarray(0, 4)).toString()).to.equal('more');
  });

  it('arrival: rejects like fill', async () => {
    expect(await codeOf(connection.arrival())).to.equal('timeout');
    const other = await pair('accepted');
    other.peer.end();
    expect(await codeOf(new Connection(other.stream, 'other').arrival())).to.equal('connection-lost');
    await other.close();
  });

  it('sends headers that a peer understands, and gives up one that reads nothing', async () => {
    made.peer.pause();
    const long = { text: 'x'.repeat(60_000) };
    const end = await (async () => {
      for (let times = 0; times < 10_000; times++) await connection.send(long);
    })().catch((error: unknown) => error);
    expect(end).to.be.instanceOf(TransferError);
    expect(connection.failure?.code).to.equal('timeout');
    expect(made.stream.closed).to.equal(true);
  });

  it('linger: what was sent last arrives although the peer goes on sending', async () => {
    const heard: Buffer[] = [];
    let broken: Error | undefined;
    made.peer.on('data', (piece) => heard.push(piece)).on('error', (error) => (broken = error));
    const flooding = setInterval(() => made.peer.writable && made.peer.write(Buffer.alloc(10_000)), 5);
    await connection.send({ type: 'refusal', code: 'size' });
    const began = performance.now();
    await connection.linger();
    expect(performance.now() - began).to.be.below(1500);
    clearInterval(flooding);
    expect(Buffer.concat(heard).equals(encodeFrame({ type: 'refusal', code: 'size' }))).to.equal(true);
    expect([undefined, 'ECONNRESET', 'EPIPE']).to.include((broken as NodeJS.ErrnoException | undefined)?.code);
  });

  it('the first reason for the end stays', async () => {
    const reading = codeOf(connection.readHeader(patient));
    connection.close(new TransferError('interrupted', 'First.'));
    connection.close(new TransferError('timeout', 'Second.'));
    expect(await reading).to.equal('interrupted');
    expect(connection.failure?.message).to.equal('First.');
  });

  it('stopReading: whoever reads gets the reason, what is written goes out', async () => {
    const reading = codeOf(connection.fill(new Uint8Array(10)));
    connection.stopReading(new TransferError('interrupted', 'Stopped.'));
    expect(await reading).to.equal('interrupted');
    const heard = new Promise((resolve) => made.peer.once('data', (piece) => resolve(piece.length)));
    await connection.send({});
    expect(await heard).to.equal(6);
  });
});
