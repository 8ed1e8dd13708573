import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { parseNumbers } from '../../lib/wire/session-list';
import { longestList } from '../../lib/wire/session-message';
import { type Links, links } from './links';

const deadlines = { heartbeat: 50, silence: 300 };

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof TransferError ? error.code : error),
  );
}

describe('a link', () => {
  let made: Links;
  afterEach(() => made.close());

  it('brings messages and their lists in order, and then the end', async () => {
    made = await links(deadlines);
    const { near, far } = made;
    await Promise.all([
      near.send({ type: 'first' }),
      near.sendList({ type: 'second' }, [1, 2, 300]),
      near.send({ type: 'third' }, Buffer.from('payload')),
    ]);
    await near.finish();
    expect(await far.receive()).to.deep.equal({ type: 'first' });
    const second = await far.receive();
    expect(second).to.include({ type: 'second' });
    expect(parseNumbers(await far.receiveList(Number(second?.['list'])))).to.deep.equal([1, 2, 300]);
    expect(await far.receive()).to.deep.equal({ type: 'third' });
    expect(Buffer.from(await far.receiveList(7)).toString()).to.equal('payload');
    expect(await far.receive()).to.equal(undefined);
  });

  it('tells what a message took on the wire', async () => {
    made = await links(deadlines);
    const { near, far } = made;
    const before = near.connection.stream.bytesWritten;
    const took = await near.sendList(
      { type: 'list' },
      Array.from({ length: 1000 }, (_, at) => at),
    );
    expect(near.connection.stream.bytesWritten - before).to.equal(took);
    const header = await near.send({ type: 'payload' }, new Uint8Array(500));
    expect(near.connection.stream.bytesWritten - before).to.equal(took + header + 500);
    await far.receive();
  });

  it('cuts a list that is too long for one message, and loses nothing', async () => {
    made = await links();
    const list = Array.from({ length: 40_000 }, (_, at) => [at, 'x'.repeat(500)]);
    const sent = made.near.sendList({ type: 'list' }, list).then(() => made.near.finish());
    const got: unknown[] = [];
    for (let header = await made.far.receive(); header; header = await made.far.receive()) {
      const length = Number(header['list']);
      expect(length).to.be.at.most(longestList);
      got.push(...(JSON.parse(Buffer.from(await made.far.receiveList(length)).toString()) as unknown[]));
    }
    await sent;
    expect(got.length).to.equal(list.length);
    expect(got).to.deep.equal(list);
  });

  it('stays alive while neither side says anything, and neither hears of that', async () => {
    made = await links(deadlines);
    const [here, there] = [made.near.receive(), made.far.receive()];
    await sleep(3 * deadlines.silence);
    await Promise.all([made.near.send({ type: 'there' }), made.far.send({ type: 'here' })]);
    expect(await here).to.deep.equal({ type: 'here' });
    expect(await there).to.deep.equal({ type: 'there' });
  });

  it('says nothing before its hello, however long that takes, and is kept alive from then on', async () => {
    const patient = { heartbeat: 60_000, silence: 60_000 };
    made = await links(deadlines, patient, false);
    const { near, far } = made;
    await sleep(4 * deadlines.heartbeat);
    expect(near.connection.stream.bytesWritten).to.equal(0);
    await near.send({ type: 'hello' });
    near.greeted();
    for (const type of ['hello', 'heartbeat'])
      expect(await far.connection.readHeader({ silence: 60_000, whole: 60_000 })).to.deep.equal({ type });
  });

  it('says that it is alive once it has said nothing for the time of a heartbeat, and not twice that', async () => {
    made = await links({ heartbeat: 500, silence: 60_000 }, { heartbeat: 60_000, silence: 60_000 });
    await sleep(120);
    await made.near.send({ type: 'x' });
    const began = performance.now();
    const silence = { silence: 60_000, whole: 60_000 };
    expect(await made.far.connection.readHeader(silence)).to.deep.equal({ type: 'x' });
    expect(await made.far.connection.readHeader(silence)).to.deep.equal({ type: 'heartbeat' });
    expect(performance.now() - began).to.be.within(450, 800);
  });

  it('says nothing extra while it says something anyway', async () => {
    made = await links(deadlines, { heartbeat: 60_000, silence: 60_000 });
    const { stream } = made.near.connection;
    let took = 0;
    for (let times = 0; times < 20; times++) {
      took += await made.near.send({ type: 'x' });
      await sleep(15);
    }
    expect(stream.bytesWritten).to.equal(took);
    await sleep(4 * deadlines.heartbeat);
    expect(stream.bytesWritten).to.be.above(took);
  });

  it('to a peer of which nothing comes, not even a heartbeat, ends with timeout', async () => {
    made = await links(deadlines, { heartbeat: 60_000, silence: 60_000 });
    const began = performance.now();
    expect(await codeOf(made.near.receive())).to.equal('timeout');
    expect(performance.now() - began).to.be.within(deadlines.silence - 50, deadlines.silence + 500);
  });

  it('to a peer that stops in the middle of a message ends with timeout', async () => {
    made = await links(deadlines, { heartbeat: 60_000, silence: 60_000 });
    made.sockets.peer.write(Buffer.from([40, 0, 0, 0, 0x7b]));
    expect(await codeOf(made.near.receive())).to.equal('timeout');
    const again = await links(deadlines, { heartbeat: 60_000, silence: 60_000 });
    await again.far.send({ type: 'list', list: 10 }, Buffer.from('[1,'));
    await again.near.receive();
    const began = performance.now();
    expect(await codeOf(again.near.receiveList(10))).to.equal('timeout');
    expect(performance.now() - began).to.be.below(deadlines.silence + 500);
    await again.close();
  });

  it('does not count the time in which we read nothing ourselves', async () => {
    made = await links(deadlines);
    await made.far.send({ type: 'before' });
    await sleep(3 * deadlines.silence);
    expect(await made.near.receive()).to.deep.equal({ type: 'before' });
    await made.far.send({ type: 'after' });
    expect(await made.near.receive()).to.deep.equal({ type: 'after' });
  });

  it('that the peer has left ends with connection-lost, for what is read and what is sent', async () => {
    made = await links(deadlines);
    made.sockets.reset();
    expect(await codeOf(made.near.receive())).to.equal('connection-lost');
    expect(await codeOf(made.near.send({ type: 'x' }))).to.equal('connection-lost');
  });
});
