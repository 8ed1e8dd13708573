import { expect } from 'chai';
import { InvalidArgumentError } from 'commander';
import { parseExpiry } from '../../cli/expiry';

const now = new Date(2026, 5, 15, 12);

describe('cli/expiry', () => {
  it('reads days and times by the clock here, and those of a zone by that', () => {
    expect(parseExpiry('2027-01-31', now)).to.deep.equal(new Date(2027, 0, 31));
    expect(parseExpiry('2028-02-29', now)).to.deep.equal(new Date(2028, 1, 29));
    expect(parseExpiry('2027-01-31T18:30', now)).to.deep.equal(new Date(2027, 0, 31, 18, 30));
    expect(parseExpiry('2027-01-31T18:30:05Z', now)).to.deep.equal(new Date(Date.UTC(2027, 0, 31, 18, 30, 5)));
    expect(parseExpiry('2027-01-31T18:30:05.250+02:00', now)).to.deep.equal(
      new Date(Date.UTC(2027, 0, 31, 16, 30, 5, 250)),
    );
  });

  it('reads spans from now on', () => {
    const hours: [string, number][] = [
      ['12h', 12],
      ['90d', 90 * 24],
      ['2w', 14 * 24],
      ['1y', 365 * 24],
      ['30min', 0.5],
      ['36 s', 0.01],
    ];
    for (const [text, span] of hours)
      expect(parseExpiry(text, now).getTime() - now.getTime(), text).to.equal(span * 3_600_000);
  });

  it('refuses what is neither, and what has passed', () => {
    const wrong = [
      '',
      'x',
      'never',
      '90',
      'd',
      '-1d',
      '1.5d',
      '3m',
      '999999999y',
      '2027',
      '2027-1-1',
      '31.01.2027',
      '2027-02-29',
      '2027-13-01',
    ];
    const passed = ['2026-06-15', '2020-01-01', '2026-06-15T11:59', '0d'];
    for (const text of [...wrong, ...passed, '2027-02-30T10:00', '2027-01-31T25:00', '2027-01-31 18:00']) {
      expect(() => parseExpiry(text, now), text).to.throw(InvalidArgumentError);
    }
  });
});
