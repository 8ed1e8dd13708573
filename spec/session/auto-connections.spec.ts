import { expect } from 'chai';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded, withoutSealed } from './pair';

describe('the number of connections that nobody named', () => {
  withoutSealed();
  let pair: Pair;
  const content = noise(80 * MiB);

  beforeEach(async () => {
    pair = await Pair.make({ large: content });
  });
  afterEach(() => pair.close());

  it('grows where each of them is held up by the way', async () => {
    const relay = await pair.relay({ delay: 20 });
    succeeded(await pair.send(['large'], { relay }));
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(relay.lines.length).to.be.at.least(4);
  });

  it('shrinks where more of them brought nothing, and nothing is sent twice for that', async () => {
    const relay = await pair.relay();
    const running = pair.send(['large'], { relay, limit: 14 * MiB });
    let most = 0;
    // Long before the end, when all of them close.
    await relay.until(() => {
      most = Math.max(most, relay.open.length);
      return relay.open.length < most || relay.there >= content.length - 2 * MiB;
    });
    expect(relay.open.length).to.be.below(most);
    succeeded(await running);
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(relay.there).to.be.below(content.length + 2 * MiB);
  });
});
