import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded, warningsDuring, withoutSealed } from './pair';

describe('the connections of a session', () => {
  withoutSealed();
  let pair: Pair;
  const size = 32 * MiB + 321;
  const content = noise(size);
  const small = Object.fromEntries(
    Array.from({ length: 300 }, (_, at) => [`tree/${String(at)}`, noise(3000 + at, at)]),
  );
  const smallSum = Object.values(small).reduce((sum, { length }) => sum + length, 0);

  beforeEach(async () => {
    pair = await Pair.make({ large: content, beside: noise(3 * MiB), ...small });
  });
  afterEach(() => pair.close());

  const expectAll = async (): Promise<void> => {
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    for (const [name, bytes] of Object.entries(small)) expect(await pair.to.read(name), name).to.deep.equal(bytes);
  };

  for (const connections of [1, 4, 16]) {
    it(`are ${String(connections)}: the same bytes arrive, each of them once, and nobody is warned of anything`, async () => {
      const relay = await pair.relay();
      const { signal } = new AbortController();
      const warnings = await warningsDuring(async () => {
        succeeded(await pair.send(['large', 'tree'], { relay, connections, signal }));
      });
      expect(warnings).to.deep.equal([]);
      await expectAll();
      expect(relay.lines).to.have.lengthOf(connections);
      expect(relay.there).to.be.within(size + smallSum, size + smallSum + 4 * MiB);
      // Those that were dialed carried something, as far as there was still anything to carry.
      if (connections === 4) expect(relay.lines.filter(({ bytes }) => bytes.there > MiB)).to.have.lengthOf(4);
    });
  }

  for (const how of ['reset', 'end'] as const) {
    it(`are 4, one of which is lost in the middle by a ${how}: another one takes its place, and only what was underway goes again`, async () => {
      const relay = await pair.relay();
      // So slow that little is underway where a busy receiver says late what it has taken.
      const running = pair.send(['large', 'tree'], { relay, connections: 4, limit: 20 * MiB });
      await relay.until(() => relay.lines.length === 4 && (relay.lines[2]?.bytes.there ?? 0) > 6 * MiB);
      relay.lines[2]?.cut(how);
      succeeded(await running);
      await expectAll();
      expect(relay.lines.length).to.equal(5);
      expect(relay.lines[4]?.bytes.there).to.be.above(0);
      expect(relay.there).to.be.below(size + smallSum + 4 * MiB);
    });
  }

  it('that die again and again are made again, but not without a pause', async () => {
    const relay = await pair.relay();
    const running = pair.send(['large'], { relay, connections: 2, limit: 16 * MiB });
    let cut = 0;
    const cutting = (async () => {
      for (let next = 1; next < 60; next++) {
        await relay.until(() => relay.lines.length > next && (relay.lines[next]?.bytes.there ?? 0) > 2000);
        relay.lines[next]?.cut();
        cut = next;
      }
    })();
    succeeded(await running);
    void cutting.catch(() => undefined);
    expect(cut).to.be.within(2, 7);
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(relay.there).to.be.below(size + 16 * MiB);
  });

  it('are told of by what went over them, and not by what was read ahead of them', async () => {
    const { heard } = await pair.send(['beside'], { connections: 2, limit: 3 * MiB });
    const told = heard.all('progress').filter(({ phase }) => phase === 'send');
    expect(told.length).to.be.above(2);
    expect(told[0]?.done).to.be.below(3 * MiB);
    expect(told.map(({ done }) => done)).to.deep.equal(told.map(({ done }) => done).sort((a, b) => a - b));
  });

  it('keep a limit together, within a fifth', async () => {
    const limit = 16 * MiB;
    const relay = await pair.relay();
    const began = performance.now();
    const running = pair.send(['large'], { relay, connections: 4, limit });
    await relay.until(() => relay.there > 4 * MiB);
    const first = { bytes: relay.there, at: performance.now() };
    await relay.until(() => relay.there > 24 * MiB);
    const rate = (relay.there - first.bytes) / ((performance.now() - first.at) / 1000);
    expect(rate).to.be.within(limit * 0.8, limit * 1.2);
    succeeded(await running);
    expect((performance.now() - began) / 1000).to.be.above((size / limit) * 0.8);
  });

  it('that are held up by the limit end at once when it is interrupted', async () => {
    const abort = new AbortController();
    const running = pair.send(['large'], { connections: 16, limit: 100_000, signal: abort.signal });
    await pair.to.heard.first('started');
    await sleep(300);
    const began = performance.now();
    abort.abort();
    const { error, heard } = await running;
    expect(performance.now() - began).to.be.below(1000);
    expect(error?.code).to.equal('interrupted');
    expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['interrupted']);
    expect(heard.events.at(-1)?.event).to.equal('summary');
  });
});
