import { expect } from 'chai';
import { fileLine, heldBack, leastVerified, summaryLine, verdict } from '../../cli/results';
import type { Piece } from '../../cli/terminal';
import type { FileDone, Summary } from '../../lib/index';

const file: FileDone = {
  file_name: 'a.txt',
  file_size: 1024 ** 3,
  digests: { md5: '8f6fbf8347faa4924a76856701edb0f3' },
  verified: 'device',
  path: 'a.txt',
  bytes_on_wire: 1024 ** 3 + 120,
  seconds: 2.9,
};
const summary: Summary = { files: 2000, bytes: 1024 ** 3, bytes_on_wire: 1024 ** 3, seconds: 10, bottleneck: 'hash' };
const text = (pieces: readonly Piece[]): string =>
  pieces.map((piece) => (typeof piece === 'string' ? piece : piece.text)).join('');

describe('cli/results', () => {
  it('says in one line what arrived, how sure it is, and how fast', () => {
    expect(text(fileLine(file, 'usual'))).to.equal(
      'a.txt  1.0 GiB  md5 8f6fbf8347faa492…  verified on device  2.9 s  353 MiB/s',
    );
    expect(text(fileLine({ ...file, path: 'a (2).txt' }, 'usual'))).to.match(/ {2}stored as a \(2\)\.txt$/);
    expect(text(fileLine(file, 'short'))).to.equal('a.txt  1.0 GiB  verified on device  2.9 s  353 MiB/s');
    expect(text(fileLine(file, 'exact'))).to.match(/ {2}\(1073741824 bytes, 1073741944 on the wire, 2\.900 s\)$/);
  });

  it('says of what was there already when it was verified, and gives no rate for it', () => {
    const there = { ...file, seconds: 0.01, verified_at: new Date(2026, 10, 29, 9, 11).toISOString() };
    expect(text(fileLine(there, 'usual'))).to.equal(
      'a.txt  1.0 GiB  md5 8f6fbf8347faa492…  already there, verified on device 2026-11-29 09:11',
    );
    expect(text(fileLine({ ...file, kept: 1024 ** 3 / 2 }, 'short'))).to.equal(
      'a.txt  1.0 GiB  verified on device  2.9 s  177 MiB/s  512 MiB of it was there',
    );
  });

  it('gives no rate for a small file, and none that was too quick to measure', () => {
    expect(text(fileLine({ ...file, file_size: 1024 ** 2 - 1 }, 'usual'))).to.match(/verified on device {2}2\.9 s$/);
    expect(text(fileLine({ ...file, seconds: 0 }, 'usual'))).not.to.include('/s');
  });

  it('calls nothing verified on device, verified or done that is less', () => {
    expect(text([verdict('device')])).to.equal('verified on device');
    expect(text([verdict('cache')])).to.equal('verified (page cache only)');
    expect(text([verdict(null)])).to.equal('sent, not confirmed');
    expect(leastVerified(undefined, 'device')).to.equal('device');
    expect(leastVerified('device', 'cache')).to.equal('cache');
    expect(leastVerified('cache', 'device')).to.equal('cache');
    expect(leastVerified('store', 'accepted')).to.equal('accepted');
    expect(leastVerified('cache', null)).to.equal(null);
    expect(leastVerified(null, 'device')).to.equal(null);
  });

  it('says of a receiver that waited for bytes no more than it can know', () => {
    const of = { verified: 'device', skipped: 0, failed: 0, already: { files: 0, bytes: 0 } } as const;
    const waited = { ...summary, bottleneck: 'network' } as const;
    expect(text(summaryLine({ summary: waited, ...of, side: 'receiver' }))).to.match(
      / {2}held back by: the sender or the network$/,
    );
    expect(text(summaryLine({ summary: waited, ...of }))).to.match(/ {2}held back by: network$/);
    expect(text(summaryLine({ summary, ...of, side: 'receiver' }))).to.match(/ {2}held back by: hash$/);
  });

  it('sums up, names what held it back, and counts what went wrong', () => {
    expect(
      text(summaryLine({ summary, verified: 'device', skipped: 0, failed: 0, already: { files: 0, bytes: 0 } })),
    ).to.equal('2,000 files  1.0 GiB  verified on device  10 s  102 MiB/s  held back by: hash');
    const bad = text(
      summaryLine({ summary, verified: undefined, skipped: 2, failed: 3, already: { files: 1, bytes: 0 } }),
    );
    expect(bad).to.include('  2 skipped  3 failed').and.not.include('verified');
    expect(heldBack({ ...summary, bottleneck: null })).to.equal('');
    expect(heldBack({ ...summary, files: 0 })).to.equal('');
  });
});
