import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { Waits } from '../../lib/progress';
import { RateLimit } from '../../lib/send/rate-limit';
import { type Carried, Carriers } from '../../lib/send/carriers';
import { type Links, links } from '../session/links';

/** A frame that notes what it is told. */
class Noted implements Carried {
  readonly header: object;
  readonly size: number;
  asked = 0;
  told: string[] = [];

  constructor(
    readonly name: number,
    private readonly bytes: Uint8Array | 'unwanted' = Buffer.alloc(1000, name),
    private readonly heard: () => void = () => undefined,
  ) {
    this.size = bytes.length;
    this.header = { type: 'segment', name, size: this.size };
  }

  readonly payload = (): readonly Uint8Array[] | Promise<undefined> => {
    this.asked++;
    return this.bytes === 'unwanted' ? Promise.resolve(undefined) : [this.bytes];
  };
  readonly sent = (wire: number): void => void this.told.push(wire > 0 ? 'sent' : 'not sent');
  readonly lost = (): void => {
    this.told.push('lost');
    this.heard();
  };
}

describe('the carriers of a session', () => {
  const made: Links[] = [];
  let ended: AbortController;
  let carriers: Carriers;

  beforeEach(() => {
    ended = new AbortController();
    carriers = new Carriers(new RateLimit(Infinity), new Waits(), ended.signal);
  });
  afterEach(async () => {
    ended.abort();
    carriers.close();
    for (const each of made.splice(0)) await each.close();
  });

  const connect = async (): Promise<Links> => {
    const each = await links();
    made.push(each);
    return each;
  };
  /** The names of the frames that come, until the end; `most` leaves the rest unread. */
  const read = async ({ far }: Links, most = Infinity): Promise<number[]> => {
    const names: number[] = [];
    for (let header; names.length < most && (header = await far.receive().catch(() => undefined));) {
      await far.connection.skip(Number(header['size']));
      names.push(Number(header['name']));
    }
    return names;
  };
  const large = Buffer.alloc(4 * 1024 * 1024);

  it('leave a connection on which a frame waits for the limit to whoever ends the conversation', async () => {
    carriers = new Carriers(new RateLimit(1), new Waits(), ended.signal);
    const one = await connect();
    const carrying = carriers.carry(one.near, 0);
    const frames = [new Noted(0), new Noted(1)];
    for (const frame of frames) carriers.push(frame);
    while (frames.some(({ asked }) => asked === 0)) await sleep(1);
    ended.abort();
    carriers.close();
    await carrying;
    await one.near.send({ type: 'last', name: 2, size: 0 });
    await one.near.finish();
    expect((await read(one)).at(-1)).to.equal(2);
  });

  it('share the frames out, each of which goes exactly once', async () => {
    const [one, two] = [await connect(), await connect()];
    const carrying = [carriers.carry(one.near, 0), carriers.carry(two.near, 1)];
    const reading = [read(one), read(two)];
    const frames = Array.from({ length: 200 }, (_, name) => new Noted(name));
    for (const frame of frames) carriers.push(frame);
    while (frames.some(({ told }) => told.length === 0)) await sleep(1);
    carriers.close();
    await Promise.all(carrying);
    for (const { near } of [one, two]) await near.finish();
    const names = (await Promise.all(reading)).flat();
    expect(names.sort((a, b) => a - b)).to.deep.equal(frames.map(({ name }) => name));
    expect(carriers.bytes).to.equal(200 * 1000);
    for (const { told } of frames) expect(told).to.deep.equal(['sent']);
  });

  it('ask for no more than two payloads at once for a connection that takes none', async () => {
    const one = await connect();
    void carriers.carry(one.near, 0);
    const frames = Array.from({ length: 10 }, (_, name) => new Noted(name, large));
    for (const frame of frames) carriers.push(frame);
    await sleep(100);
    expect(frames.filter(({ asked }) => asked > 0).length).to.be.within(1, 3);
    expect(carriers.busy).to.equal(true);
  });

  it('tell of what was lost with a connection, once each, also of what was still being sent, and not of what was taken', async () => {
    const one = await connect();
    const carrying = carriers.carry(one.near, 7);
    const frames = [0, 1, 2, 3, 4].map((name) => new Noted(name, name < 3 ? Buffer.alloc(1000) : large));
    for (const frame of frames) carriers.push(frame);
    expect(await read(one, 2)).to.deep.equal([0, 1]);
    await sleep(50);
    one.sockets.reset();
    await carrying;
    expect(carriers.ended(7)).to.equal(false);
    carriers.taken(7, 2);
    expect(frames.flatMap(({ told }) => told)).not.to.include('lost');
    carriers.forget(7);
    carriers.forget(7);
    expect(frames.map(({ told }) => told.filter((word) => word === 'lost').length)).to.deep.equal([0, 0, 1, 1, 1]);
    expect(frames.map(({ told }) => told.filter((word) => word !== 'lost').length)).to.deep.equal([1, 1, 1, 1, 1]);
    expect(carriers.further).to.equal(0);
  });

  it('send what was lost on another connection', async () => {
    const [one, two] = [await connect(), await connect()];
    const carrying = carriers.carry(one.near, 1);
    const again = new Noted(1);
    carriers.push(new Noted(0, large, () => carriers.push(again)));
    await sleep(30);
    one.sockets.reset();
    await carrying;
    carriers.ended(1);
    carriers.forget(1);
    void carriers.carry(two.near, 2);
    expect(await read(two, 1)).to.deep.equal([1]);
  });

  it('retire the connection with the highest number, which sends what it has, and FIN; never the one of the conversation', async () => {
    const each = [await connect(), await connect()];
    const carrying = each.map(({ near }, number) => carriers.carry(near, number));
    const readings = each.map((one) => read(one));
    const frames = Array.from({ length: 50 }, (_, name) => new Noted(name));
    for (const frame of frames) carriers.push(frame);
    carriers.retire();
    carriers.retire();
    expect(carriers.further).to.equal(0);
    await carrying[1];
    const there = (await readings[1])?.length ?? 0;
    expect(carriers.ended(1)).to.equal(true);
    carriers.taken(1, there);
    carriers.forget(1);
    while (frames.some(({ told }) => told.length === 0)) await sleep(1);
    for (const { told } of frames) expect(told).to.deep.equal(['sent']);
    carriers.push(new Noted(50));
    carriers.close();
    await carrying[0];
    await each[0]?.near.finish();
    expect(((await readings[0])?.length ?? 0) + there).to.be.within(50, 51);
  });

  it('end with what is still to be sent: its memory is free, as is that of what comes later', async () => {
    const frames = [0, 1].map((name) => new Noted(name));
    for (const frame of frames) carriers.push(frame);
    carriers.close();
    const late = new Noted(2);
    carriers.push(late);
    for (const { told } of [...frames, late]) expect(told).to.deep.equal(['not sent']);
    const one = await connect();
    await carriers.carry(one.near, 0);
  });

  it('do not send what is not wanted any more, and wait for no limit once the end has come', async () => {
    const slow = new Carriers(new RateLimit(1), new Waits(), ended.signal);
    const one = await connect();
    const carrying = slow.carry(one.near, 0);
    const frames = [new Noted(0, 'unwanted'), new Noted(1), new Noted(2)];
    for (const frame of frames) slow.push(frame);
    await sleep(30);
    ended.abort();
    slow.close();
    await carrying;
    await one.near.finish();
    expect(await read(one)).to.deep.equal([]);
    expect(frames.map(({ told }) => told.filter((word) => word !== 'lost'))).to.deep.equal([
      ['not sent'],
      ['not sent'],
      ['not sent'],
    ]);
  });

  it('send in order on the connection of the conversation what must not be lost', async () => {
    const [one, two] = [await connect(), await connect()];
    void carriers.carry(one.near, 0);
    void carriers.carry(two.near, 1);
    const reading = read(one, 30);
    for (let name = 0; name < 30; name++) await carriers.sendInOrder(new Noted(name));
    expect(await reading).to.deep.equal(Array.from({ length: 30 }, (_, name) => name));
    carriers.taken(0, 30);
  });

  it('believe no receiver that took more than was sent, or less than before', async () => {
    const one = await connect();
    void carriers.carry(one.near, 0);
    for (let name = 0; name < 3; name++) carriers.push(new Noted(name));
    await read(one, 3);
    carriers.taken(0, 2);
    expect(() => carriers.taken(0, 4))
      .to.throw(TransferError)
      .with.property('code', 'bad-header');
    expect(() => carriers.taken(0, 1))
      .to.throw(TransferError)
      .with.property('code', 'bad-header');
    carriers.taken(0, 3);
    carriers.taken(99, 5);
  });
});
