import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { expect } from 'chai';
import { sendToSeveral, type SendToSeveralOptions, TransferError } from '../../lib/index';
import { Heard, ReceiveDirectory } from '../receive/receive-directory';
import { SourceTree } from '../send/source-tree';
import { digestOf, MiB, noise } from './pair';
import { Relay } from './relay';

describe('a transfer to several receivers', () => {
  const large = noise(24 * MiB);
  let source: SourceTree;
  let receivers: ReceiveDirectory[];
  let relays: Relay[];
  /** Events of each receiver by its place. */
  let heards: Heard[];
  const whole = new Heard();

  before(async () => {
    source = await SourceTree.make({ large, 'tree/second': noise(3 * MiB, 2), 'tree/empty': '' });
    for (let at = 0; at < 300; at++) await source.write(`tree/small/${String(at)}`, `small ${String(at)}`);
  });
  after(() => source.remove());
  beforeEach(() => {
    [receivers, relays] = [[], []];
  });
  afterEach(async () => {
    for (const relay of relays) await relay.close();
    for (const receiver of receivers) await receiver.close();
  });

  async function open(...options: Parameters<typeof ReceiveDirectory.open>[0][]): Promise<void> {
    receivers = await Promise.all(options.map((each) => ReceiveDirectory.open(each)));
  }

  /** Sends to all of them, to those at some places through relays. */
  async function sending(
    names: readonly string[],
    options: Partial<SendToSeveralOptions> = {},
    through: Readonly<Record<number, Relay>> = {},
  ): Promise<TransferError | undefined> {
    heards = receivers.map(() => new Heard());
    return sendToSeveral({
      paths: names.map((name) => (name === '-' ? name : source.at(name))),
      receivers: receivers.map(({ ticket }, at) => ({
        name: String(at),
        target: through[at]?.through(ticket) ?? ticket,
      })),
      retryFor: 0,
      on: ({ receiver, ...event }) => (receiver === undefined ? whole : heards[Number(receiver)])?.on(event),
      ...options,
    }).then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof TransferError) return error;
        throw error;
      },
    );
  }

  const codesOf = (at: number): string[] => heards[at]?.all('failed').map(({ code }) => code) ?? [];
  const has = async (at: number, name: string): Promise<boolean> =>
    digestOf((await receivers[at]?.read(name)) ?? Buffer.alloc(0)) ===
    digestOf(name === 'large' ? large : await content(name));
  const content = (name: string): Promise<Buffer> => readFile(source.at(name));

  it('brings trees, words and standard input to each, with receipts, a summary each and one of all', async () => {
    await open({}, {}, {});
    const error = await sending(['tree', '-'], {
      input: Readable.from([large.subarray(0, MiB), large.subarray(MiB, 2 * MiB + 5)]),
      inputName: 'spooled',
      text: 'words',
    });
    expect(error).to.equal(undefined);
    for (const [at, receiver] of receivers.entries()) {
      expect(Object.keys(await receiver.content()).filter((name) => /small\/\d/.test(name))).to.have.length(300);
      expect(digestOf(await receiver.read('spooled'))).to.equal(digestOf(large.subarray(0, 2 * MiB + 5)));
      expect(await has(at, 'tree/second')).to.equal(true);
      expect(heards[at]?.all('sent')).to.have.length(303);
      expect(heards[at]?.all('summary')[0]?.files).to.equal(303);
      expect(receiver.heard.all('text')[0]?.text).to.equal('words');
    }
    const { receivers: count, failed_receivers: failed, files } = whole.all('summary').at(-1) ?? {};
    expect([count, failed, files]).to.deep.equal([3, 0, 909]);
  });

  it('does not wait for one that takes nothing any more, which goes on later', async () => {
    await open({}, {}, {});
    const slow = await Relay.to(receivers[1]?.port ?? 0);
    relays.push(slow);
    slow.onLine = (line, number) => {
      if (number === 0) line.set({ direction: 'there', at: 2 * MiB, what: 'swallow' });
    };
    const running = sending(['large'], { retryFor: 60_000 }, { 1: slow });
    await Promise.all([heards[0]?.first('sent'), heards[2]?.first('sent')]);
    expect(heards[1]?.all('sent')).to.deep.equal([]);
    for (const line of slow.open) line.cut();
    expect(await running).to.equal(undefined);
    for (const at of receivers.keys()) expect(await has(at, 'large')).to.equal(true);
  });

  it('goes on with the others when one is killed, one refuses, one is full and one is not there', async () => {
    await open({}, {}, {}, { quota: MiB }, {}, {});
    await source.write('other/large', 'something else');
    const refusing = receivers[2];
    const earlier = await sendToSeveral({
      paths: [source.at('other/large')],
      receivers: [{ name: 'refusing', target: refusing?.ticket ?? '' }],
    });
    expect(earlier[0]?.failure).to.equal(undefined);
    await receivers[5]?.receiver.close({ now: true });
    const dying = await Relay.to(receivers[1]?.port ?? 0);
    relays.push(dying);
    dying.onLine = (line) => line.set({ direction: 'there', at: 5 * MiB, what: 'reset' });
    const error = await sending(['large'], {}, { 1: dying });
    expect([error?.code, error?.message]).to.deep.equal(['some-failed', '4 of 6 receivers did not get everything.']);
    expect([0, 1, 2, 3, 4, 5].map(codesOf)).to.deep.equal([
      [],
      ['connection-lost'],
      ['exists'],
      ['quota'],
      [],
      ['cannot-connect'],
    ]);
    for (const at of [0, 4]) expect(await has(at, 'large')).to.equal(true);
  });

  it('fails with the code that all have in common', async () => {
    await open({ quota: MiB }, { quota: MiB });
    expect((await sending(['large']))?.code).to.equal('quota');
  });

  it('stops all of them at once, and goes on where each was with the same command', async () => {
    await open({}, {}, {});
    const stop = new AbortController();
    relays = await Promise.all(receivers.map(({ port }) => Relay.to(port, { delay: 20, window: MiB })));
    const through = { ...relays };
    const running = sending(['large'], { signal: stop.signal }, through);
    await Promise.all(relays.map((relay) => relay.until(() => relay.there > 8 * MiB)));
    stop.abort();
    expect((await running)?.code).to.equal('interrupted');
    for (const each of heards) expect(each.all('summary')).to.have.length(1);
    expect(await sending(['large'])).to.equal(undefined);
    for (const at of receivers.keys()) {
      expect(heards[at]?.all('started')[0]?.resumed).to.be.greaterThan(MiB);
      expect(await has(at, 'large')).to.equal(true);
    }
  });

  it('tells each that the source has changed', async () => {
    await open({}, {});
    await source.write('changing', noise(20 * MiB, 7));
    relays = await Promise.all(receivers.map(({ port }) => Relay.to(port, { delay: 10, window: MiB })));
    const running = sending(['changing'], { connections: 1 }, { ...relays });
    await relays[0]?.until(() => (relays[0]?.there ?? 0) > MiB);
    await source.write('changing', noise(20 * MiB, 8));
    expect((await running)?.code).to.equal('source-changed');
    expect([codesOf(0), codesOf(1)]).to.deep.equal([['source-changed'], ['source-changed']]);
  });

  it('takes no target of the plain wire, and none twice', async () => {
    await open({});
    const [{ ticket = '', target = '' } = {}] = receivers;
    const refused = (...named: string[]): Promise<string | undefined> =>
      sendToSeveral({
        paths: [source.at('large')],
        receivers: named.map((target, at) => ({ name: String(at), target })),
      }).then(
        () => undefined,
        (error: unknown) => (error instanceof TransferError ? `${error.code} ${error.message}` : String(error)),
      );
    expect(await refused(ticket, target)).to.equal('usage The plain wire has one receiver.');
    expect(await refused(ticket, ticket)).to.equal('usage 1 is named twice.');
  });
});
