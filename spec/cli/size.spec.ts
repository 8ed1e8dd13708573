import { expect } from 'chai';
import { InvalidArgumentError } from 'commander';
import { formatCount, formatDuration, formatRate, formatSize, parseRate, parseSize } from '../../cli/size';

describe('cli/size', () => {
  it('reads sizes in powers of 1024, with any spelling of the unit', () => {
    const sizes: [string, number][] = [
      ['1', 1],
      ['4096', 4096],
      ['512B', 512],
      ['300M', 300 * 1024 ** 2],
      ['10G', 10 * 1024 ** 3],
      ['10gb', 10 * 1024 ** 3],
      ['1.5MiB', 1.5 * 1024 ** 2],
      ['2 KiB', 2048],
      ['1T', 1024 ** 4],
      ['0.5k', 512],
    ];
    for (const [text, bytes] of sizes) expect(parseSize(text), text).to.equal(bytes);
  });

  it('refuses what is not a size, nothing at all, and more than a number holds', () => {
    for (const text of [
      '',
      'x',
      '-1',
      '1e3',
      '10 GB/s',
      '1X',
      'G',
      '1.5.5M',
      '0',
      '0.1',
      '9999999P',
      'Infinity',
      '0x10',
      '1,5M',
    ]) {
      expect(() => parseSize(text), text).to.throw(InvalidArgumentError);
    }
  });

  it('reads rates with and without /s', () => {
    expect(parseRate('10M')).to.equal(10 * 1024 ** 2);
    expect(parseRate('10MiB/s')).to.equal(10 * 1024 ** 2);
    expect(() => parseRate('/s')).to.throw(InvalidArgumentError);
  });

  it('writes sizes with three digits, also next to the unit above', () => {
    const sizes: [number, string][] = [
      [0, '0 B'],
      [512, '512 B'],
      [999, '999 B'],
      [1000, '1.0 KiB'],
      [1024 ** 3, '1.0 GiB'],
      [353 * 1024 ** 2, '353 MiB'],
      [99.96 * 1024 ** 2, '100 MiB'],
      [1024 ** 2 - 1, '1.0 MiB'],
      [2 ** 53, '8.0 PiB'],
    ];
    for (const [bytes, text] of sizes) expect(formatSize(bytes)).to.equal(text);
    expect(formatRate(2048)).to.equal('2.0 KiB/s');
  });

  it('writes durations as people read them', () => {
    const durations: [number, string][] = [
      [0.031, '0.03 s'],
      [0.999, '1.0 s'],
      [2.94, '2.9 s'],
      [9.96, '10 s'],
      [59.7, '1 min'],
      [7201, '2 h'],
      [200, '3 min 20 s'],
      [7500, '2 h 5 min'],
    ];
    for (const [seconds, text] of durations) expect(formatDuration(seconds)).to.equal(text);
  });

  it('counts in thousands, and knows the singular', () => {
    expect([0, 1, 999, 2000, 1234567].map((count) => formatCount(count, 'file'))).to.deep.equal([
      '0 files',
      '1 file',
      '999 files',
      '2,000 files',
      '1,234,567 files',
    ]);
  });
});
