import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Waits } from '../../lib/progress';
import { CarriedRate, Compression } from '../../lib/send/compression';
import { MiB, noise } from '../session/pair';

const text = Buffer.alloc(MiB, 'the same words again, and ');

/** Of connections that carry so many bytes per ms, and are full. */
function rateOf(perMs: number): CarriedRate {
  const rate = new CarriedRate();
  rate.perMs = perMs;
  return rate;
}

describe('whether contents are compressed', () => {
  it('auto: where the connections are slow, and not where they are fast', async () => {
    expect(await new Compression('br', 'auto', rateOf(1e6), new Waits()).code(text)).to.equal(undefined);
    const coded = await new Compression('br', 'auto', rateOf(1000), new Waits()).code(text);
    expect(coded?.coded).to.deep.equal({ coding: 'br', coded: coded?.bytes.length });
    expect(coded?.bytes.length).to.be.below(MiB / 100);
  });

  it('auto: before the connections were full for once, the first 16 MiB of what becomes shorter', async () => {
    const waits = new Waits();
    const compression = new Compression('br', 'auto', rateOf(Infinity), waits);
    expect(await compression.code(noise(MiB))).to.equal(undefined);
    expect(waits.spent.compress, 'a sample tells that it does not become shorter').to.equal(0);
    for (let piece = 1; piece < 16; piece++)
      expect(await compression.code(text), String(piece)).to.not.equal(undefined);
    expect(await compression.code(text)).to.equal(undefined);
  });

  it('on: whatever the connections carry, but for what does not become shorter', async () => {
    const compression = new Compression('br', 'on', rateOf(Infinity), new Waits());
    expect((await compression.code(text))?.bytes.length).to.be.below(MiB / 100);
    expect(await compression.code(noise(MiB))).to.equal(undefined);
    expect((await compression.code(text))?.bytes.length).to.be.below(MiB / 100);
  });

  it('auto: of what does not become shorter there are samples, and those ever less', async () => {
    const waits = new Waits();
    const compression = new Compression('br', 'auto', rateOf(1), waits);
    for (let piece = 0; piece < 200; piece++) expect(await compression.code(noise(64 * 1024))).to.equal(undefined);
    expect(waits.spent.compress, 'none was coded as a whole').to.equal(0);
    let passed = 0;
    while (!(await compression.code(text))) expect(passed++).to.be.below(33);
    expect(await compression.code(text), 'what becomes shorter is coded from then on').to.not.equal(undefined);
  });

  it('auto: where the sample alone becomes shorter, contents are tried ever less', async () => {
    const waits = new Waits();
    const compression = new Compression('br', 'auto', rateOf(1), waits);
    const content = Buffer.concat([text.subarray(0, 64 * 1024), noise(MiB)]);
    let tried = 0;
    for (let piece = 0; piece < 200; piece++) {
      const before = waits.spent.compress;
      expect(await compression.code(content)).to.equal(undefined);
      if (waits.spent.compress > before) tried++;
    }
    expect(tried).to.be.within(5, 14);
  });

  it('what connections carry is measured while they are full, and is at least what they carried', async () => {
    const rate = new CarriedRate();
    for (let frame = 0; frame < 30; frame++) {
      rate.begins();
      await sleep(10);
      rate.ends(10_000);
    }
    expect(rate.perMs).to.be.above(0).and.below(1050);
    const full = rate.perMs;
    for (let frame = 0; frame < 30; frame++) {
      rate.begins();
      rate.ends(20_000);
      await sleep(10);
    }
    expect(rate.perMs, 'they were not full').to.be.at.least(full).and.below(Infinity);
  });

  it('two at once, and whoever waits for that gets its turn', async () => {
    const compression = new Compression('br', 'on', rateOf(1), new Waits());
    const coded = await Promise.all(Array.from({ length: 9 }, () => compression.code(text)));
    expect(coded.every((each) => each !== undefined && each.bytes.length < MiB / 100)).to.equal(true);
  });
});
