import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { Coverage, mostSegments, pieceSize, segmentCountOf, segmentSizeOf } from '../../lib/wire/segment';

const anySize = fc.oneof(
  fc.nat({ max: 40 * pieceSize }),
  fc.maxSafeNat(),
  fc.nat({ max: 90 }).map((gigabytes) => gigabytes * 1024 ** 3 + 1),
);

describe('segmentSizeOf', () => {
  it('is the smallest power of two from 1 MiB on with which no file has more than 65536 segments', () => {
    const smallest = fc.property(anySize, (size) => {
      const segment = segmentSizeOf(size);
      expect(segment / pieceSize).to.satisfy((ratio: number) => Number.isInteger(Math.log2(ratio)));
      expect(segment * mostSegments).to.be.at.least(size);
      if (segment > pieceSize) expect((segment / 2) * mostSegments).to.be.below(size);
    });
    fc.assert(smallest, { numRuns: 1000 });
  });

  it('makes segments of which only the last one is shorter, and none is empty', () => {
    const exact = fc.property(anySize, (size) => {
      const count = segmentCountOf(size);
      expect(count).to.be.at.most(mostSegments);
      expect(count * segmentSizeOf(size)).to.be.at.least(size);
      if (size > 0) expect((count - 1) * segmentSizeOf(size)).to.be.below(size);
      else expect(count).to.equal(0);
    });
    fc.assert(exact, { numRuns: 1000 });
  });
});

describe('Coverage', () => {
  /** A file, and runs of its pieces: sizes around the ends of bytes, of pieces and of segments of several pieces. */
  const file = fc.record({
    size: fc.oneof(
      fc.nat({ max: 20 * pieceSize }),
      fc
        .tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: -1, max: 1 }))
        .map(([pieces, more]) => Math.max(0, pieces * pieceSize + more)),
      fc.nat({ max: 20 }).map((pieces) => 64 * 1024 ** 3 + pieces * pieceSize + 7),
    ),
    runs: fc.array(fc.record({ first: fc.nat({ max: 65_560 }), count: fc.integer({ min: 1, max: 9 }) }), {
      maxLength: 30,
    }),
  });

  it('says at all times what a set of pieces would say', function () {
    this.timeout(20_000);
    const alike = fc.property(file, ({ size, runs }) => {
      const coverage = new Coverage(size);
      const model = new Set<number>();
      const count = Math.ceil(size / pieceSize);
      for (const run of runs) {
        if (count === 0) break;
        const first = run.first % count;
        const end = Math.min(count, first + run.count);
        const before = model.size;
        for (let piece = first; piece < end; piece++) model.add(piece);
        const fresh = coverage.add(first * pieceSize, Math.min(size, end * pieceSize) - first * pieceSize);
        expect(fresh).to.equal(model.size - before);
        expect(coverage.covered).to.equal(model.size);
        expect(coverage.has(first)).to.equal(true);
      }
      expect(coverage.whole).to.equal(model.size === count);
      let gap = 0;
      while (model.has(gap)) gap++;
      expect(coverage.prefix).to.equal(Math.min(size, gap * pieceSize));
      const perSegment = segmentSizeOf(size) / pieceSize;
      const whole = [...new Set([...model].map((piece) => Math.floor(piece / perSegment)))].filter((segment) => {
        for (let piece = segment * perSegment; piece < Math.min(count, (segment + 1) * perSegment); piece++)
          if (!model.has(piece)) return false;
        return true;
      });
      expect(coverage.segments()).to.deep.equal(whole.sort((one, other) => one - other));
    });
    fc.assert(alike, { numRuns: 200 });
  });

  it('refuses what is no whole piece, and is as it was before', () => {
    const size = 5 * pieceSize + 100;
    const place = fc.oneof(
      fc.nat({ max: 8 }).map((piece) => piece * pieceSize),
      fc.nat({ max: 8 * pieceSize }),
    );
    const none = fc.property(place, place, (offset, length) => {
      const end = offset + length;
      fc.pre(offset % pieceSize !== 0 || end > size || (end % pieceSize !== 0 && end !== size));
      const coverage = new Coverage(size);
      coverage.add(pieceSize, pieceSize);
      expect(() => coverage.add(offset, length))
        .to.throw(TransferError)
        .with.property('code', 'bad-header');
      expect(coverage.covered).to.equal(1);
      expect(coverage.segments()).to.deep.equal([1]);
    });
    fc.assert(none, { numRuns: 300 });
  });

  it('of an empty file is whole from the beginning', () => {
    const coverage = new Coverage(0);
    expect([coverage.whole, coverage.prefix, coverage.segments(), coverage.add(0, 0)]).to.deep.equal([true, 0, [], 0]);
  });

  it('of a terabyte takes an eighth of a byte for each piece, and no time to ask', () => {
    const coverage = new Coverage(1024 ** 4);
    expect(coverage.add(0, 1024 ** 4 - pieceSize)).to.equal(1024 * 1024 - 1);
    expect(coverage.whole).to.equal(false);
    expect(coverage.segments()).to.have.lengthOf(mostSegments - 1);
    expect(coverage.add(1024 ** 4 - pieceSize, pieceSize)).to.equal(1);
    expect(coverage.whole).to.equal(true);
    expect(coverage.prefix).to.equal(1024 ** 4);
  });
});
