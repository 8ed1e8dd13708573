import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { ContentCutter, contentSizesOf, type ContentSizes } from '../../lib/wire/content-segments';

const MiB = 1024 * 1024;
const small: ContentSizes = { least: 128, usual: 256, most: 1024 };

/** Behind how many bytes it cuts what comes in these pieces. */
function cutsOf(pieces: readonly Uint8Array[], sizes = small): number[] {
  const cutter = new ContentCutter(sizes);
  let before = 0;
  return pieces.flatMap((piece) => {
    const cuts = cutter.push(piece).map((cut) => before + cut);
    before += piece.length;
    return cuts;
  });
}

const random = (size: number): Buffer => randomFillSync(Buffer.alloc(size));
/** Of few different bytes too, so that nothing depends on how random they are. */
const content = fc.oneof(
  fc.uint8Array({ maxLength: 6000, size: 'max' }),
  fc.array(fc.constantFrom(0, 1, 255), { maxLength: 6000, size: 'max' }).map((bytes) => Uint8Array.from(bytes)),
);

describe('Content-defined segments', () => {
  it('are cut in the same places however the bytes come', () => {
    const property = fc.property(content, fc.array(fc.nat({ max: 6000 }), { maxLength: 30 }), (bytes, at) => {
      const places = [0, ...at.filter((each) => each <= bytes.length).sort((a, b) => a - b), bytes.length];
      expect(cutsOf(places.slice(1).map((end, index) => bytes.subarray(places[index], end)))).to.deep.equal(
        cutsOf([bytes]),
      );
    });
    fc.assert(property, { numRuns: 200 });
    const bytes = random(5000);
    expect(cutsOf(Array.from(bytes, (byte) => Uint8Array.of(byte)))).to.deep.equal(cutsOf([bytes]));
  });

  it('are as long as they may be, all but the last', () => {
    fc.assert(
      fc.property(content, (bytes) => {
        const cuts = cutsOf([bytes]);
        for (const [at, cut] of cuts.entries()) expect(cut - (cuts[at - 1] ?? 0)).to.be.within(small.least, small.most);
        expect(bytes.length - (cuts.at(-1) ?? 0)).to.be.within(0, small.most - 1);
      }),
    );
  });

  it('before a change are the same, and soon behind it again: whatever is inserted, removed or overwritten', () => {
    const bytes = random(200_000);
    const cuts = new Set(cutsOf([bytes]));
    const change = fc.record({
      at: fc.integer({ min: 20_000, max: 100_000 }),
      removed: fc.nat({ max: 20_000 }),
      inserted: fc.uint8Array({ maxLength: 3000, size: 'max' }),
    });
    const property = fc.property(change, ({ at, removed, inserted }) => {
      const shift = inserted.length - removed;
      const changed = cutsOf([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)]);
      const before = [...cuts].filter((cut) => cut <= at);
      expect(changed.slice(0, before.length)).to.deep.equal(before);
      // The places found again, by where they were.
      const behind = changed.map((cut) => cut - shift).filter((cut) => cut > at + removed + 20 * small.most);
      const again = behind.filter((cut) => cuts.has(cut)).length;
      expect(again).to.equal(behind.length).and.above(100);
    });
    fc.assert(property, { numRuns: 60 });
  });

  it('are few enough for a list, however large the file is', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (size) => {
        const { least, usual, most } = contentSizesOf(size);
        expect([least, most]).to.deep.equal([usual / 2, usual * 4]);
        expect(size / usual).to.be.at.most(16384);
        expect(usual === 256 * 1024 || size / usual > 8192).to.equal(true);
      }),
    );
  });

  it('of random bytes are about 300 KiB long in a file of 1 GiB, and hardly ever much longer', () => {
    const bytes = random(48 * MiB);
    const cuts = cutsOf([bytes], contentSizesOf(1024 * MiB));
    const lengths = cuts.map((cut, at) => cut - (cuts[at - 1] ?? 0)).sort((a, b) => a - b);
    expect(bytes.length / cuts.length / 1024).to.be.within(250, 370);
    expect(lengths[Math.floor(lengths.length * 0.95)]).to.be.below(600 * 1024);
  });

  it('are cut in less time than md5 takes', function () {
    this.retries(4);
    // In a process that does not count what was covered, which takes longer than the cutting itself.
    const script = `
      const { ContentCutter, contentSizesOf } = require(${JSON.stringify(require.resolve('../../lib/wire/content-segments'))});
      const { createHash, randomBytes } = require('node:crypto');
      const pieces = Array.from({ length: 64 }, () => randomBytes(${String(MiB)}));
      // Of the processor, which others may keep busy too: the least of several times, in us.
      const leastTime = (work) => Math.min(...Array.from({ length: 6 }, () => {
        const began = process.cpuUsage().user;
        work();
        return process.cpuUsage().user - began;
      }));
      const cutting = leastTime(() => {
        const cutter = new ContentCutter(contentSizesOf(${String(1024 * MiB)}));
        for (const piece of pieces) cutter.push(piece);
      });
      const hashing = leastTime(() => pieces.reduce((hash, piece) => hash.update(piece), createHash('md5')).digest());
      process.stdout.write(String(cutting / hashing));`;
    // Left out, Node would hand it on by itself.
    const env = { ...process.env, NODE_V8_COVERAGE: '' };
    const ratio = Number(
      execFileSync(process.execPath, ['-r', require.resolve('../typescript.js'), '-e', script], {
        env,
        encoding: 'utf8',
      }),
    );
    expect(ratio).to.be.above(0).and.below(1);
  });
});
