import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded } from './pair';
import type { Relay } from './relay';

describe('a session whose network goes away', () => {
  let pair: Pair;
  let relay: Relay;
  const size = 48 * MiB + 77;
  const content = noise(size);

  beforeEach(async () => {
    pair = await Pair.make({ large: content, 'small/1': 'one', 'small/2': 'two' });
    relay = await pair.relay();
  });
  afterEach(() => pair.close());

  const arrived = async (): Promise<void> => {
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect((await pair.to.read('small/2')).toString()).to.equal('two');
  };

  for (const connections of [1, 4]) {
    it(`goes on by itself when all of its ${String(connections)} connections are cut, without sending again what is on the disk`, async () => {
      const running = pair.send(['large', 'small'], { relay, connections, limit: 40 * MiB });
      await relay.until(() => relay.there > 30 * MiB);
      relay.cutAll();
      const before = relay.there;
      succeeded(await running);
      await arrived();
      // What lay in the buffers of the cut connections comes again, and no more.
      expect(relay.there - before).to.be.below(size - before + 16 * MiB);
      expect(pair.to.heard.all('received').filter(({ file_name: name }) => name === 'large')).to.have.lengthOf(1);
    });
  }

  it('goes on when it is back within the time to retry', async () => {
    const running = pair.send(['large', 'small'], { relay, connections: 2, limit: 40 * MiB, retryFor: 10_000 });
    await relay.until(() => relay.there > 20 * MiB);
    await relay.fall();
    await sleep(2000);
    await relay.accept();
    succeeded(await running);
    await arrived();
    expect(relay.there).to.be.below(size + 10 * MiB);
  });

  it('fails with connection-lost when it is not back within the time to retry; the same again goes on where it was', async () => {
    const running = pair.send(['large', 'small'], { relay, limit: 40 * MiB, retryFor: 1000 });
    await relay.until(() => relay.there > 30 * MiB);
    await relay.fall();
    const began = performance.now();
    const { error, heard } = await running;
    expect(error?.code).to.equal('connection-lost');
    expect(performance.now() - began).to.be.within(900, 2000);
    expect(heard.events.at(-1)?.event).to.equal('summary');
    await relay.accept();
    const before = relay.there;
    succeeded(await pair.send(['large', 'small'], { relay }));
    await arrived();
    expect(relay.there - before).to.be.below(size - 20 * MiB);
  });

  it('fails at once when nobody could be reached at all', async () => {
    await relay.refuse();
    const began = performance.now();
    const { error, failed } = await pair.send(['large'], { relay });
    expect(error?.code).to.equal('cannot-connect');
    expect(failed).to.deep.equal(['cannot-connect']);
    expect(performance.now() - began).to.be.below(1000);
  });

  it('fails at once when somebody answers who is no receiver', async () => {
    const began = performance.now();
    const { error } = await pair.send(['large'], {
      target: relay.through(pair.ticket).replace(/[^/]*$/, (token) => token.split('').reverse().join('')),
    });
    expect(error?.code).to.be.oneOf(['not-authorized', 'usage']);
    expect(performance.now() - began).to.be.below(1000);
  });

  it('ends at once when it is interrupted while it waits for the network', async () => {
    const abort = new AbortController();
    const running = pair.send(['large'], { relay, limit: 40 * MiB, signal: abort.signal });
    await relay.until(() => relay.there > 10 * MiB);
    await relay.fall();
    await sleep(750);
    const began = performance.now();
    abort.abort();
    const { error } = await running;
    expect(error?.code).to.equal('interrupted');
    expect(performance.now() - began).to.be.below(300);
  });

  it('an interrupted one is resumed by starting it again', async () => {
    const abort = new AbortController();
    const running = pair.send(['large'], { relay, connections: 3, limit: 60 * MiB, signal: abort.signal });
    await relay.until(() => relay.there > 30 * MiB);
    abort.abort();
    expect((await running).error?.code).to.equal('interrupted');
    const before = relay.there;
    const { files } = succeeded(await pair.send(['large'], { relay, connections: 3 }));
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(relay.there - before).to.be.below(size - 18 * MiB);
    expect(files[0]?.bytes_on_wire).to.be.below(size - 18 * MiB);
  });
});
