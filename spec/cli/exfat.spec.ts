import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { mountExfat } from './exfat-disk';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

describe('cli: backups on exFAT, which has no modes and no links', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let mounted = false;
  beforeEach(() => {
    run = new SessionRun({ one: 'one', large: Buffer.alloc(300_000, 'large') });
    mkdirSync(run.at('tree'));
    for (const name of ['one', 'large']) linkSync(run.at(name), run.at('tree', name));
    linkSync(run.at('one'), run.at('tree/two'));
  });
  afterEach(async () => {
    if (mounted) execFileSync('umount', ['-l', run.at('in')]);
    mounted = false;
    await run.end();
  });

  /** Where this machine, or this user, cannot mount such a disk, the test is said to be pending. */
  const mount = (context: Mocha.Context, options: string): void => {
    try {
      mountExfat(run.at('image'), run.at('in'), options);
      mounted = true;
    } catch {
      context.skip();
    }
  };

  it('are made as it is mounted by default, with copies for hard links, and raise no false alarm', async function () {
    mount(this, 'umask=022');
    symlinkSync('one', run.at('tree/points'));
    for (const time of ['first', 'second']) {
      const backup = await run.run(['backup', 'tree', 'in', '--name', 'b', '--json']);
      expect(backup.code, backup.stderr).to.equal(8);
      const events = eventsOf(backup);
      expect(lastOf(events, 'snapshot'), time).to.include({ entries: 5, missing: 1 });
      expect(events.flatMap((event) => (event.event === 'failed' ? [event.message] : [])).join()).to.match(
        /^tree\/points is a symbolic link, and was not stored: the receiver's disk has none\.$/,
      );
      expect(events.flatMap((event) => (event.event === 'lost' ? [event.what] : []))).to.include('link');
      await new Promise((later) => setTimeout(later, 1_000 - new Date().getMilliseconds())); // another id
    }
    expect(readdirSync(run.at('in/b'))).to.have.length(2);
    const verified = await run.run(['verify', 'in']);
    expect(verified.code, verified.stdout).to.equal(0);
    expect((await run.run(['restore', 'in', 'b/latest', 'out'])).code).to.be.oneOf([0, 8]);
    for (const name of ['one', 'two', 'large'])
      expect(readFileSync(run.at('out/tree', name)).equals(readFileSync(run.at('tree', name)))).to.equal(true);
  });

  it('are refused at once where everybody may write to all of it, with how it is to be mounted', async function () {
    mount(this, 'umask=000');
    for (const command of [
      ['backup', 'tree', 'in', '--name', 'b'],
      ['receive', 'in', '--listen', '127.0.0.1:0'],
    ]) {
      const refused = await run.run(command);
      expect(refused.code).to.equal(2);
      expect(refused.stderr).to.match(/[Mm]ount.* with umask=022 or umask=077/);
    }
    expect(readdirSync(run.at('in'))).to.deep.equal([]);
  });
});
