import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readlinkSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { mountSmallDisk } from '../small-disk';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const execute = (program: string, ...words: string[]): string =>
  execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/** Repeats what fills a disk until it is full. */
function untilFull(fill: (time: number) => void): void {
  for (let time = 0; ; time++) {
    try {
      fill(time);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
      throw error;
    }
  }
}

describe('cli: prune on a disk that has no room left', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let mounted = false;
  beforeEach(() => {
    run = new SessionRun();
    mounted = false;
  });
  afterEach(async () => {
    if (mounted) execute('umount', '-l', run.at('in'));
    await run.end();
  });

  for (const [what, isFull, fill] of [
    ['block', 'bavail', () => appendFileSync(run.at('in/full'), Buffer.alloc(4096))],
    ['inode', 'ffree', (time: number) => symlinkSync('x', run.at('in', String(time)))],
  ] as const)
    it(`removes what it should without a single ${what}, and the register says so`, async function () {
      mounted = mountSmallDisk(run.at('in'), 'size=4m,nr_inodes=300,mode=0700');
      if (!mounted) skipTest(this, 'no small disk can be mounted here');
      mkdirSync(run.at('tree'));
      const { ticket } = await run.receive();
      const made: string[] = [];
      for (const content of ['one', 'two']) {
        writeFileSync(run.at('tree/file'), content);
        expect((await run.run(['backup', 'tree', ticket, '--name', 'b'])).code).to.equal(0);
        made.push(readlinkSync(run.at('in/b/latest')));
      }
      untilFull(fill);
      expect(statfsSync(run.at('in'))[isFull]).to.equal(0);
      const { code, stdout, stderr } = await run.run(['prune', 'in', '--keep-last', '1']);
      expect(code, stderr).to.equal(0);
      expect(stdout.split('\n').map((line) => line.split(/\s+/).slice(0, 2).join(' '))).to.deep.equal([
        `removed b/${made[0] ?? ''}`,
        `kept b/${made[1] ?? ''}`,
        '',
      ]);
      const listed = await run.run(['snapshots', 'in', '--json']);
      expect(listed.stdout.trim().split('\n')).to.have.length(1);
      expect((await run.run(['verify', 'in'])).code).to.equal(0);
    });
});
