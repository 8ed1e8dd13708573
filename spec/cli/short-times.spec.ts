import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const seconds = (time: string): number => Date.parse(time) / 1000;
/** What an inode of 128 bytes holds is whole seconds from 1901 to 2038. */
const inFuture = seconds('2101-02-03T04:05:06Z');
const past = seconds('1999-02-03T04:05:06.789Z');

describe('cli: a disk that does not hold the times of a source', function () {
  this.timeout(60_000);

  it('keeps the content, says so, is compared with what it holds, and gives back what was (ext4, 128-byte inodes)', async function () {
    const run = new SessionRun();
    let mounted = false;
    try {
      writeFileSync(run.at('disk'), '');
      truncateSync(run.at('disk'), 8 * 1024 ** 2);
      try {
        execFileSync('mkfs.ext4', ['-q', '-I', '128', run.at('disk')], { stdio: 'ignore' });
        execFileSync('mount', ['-o', 'loop', run.at('disk'), run.at('in')], { stdio: 'ignore' });
        mounted = true;
      } catch {
        skipTest(this, 'no disk of ext4 can be made and mounted here');
      }
      for (const [name, time] of [
        ['future', inFuture],
        ['past', past],
      ] as const) {
        writeFileSync(run.at(name), name);
        utimesSync(run.at(name), time, time);
      }
      if (statSync(run.at('future')).mtimeMs !== inFuture * 1000) skipTest(this, 'this disk keeps no such times');
      for (const time of ['first', 'second']) {
        const backup = await run.run(['backup', 'future', 'past', 'in', '--name', 'b', '--json']);
        expect(backup.code, backup.stderr).to.equal(0);
        const lost = lastOf(eventsOf(backup), 'lost');
        expect(lost, time).to.include({ what: 'mtime', entries: 1, file_name: 'future' });
      }
      const { ticket } = await run.receive();
      const sent = await run.run(['send', 'future', ticket, '--json']);
      expect(sent.code).to.equal(0);
      expect(lastOf(eventsOf(sent), 'lost')).to.include({ what: 'mtime', file_name: 'future' });
      expect(run.read('future').toString()).to.equal('future');
      const verified = await run.run(['verify', 'in']);
      expect(verified.code, verified.stdout).to.equal(0);
      expect((await run.run(['restore', 'in', 'b/latest', 'out'])).code).to.equal(0);
      expect(statSync(run.at('out/future')).mtimeMs).to.equal(inFuture * 1000);
      expect(Math.round(statSync(run.at('out/past')).mtimeMs)).to.equal(past * 1000);
    } finally {
      if (mounted) execFileSync('umount', ['-l', run.at('in')]);
      await run.end();
    }
  });
});
