import { expect } from 'chai';
import { sending } from '../send/source-tree';
import { MiB, noise, Pair } from './pair';

const words = Buffer.alloc(3 * MiB + 17, 'all work and no play makes a dull file, ');
const files = {
  'd/words': words,
  'd/noise': noise(2 * MiB + 5),
  'd/small': Buffer.alloc(60_000, 'small words '),
  'd/empty': '',
};

describe('a session whose contents are compressed', function () {
  this.timeout(60_000);
  let pair: Pair;
  beforeEach(async () => {
    pair = await Pair.make(files);
  });
  afterEach(() => pair.close());

  for (const { compress, most } of [
    { compress: 'on', most: 2.3 * MiB },
    { compress: 'off', most: 6 * MiB },
  ] as const)
    it(`--compress ${compress}: what arrives is what was sent, and what it cost is told`, async () => {
      const { error, result } = await sending({
        paths: [pair.source.at('d')],
        target: pair.ticket,
        compress,
        connections: 2,
        retryFor: 0,
      });
      expect(error?.message).to.equal(undefined);
      for (const [name, content] of Object.entries(files))
        expect((await pair.to.read(name)).equals(Buffer.from(content)), name).to.equal(true);
      const wire = result?.summary.bytes_on_wire ?? 0;
      expect(wire).to.be.within(most - 1.5 * MiB, most);
      const small = result?.files.find(({ file_name: name }) => name === 'd/small');
      if (compress === 'on') expect(small?.bytes_on_wire).to.be.below(5_000);
      else expect(small?.bytes_on_wire).to.be.at.least(60_000);
    });
});
