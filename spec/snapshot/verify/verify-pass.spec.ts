import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { choosePass, EntriesDone, includes, type PassHere } from '../../../lib/snapshot/verify/verify-pass';

const day = 86_400_000;
const now = new Date('2026-11-20T10:00:00.000Z');
const ago = (days: number): string => new Date(now.getTime() - days * day).toISOString();
const here = (days: number, more: Partial<PassHere> = {}): PassHere => ({
  began: ago(days),
  share: 1,
  from: 0,
  complete: false,
  done: [],
  ...more,
});

describe('snapshot/verify-pass', () => {
  it('goes on with the newest pass that was interrupted, unless it is old or was over another share', () => {
    expect(choosePass([here(2), here(1), here(3)], 1, now)).to.deep.equal({
      pass: { began: ago(1), share: 1, from: 0 },
      continues: true,
    });
    const begins = { pass: { began: now.toISOString(), share: 1, from: 0 }, continues: false };
    expect(choosePass([], 1, now)).to.deep.equal(begins);
    expect(choosePass([here(31)], 1, now)).to.deep.equal(begins);
    expect(choosePass([here(1, { complete: true })], 1, now)).to.deep.equal(begins);
    expect(choosePass([here(1, { share: 0.1 })], 1, now)).to.deep.equal(begins);
  });

  it('begins a share where the newest one ended, and the first one anywhere', () => {
    const from = (known: readonly PassHere[]): number => choosePass(known, 0.25, now, () => 0.75).pass.from;
    expect(from([])).to.equal(0.75);
    expect(
      from([here(1, { share: 0.5, from: 0.125, complete: true }), here(9, { share: 0.5, from: 0.9, complete: true })]),
    ).to.equal(0.625);
    expect(from([here(1, { share: 0.5, from: 0.625, complete: true })])).to.equal(0.125);
    expect(from([here(1, { share: 0.5, from: 0.375 })]), 'not one that was given up').to.equal(0.375);
  });

  it('has each file in exactly one of the shares that follow one another', () => {
    const digests = Array.from({ length: 2000 }, (_, at) => createHash('sha256').update(String(at)).digest('hex'));
    let known: PassHere[] = [];
    const read = new Map<string, number>();
    for (let turn = 0; turn < 20; turn++) {
      const { pass } = choosePass(known, 0.05, new Date(now.getTime() + turn));
      const chosen = digests.filter((digest) => includes(pass, digest));
      expect(chosen.length).to.be.within(40, 170);
      for (const digest of chosen) read.set(digest, (read.get(digest) ?? 0) + 1);
      known = [{ ...pass, complete: true, done: [] }];
    }
    expect(read.size).to.equal(digests.length);
    expect(new Set(read.values())).to.deep.equal(new Set([1]));
  });

  it('knows what is done by runs of numbers', () => {
    for (const ranges of [
      [],
      [[0, 9]],
      [[0, 0]],
      [[9, 9]],
      [
        [1, 3],
        [5, 5],
        [7, 9],
      ],
    ] as [number, number][][])
      expect(new EntriesDone(10, ranges).ranges).to.deep.equal(ranges);
    const done = new EntriesDone(10, [[0, 9]]);
    done.remove(0);
    done.remove(5);
    expect([done.has(5), done.has(6), done.has(10)]).to.deep.equal([false, true, false]);
    expect(done.ranges).to.deep.equal([
      [1, 4],
      [6, 9],
    ]);
    done.add(5);
    expect(done.ranges).to.deep.equal([[1, 9]]);
  });
});
