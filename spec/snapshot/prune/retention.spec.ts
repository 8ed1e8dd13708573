import { expect } from 'chai';
import * as fc from 'fast-check';
import { TransferError } from '../../../lib/errors';
import { type Dated, judge, type KeepRules } from '../../../lib/snapshot/prune/retention';
import { parseSnapshotId, snapshotIdOf } from '../../../lib/snapshot/manifest/snapshot-id';

const day = 24 * 60 * 60 * 1000;
const dated = (...ids: (string | [id: string, number: number | undefined])[]): Dated[] =>
  ids.map((each, at) =>
    typeof each === 'string'
      ? { id: parseSnapshotId(each), number: at + 1 }
      : { id: parseSnapshotId(each[0]), number: each[1] },
  );
/** What stays, as `DD` or `DDTHH`, and why. */
const kept = (snapshots: readonly Dated[], rules: KeepRules): string[] =>
  judge(snapshots, rules).flatMap(({ snapshot, reasons }) =>
    reasons.length === 0 ? [] : [`${snapshot.id.slice(0, 13)} ${reasons.join('+')}`],
  );

describe('judge', () => {
  it('keeps the last N, the newest for being the newest as well', () => {
    const three = dated('2026-11-18T100000Z', '2026-11-19T100000Z', '2026-11-20T100000Z');
    expect(kept(three, { last: 1 })).to.deep.equal(['2026-11-20T10 newest+last']);
    expect(kept(three, { last: 2 })).to.deep.equal(['2026-11-19T10 last', '2026-11-20T10 newest+last']);
    expect(kept(three, { last: 99 })).to.have.lengthOf(3);
    expect(kept([], { last: 1 })).to.deep.equal([]);
  });

  it('takes several that were made within one second for what they are, and no more than a minute for that', () => {
    const three = dated('2026-11-20T100000Z', '2026-11-20T100003Z', '2026-11-20T100101Z');
    const reasons = judge(three, { last: 1 }, new Date('2026-11-20T10:00:00.500Z')).map((verdict) => verdict.reasons);
    expect(reasons).to.deep.equal([[], ['newest', 'last'], ['future']]);
  });

  it('keeps the newest of each of the last N days that have a snapshot, by UTC', () => {
    const five = dated(
      '2026-11-10T000000Z',
      '2026-11-18T235959Z',
      '2026-11-19T000000Z',
      '2026-11-19T235959Z',
      '2026-11-20T000000Z',
    );
    expect(kept(five, { daily: 3 })).to.deep.equal([
      '2026-11-18T23 daily',
      '2026-11-19T23 daily',
      '2026-11-20T00 newest+daily',
    ]);
    expect(kept(five, { daily: 4 })).to.include('2026-11-10T00 daily'); // days without one do not count
  });

  it('takes weeks from Monday to Sunday, across the end of a year', () => {
    // 2026-12-27 is a Sunday; the week of Monday 2026-12-28 ends on 2027-01-03.
    const six = dated(
      '2026-12-20T120000Z',
      '2026-12-21T000000Z',
      '2026-12-27T235959Z',
      '2026-12-28T000000Z',
      '2027-01-03T235959Z',
      '2027-01-04T000000Z',
    );
    expect(kept(six, { weekly: 3 })).to.deep.equal([
      '2026-12-27T23 weekly',
      '2027-01-03T23 weekly',
      '2027-01-04T00 newest+weekly',
    ]);
    expect(kept(six, { weekly: 4 })).to.include('2026-12-20T12 weekly');
  });

  it('takes months by the calendar', () => {
    const four = dated('2025-11-30T000000Z', '2026-10-31T235959Z', '2026-11-01T000000Z', '2026-11-30T000000Z');
    expect(kept(four, { monthly: 3 })).to.deep.equal([
      '2025-11-30T00 monthly',
      '2026-10-31T23 monthly',
      '2026-11-30T00 newest+monthly',
    ]);
  });

  it('keeps what is not older than a span before the newest one, to the millisecond', () => {
    const three = dated('2026-11-18T100000Z', '2026-11-19T100000Z', '2026-11-20T100000Z');
    expect(kept(three, { within: day })).to.deep.equal(['2026-11-19T10 within', '2026-11-20T10 newest+within']);
    expect(kept(three, { within: day - 1 })).to.deep.equal(['2026-11-20T10 newest+within']);
  });

  it('goes by the numbers where a clock went back: the newest stays, and counts first', () => {
    const back = dated(['2026-11-19T100000Z', 1], ['2026-11-20T100000Z', 2], ['2001-01-01T000000Z', 3]);
    expect(kept(back, { last: 1 })).to.deep.equal(['2001-01-01T00 newest+last']);
    expect(kept(back, { daily: 2 })).to.deep.equal(['2026-11-20T10 daily', '2001-01-01T00 newest+daily']);
    expect(kept(back, { within: 1 }), 'nothing is older than the newest').to.have.lengthOf(3);
  });

  it('neither counts nor gives up what is damaged, were it the newest', () => {
    const some = dated(
      ['2026-11-17T100000Z', 1],
      ['2026-11-18T100000Z', undefined],
      ['2026-11-19T100000Z', 2],
      ['2026-11-20T100000Z', undefined],
    );
    expect(kept(some, { last: 1 })).to.deep.equal([
      '2026-11-18T10 damaged',
      '2026-11-19T10 newest+last',
      '2026-11-20T10 damaged',
    ]);
    expect(kept(some, { daily: 2 })).to.have.lengthOf(4);
  });

  it('refuses to judge without a rule, and by one that makes no sense', () => {
    const wrong: KeepRules[] = [
      {},
      { last: 0 },
      { daily: -1 },
      { weekly: 1.5 },
      { monthly: NaN },
      { within: Infinity },
      { last: 3, within: 0 },
    ];
    for (const rules of wrong) {
      expect(() => judge(dated('2026-11-20T100000Z'), rules), JSON.stringify(rules))
        .to.throw(TransferError)
        .with.property('code', 'usage');
    }
  });
});

describe('judge, whatever it is given,', () => {
  const count = fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined });
  const anyRules = fc
    .record({
      last: count,
      daily: count,
      weekly: count,
      monthly: count,
      within: fc.option(fc.integer({ min: 1, max: 60 * day }), { nil: undefined }),
    })
    .map((rules) => Object.fromEntries(Object.entries(rules).filter(([, value]) => value !== undefined)) as KeepRules);
  const someRules = anyRules.filter((rules) => Object.keys(rules).length > 0);
  // Clocks that go wherever they like, and every tenth one damaged.
  const anySnapshots = fc
    .uniqueArray(fc.integer({ min: 0, max: 90 * 24 }), { maxLength: 40 })
    .chain((hours) =>
      fc.tuple(
        fc.constant(hours),
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: hours.length, maxLength: hours.length }),
      ),
    )
    .map(([hours, luck]) =>
      hours.map((hour, at): Dated => ({
        id: snapshotIdOf(new Date(Date.UTC(2026, 10, 1) + (hour * day) / 24)),
        number: luck[at] === 0 ? undefined : at + 1,
      })),
    );
  const idsKept = (snapshots: readonly Dated[], rules: KeepRules): Set<string> =>
    new Set(judge(snapshots, rules).flatMap(({ snapshot, reasons }) => (reasons.length === 0 ? [] : [snapshot.id])));

  it('keeps the one with the highest number', () => {
    fc.assert(
      fc.property(anySnapshots, someRules, (snapshots, rules) => {
        const newest = snapshots.findLast(({ number }) => number !== undefined);
        return newest === undefined || idsKept(snapshots, rules).has(newest.id);
      }),
    );
  });

  it('keeps more by more rules, and by larger ones', () => {
    fc.assert(
      fc.property(anySnapshots, someRules, anyRules, (snapshots, some, others) => {
        const larger = Object.fromEntries(
          [...Object.keys(some), ...Object.keys(others)].map((rule) => [
            rule,
            Math.max(some[rule as keyof KeepRules] ?? 0, others[rule as keyof KeepRules] ?? 0),
          ]),
        );
        const more = idsKept(snapshots, larger);
        for (const id of idsKept(snapshots, some)) expect(more).to.include(id);
      }),
    );
  });

  it('gives up nothing of what it has kept', () => {
    fc.assert(
      fc.property(anySnapshots, someRules, (snapshots, rules) => {
        const once = idsKept(snapshots, rules);
        expect(
          idsKept(
            snapshots.filter(({ id }) => once.has(id)),
            rules,
          ),
        ).to.deep.equal(once);
      }),
    );
  });

  it('does not depend on the order in which they are given', () => {
    fc.assert(
      fc.property(anySnapshots, someRules, (snapshots, rules) => {
        expect(idsKept([...snapshots].reverse(), rules)).to.deep.equal(idsKept(snapshots, rules));
      }),
    );
  });
});
