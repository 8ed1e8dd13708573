import { expect } from 'chai';
import { Tally } from '../../cli/tally';
import type { FileDone, Phase, TransferEvent } from '../../lib/index';

const started = (file_name: string, file_size: number): TransferEvent => ({ event: 'started', file_name, file_size });
const progress = (file_name: string, phase: Phase, done: number, total: number): TransferEvent => ({
  event: 'progress',
  file_name,
  phase,
  done,
  total,
});
const done = (file_name: string, file_size: number): FileDone => ({
  file_name,
  file_size,
  digests: {},
  verified: 'device',
  bytes_on_wire: file_size,
  seconds: 1,
});

describe('cli/tally', () => {
  it('follows a single file through its phases, with the rate and the time left', () => {
    const tally = new Tally();
    tally.note(started('a', 1000), 0);
    tally.note(progress('a', 'hash', 0, 1000), 0);
    tally.note(progress('a', 'hash', 250, 1000), 1000);
    const hashing = {
      phase: 'hash',
      name: 'a',
      done: 250,
      total: 1000,
      moved: 0,
      rate: 250,
      eta: 3,
      files: undefined,
      ofFiles: undefined,
      still: undefined,
    };
    expect(tally.at(1000)).to.deep.equal(hashing);
    tally.note(progress('a', 'hash', 1000, 1000), 2000);
    tally.note(progress('a', 'send', 100, 1000), 3000);
    expect(tally.at(3000)).to.include({ phase: 'send', done: 100 });
  });

  it('counts what the receiver had before neither in the rate nor in the time left', () => {
    const tally = new Tally();
    tally.note({ event: 'started', file_name: 'a', file_size: 1000, resumed: 700 }, 0);
    tally.note({ event: 'progress', file_name: 'a', phase: 'send', done: 700, total: 1000, kept: 700 }, 1000);
    tally.note({ event: 'progress', file_name: 'a', phase: 'send', done: 800, total: 1000, kept: 700 }, 2000);
    expect(tally.at(2000)).to.include({ done: 800, rate: 100, eta: 2 });
    tally.note({ event: 'sent', ...done('b', 5000), verified_at: '2026-11-29T09:11:00Z' }, 2500);
    expect(tally.at(2500).rate).to.be.closeTo(66.7, 0.1);
  });

  it('shows the furthest phase, even where the end of the one before was not told', () => {
    const tally = new Tally();
    tally.note(started('a', 100), 0);
    tally.note(progress('a', 'receive', 92, 100), 1);
    tally.note(progress('a', 'verify', 40, 100), 2);
    expect(tally.at(2)).to.include({ phase: 'verify', done: 40 });
    tally.note(started('b', 50), 3);
    tally.note(progress('b', 'receive', 10, 50), 4);
    expect(tally.at(4)).to.include({ phase: 'receive', name: 'b', done: 10, total: 50, files: 0, eta: undefined });
  });

  it('adds up many files where their sum is known: those that ended, the one on the wire, not the one that is only hashed', () => {
    const tally = new Tally();
    tally.note({ ...progress('', 'scan', 900, 900), files: 2 } as TransferEvent, 0);
    tally.note(started('a', 300), 0);
    tally.note({ event: 'sent', ...done('a', 300) }, 100);
    tally.note(started('b', 400), 100);
    tally.note(progress('b', 'send', 100, 400), 200);
    tally.note(progress('c', 'hash', 150, 200), 300);
    expect(tally.at(300)).to.include({ phase: 'send', name: 'b', done: 400, total: 900, files: 1, ofFiles: 2 });
  });

  it('counts files of a tree before the first one has ended', () => {
    const tally = new Tally();
    tally.note({ event: 'progress', file_name: '', phase: 'scan', done: 9000, total: 9000, files: 62 }, 0);
    tally.note(started('tree/large', 8000), 100);
    tally.note(progress('tree/large', 'send', 4500, 8000), 200);
    expect(tally.at(200)).to.include({ done: 4500, total: 9000, files: 0, ofFiles: 62 });
  });

  it('names no file and no total while only small files fly by, which tell of no progress', () => {
    const tally = new Tally();
    for (const name of ['a', 'b', 'c']) tally.note(started(name, 10), 0);
    tally.note({ event: 'sent', ...done('a', 10) }, 1);
    expect(tally.at(1)).to.include({ phase: 'send', name: undefined, done: 0, total: 0, moved: 10, files: 1 });
  });

  it('takes the rate over the last seconds, not since the beginning', () => {
    const tally = new Tally();
    tally.note(started('a', 1e6), 0);
    for (let second = 0; second <= 20; second += 1)
      tally.note(progress('a', 'send', second * 1000, 1e6), second * 1000);
    for (let second = 21; second <= 30; second += 1)
      tally.note(progress('a', 'send', 20000 + (second - 20) * 10, 1e6), second * 1000);
    expect(tally.at(4000).rate).to.be.closeTo(10, 0.5);
  });

  it('is idle after the last file, however it ended, and after a reset knows nothing', () => {
    const tally = new Tally();
    for (const name of ['a', 'b', 'c']) tally.note(started(name, 10), 0);
    expect(tally.busy).to.equal(true);
    tally.note({ event: 'received', ...done('a', 10) }, 1);
    tally.note({ event: 'skipped', file_name: 'b', reason: 'the same is there already' }, 2);
    tally.note({ event: 'failed', file_name: 'c', code: 'mismatch', message: 'Different.' }, 3);
    expect(tally.busy).to.equal(false);
    expect(tally.at(3)).to.include({ files: 3 });
    tally.reset();
    expect(tally.at(3)).to.include({ files: undefined, done: 0, total: 0, rate: 0 });
  });

  it('is idle after the summary of the transfer, whose files need no event of their own, and not before', () => {
    const [one, other] = ['1'.repeat(32), '2'.repeat(32)];
    const tally = new Tally();
    for (const id of [one, other]) tally.note({ ...started('disk.img', 100), id }, 0);
    const sum = { files: 1, bytes: 100, bytes_on_wire: 100, seconds: 1, bottleneck: null } as const;
    tally.note({ ...progress('disk.img', 'receive', 60, 100), id: one }, 10);
    tally.note({ event: 'summary', ...sum, id: one }, 20);
    expect(tally.busy, 'the other transfer has a file of the same name').to.equal(true);
    expect(tally.at(20)).to.include({ files: 1, moved: 100 });
    tally.note({ event: 'summary', ...sum, id: other }, 30);
    expect(tally.busy).to.equal(false);
    expect(tally.at(30)).to.include({ files: 2 });
  });

  it('is idle after a session that was lost, and not after a relay that cannot be used', () => {
    const id = '1'.repeat(32);
    const tally = new Tally();
    tally.note({ ...started('a', 100), id }, 0);
    tally.note({ ...progress('', 'scan', 100, 100), files: 9, id } as TransferEvent, 0);
    tally.note({ event: 'failed', code: 'cannot-connect', message: 'No relay.', id }, 10);
    expect(tally.busy).to.equal(true);
    tally.note({ event: 'failed', code: 'connection-lost', message: 'Gone.', id }, 20);
    expect(tally.busy).to.equal(false);
    tally.note({ ...started('b', 50), id: '2'.repeat(32) }, 30);
    expect(tally.at(30), 'nothing of the lost one is counted').to.include({ files: undefined, ofFiles: undefined });
  });

  it('has neither rate nor time left once nothing moves, and says for how long', () => {
    const tally = new Tally();
    tally.note(progress('a', 'send', 100, 1000), 0);
    tally.note(progress('a', 'send', 200, 1000), 500);
    tally.note(progress('a', 'send', 200, 1000), 1400);
    expect(tally.at(1400)).to.include({ still: undefined });
    expect(tally.at(3500)).to.deep.include({ rate: 0, eta: undefined, still: { for: 3 } });
    tally.note(progress('a', 'send', 300, 1000), 3600);
    expect(tally.at(3600).still).to.equal(undefined);
    expect(tally.at(3600).rate).to.be.greaterThan(0);
  });

  it('knows of a connection that is lost until it is back', () => {
    const tally = new Tally();
    tally.note(progress('a', 'send', 100, 1000), 0);
    tally.note(progress('a', 'send', 200, 1000), 500);
    tally.note({ event: 'connection', state: 'lost', message: 'gone', retry_for: 300 }, 600);
    expect(tally.at(700)).to.deep.include({ rate: 0, eta: undefined, still: 'connection-lost' });
    tally.note({ event: 'connection', state: 'back' }, 9000);
    expect(tally.at(9000).still).to.equal(undefined);
  });
});
