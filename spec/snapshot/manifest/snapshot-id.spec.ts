import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../../lib/errors';
import { isSnapshotId, parseSnapshotId, snapshotIdOf, timeOf } from '../../../lib/snapshot/manifest/snapshot-id';

describe('the id of a snapshot', () => {
  const first = Date.UTC(1000, 0, 1);
  const last = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
  const times = fc.integer({ min: first, max: last }).map((ms) => new Date(ms));

  it('is a moment in UTC that a file manager shows and sorts', () => {
    expect(snapshotIdOf(new Date('2026-11-20T10:12:33.999Z'))).to.equal('2026-11-20T101233Z');
    expect(snapshotIdOf(new Date('2026-11-20T23:30:00-05:00'))).to.equal('2026-11-21T043000Z');
    fc.assert(
      fc.property(times, times, (one, other) => {
        if (one.getTime() <= other.getTime()) expect(snapshotIdOf(one) <= snapshotIdOf(other)).to.equal(true);
      }),
    );
  });

  it('tells its moment to the second, whichever that is', () => {
    fc.assert(
      fc.property(fc.oneof(times, fc.constantFrom(new Date(first), new Date(last))), (time) => {
        const id = snapshotIdOf(time);
        expect(parseSnapshotId(id)).to.equal(id);
        expect(isSnapshotId(id)).to.equal(true);
        expect(timeOf(id).getTime()).to.equal(Math.floor(time.getTime() / 1000) * 1000);
      }),
    );
  });

  for (const text of [
    '',
    'latest',
    '2026-11-20',
    '2026-11-20T101233',
    '2026-11-20T10:12:33Z',
    '2026-11-20t101233z',
    ' 2026-11-20T101233Z',
    '2026-11-20T101233Z\n',
    '2026-11-20T101233Z/..',
    '2026-13-01T000000Z',
    '2026-00-10T000000Z',
    '2026-02-29T000000Z',
    '2026-04-31T000000Z',
    '2026-11-20T240000Z',
    '2026-11-20T106000Z',
    '2026-06-30T235960Z',
    '9999-99-99T999999Z',
    '0026-11-20T101233Z',
    '12026-11-20T101233Z',
    '２０２６-11-20T101233Z',
  ]) {
    it(`is not ${JSON.stringify(text)}`, () => {
      expect(isSnapshotId(text)).to.equal(false);
      expect(() => parseSnapshotId(text))
        .to.throw(TransferError)
        .with.property('code', 'usage');
    });
  }

  it('shows what it refuses in one line', () => {
    expect(() => parseSnapshotId('\u001b[2J\n')).to.throw(
      TransferError,
      String.raw`\u001b[2J\u000a is not the id of a snapshot.`,
    );
  });

  it('is made of no moment whose year has not four digits', () => {
    for (const time of [new Date(NaN), new Date(last + 1), new Date(first - 1), new Date(8.64e15)]) {
      expect(() => snapshotIdOf(time))
        .to.throw(TransferError)
        .with.property('code', 'usage');
    }
  });
});
