import { expect } from 'chai';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded } from './pair';

describe('the number of connections that nobody named', () => {
  let pair: Pair;
  const content = noise(80 * MiB);

  beforeEach(async () => {
    pair = await Pair.make({ large: content });
  });
  afterEach(() => pair.close());

  it('is one where all is over before anything could be measured', async () => {
    const relay = await pair.relay();
    succeeded(await pair.send(['large'], { relay }));
    expect(relay.lines).to.have.lengthOf(1);
  });

  it('grows where each of them is held up by the way', async () => {
    const relay = await pair.relay({ delay: 20 });
    const began = performance.now();
    succeeded(await pair.send(['large'], { relay }));
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(relay.lines.length).to.be.at.least(4);
    // One could carry 12.8 MB a second.
    expect((performance.now() - began) / 1000).to.be.below(content.length / 12.8e6 - 1);
  }).timeout(20_000);

  it('is one again where a second one brought nothing, and nothing is sent twice for that', async () => {
    const relay = await pair.relay();
    const running = pair.send(['large'], { relay, limit: 18 * MiB });
    await relay.until(() => relay.lines.length === 2);
    await relay.until(() => relay.there > 70 * MiB);
    expect(relay.open).to.have.lengthOf(1);
    succeeded(await running);
    expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
    expect(relay.lines).to.have.lengthOf(2);
    expect(relay.there).to.be.below(content.length + MiB);
  });
});
