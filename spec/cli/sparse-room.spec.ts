import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { mountSmallDisk } from '../small-disk';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const MiB = 1024 ** 2;

describe('cli: a file with holes that is larger than the disk', function () {
  this.timeout(60_000);

  it('is taken where what is in it has room, and refused before anything is sent where it has none', async function () {
    const run = new SessionRun();
    let mounted = false;
    try {
      mounted = mountSmallDisk(run.at('in'), 'size=16m,mode=0755');
      if (!mounted) skipTest(this, 'no small disk can be mounted here');
      writeFileSync(run.at('image'), '');
      truncateSync(run.at('image'), 64 * MiB);
      const fd = openSync(run.at('image'), 'r+');
      writeSync(fd, 'in the middle', 40 * MiB);
      const { ticket } = await run.receive();
      expect((await run.run(['send', 'image', ticket])).code).to.equal(0);
      expect((await run.run(['backup', 'image', ticket, '--name', 'b'])).code).to.equal(0);
      expect(
        run
          .read('image')
          .subarray(40 * MiB, 40 * MiB + 13)
          .toString(),
      ).to.equal('in the middle');
      expect(statSync(run.at('in/image')).blocks * 512).to.be.below(2 * MiB);
      mkdirSync(run.at('out'));
      expect((await run.run(['restore', 'in', 'b/latest', 'out'])).code).to.equal(0);
      expect(statSync(run.at('out/image')).size).to.equal(64 * MiB);

      writeSync(fd, Buffer.alloc(20 * MiB, 'd'), 0, 20 * MiB, 0);
      closeSync(fd);
      const refused = await run.run(['send', 'image', ticket, '--name', 'other']);
      expect(refused.code).to.equal(6);
      expect(refused.stderr).to.match(/other needs 20\.0 MiB, and [\d.]+ [KM]iB are free/);

      // Of a stream nobody knows the size: what is told is its next piece.
      const stream = await run.run(['send', '-', '--name', 'stream', ticket], { input: 'd'.repeat(40 * MiB) });
      expect(stream.code).to.equal(6);
      expect(stream.stderr).to.match(/stream needs [\d.]+ \w+ more, and [\d.]+ \w+ are free/);
    } finally {
      if (mounted) execFileSync('umount', ['-l', run.at('in')]);
      await run.end();
    }
  });
});
