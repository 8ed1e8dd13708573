import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded } from './pair';

/** The most memory that this process had while `work` ran, beyond what it has after it, in bytes. */
async function peakDuring(work: () => Promise<unknown>): Promise<number> {
  const before = process.memoryUsage().rss;
  let peak = 0;
  const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 20);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return peak - before;
}

describe('the memory of a session, both sides of it in one process', () => {
  let pair: Pair;
  const content = noise(192 * MiB);

  before(async () => {
    pair = await Pair.make({ large: content, first: noise(20 * MiB) });
    // What threads and compiled code take is not what is looked for.
    succeeded(await pair.send(['first'], { connections: 4 }));
  });
  after(() => pair.close());

  it('does not grow with the file, nor with sixteen connections that take nothing for a while and then die', async () => {
    const relay = await pair.relay();
    const peak = await peakDuring(async () => {
      const running = pair.send(['large'], { relay, connections: 16 });
      for (const times of [1, 2, 3]) {
        await relay.until(() => relay.there > times * 40 * MiB);
        const lines = relay.open.slice(1);
        for (const line of lines) line.swallow('there');
        await sleep(300);
        for (const line of lines) line.cut();
      }
      succeeded(await running);
    });
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(peak / MiB).to.be.below(160);
  });
});
