import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { mountExfat } from './exfat-disk';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

const words = (...command: string[]): void => {
  execFileSync(command[0] ?? '', command.slice(1), { stdio: 'ignore' });
};

/** Every entry below a directory. */
function allBelow(place: string): string[] {
  return readdirSync(place, { recursive: true, encoding: 'utf8' }).map((name) => join(place, name));
}

describe('cli: a receive directory on a disk that is mounted read-only, or otherwise than before', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let mounted = false;
  beforeEach(() => {
    run = new SessionRun({ one: 'one', large: Buffer.alloc(300_000, 'large') });
    mkdirSync(run.at('tree/deep'), { recursive: true });
    for (const name of ['one', 'large']) linkSync(run.at(name), run.at('tree', name));
    writeFileSync(run.at('tree/deep/script'), '#!', { mode: 0o755 });
  });
  afterEach(async () => {
    if (mounted) words('umount', '-l', run.at('in'));
    mounted = false;
    await run.end();
  });

  /** Where this machine, or this user, cannot mount such a disk, the test is said to be pending. */
  const orSkip = (context: Mocha.Context, mount: () => void): void => {
    try {
      mount();
      mounted = true;
    } catch {
      context.skip();
    }
  };

  it('is read by everything that reads, and what cannot be noted is said once; what writes is refused in plain words', async function () {
    writeFileSync(run.at('disk'), '');
    truncateSync(run.at('disk'), 16 * 1024 ** 2);
    orSkip(this, () => {
      words('mkfs.ext4', '-q', run.at('disk'));
      words('mount', '-o', 'loop', run.at('disk'), run.at('in'));
    });
    chmodSync(run.at('in'), 0o755);
    symlinkSync('one', run.at('tree/points'));
    expect((await run.run(['backup', 'tree', 'in', '--name', 'b'])).code).to.equal(0);
    words('mount', '-o', 'remount,ro', run.at('in'));

    const verified = await run.run(['verify', 'in', '--json']);
    expect(verified.code, verified.stderr).to.equal(0);
    const skipped = eventsOf(verified).flatMap((event) => (event.event === 'skipped' ? [event.reason] : []));
    expect(skipped).to.deep.equal(['What is verified cannot be kept: the disk is mounted read-only.']);
    const found = await run.run(['find', 'in', 'script']);
    expect(found, found.stderr).to.include({ code: 0 });
    expect((await run.run(['snapshots', 'in', 'b/latest'])).stdout).to.match(/tree\/deep\/script/);
    const restored = await run.run(['restore', 'in', 'b/latest', 'out']);
    expect(restored.code, restored.stderr).to.equal(0);
    expect(readFileSync(run.at('out/tree/large')).equals(readFileSync(run.at('large')))).to.equal(true);
    expect((await run.run(['restore', 'in', 'b/latest', '-', 'tree/one'])).stdout).to.equal('one');

    for (const command of [
      ['backup', 'tree', 'in', '--name', 'b'],
      ['prune', 'in', '--keep-last', '1'],
      ['receive', 'in', '--listen', '127.0.0.1:0'],
    ]) {
      const refused = await run.run(command);
      expect(refused.stderr, command.join(' ')).to.match(/: the disk is mounted read-only$/m);
      expect(refused.code).to.equal(2);
    }

    // What is damaged is found there as well, and repaired once it can be written.
    words('mount', '-o', 'remount,rw', run.at('in'));
    const fd = openSync(run.at('in/b/latest/tree/large'), 'r+');
    writeSync(fd, 'X', 7);
    closeSync(fd);
    chmodSync(run.at('in/b/latest/tree/deep'), 0o700);
    words('mount', '-o', 'remount,ro', run.at('in'));
    const repair = await run.run(['verify', 'in', '--repair', '--source', 'tree', '--json']);
    const damaged = eventsOf(repair).flatMap((event) => (event.event === 'damaged' ? [event.path] : []));
    expect(damaged.sort()).to.deep.equal(['tree/deep', 'tree/large']);
    expect(repair.stderr).to.match(/^sendall: .* cannot be locked: the disk is mounted read-only$/m);
    words('mount', '-o', 'remount,rw', run.at('in'));
    expect(await run.run(['verify', 'in', '--repair', '--source', 'tree'])).to.include({ code: 0 });
  });

  it('raises no false alarm where it was mounted with other modes, or holds every other second only (exFAT, as FAT)', async function () {
    orSkip(this, () => mountExfat(run.at('image'), run.at('in'), 'umask=022'));
    const time = 1_700_000_001.23;
    for (const place of [...allBelow(run.at('tree')), run.at('tree')]) utimesSync(place, time, time);
    const backup = await run.run(['backup', 'tree', 'in', '--name', 'b']);
    expect(backup.code, backup.stderr).to.equal(0);
    expect(backup.stderr).not.to.match(/got another time/);
    // As FAT would have stored them.
    const [id = ''] = readdirSync(run.at('in/b'));
    for (const place of allBelow(run.at('in/b', id)))
      utimesSync(place, Math.floor(time / 2) * 2, Math.floor(time / 2) * 2);
    words('umount', run.at('in'));
    mounted = false;
    orSkip(this, () => mountExfat(run.at('image'), run.at('in'), 'ro,umask=077', false));
    const verified = await run.run(['verify', 'in', '--json']);
    expect(verified.code, verified.stdout + verified.stderr).to.equal(0);
    const skipped = eventsOf(verified).flatMap((event) => (event.event === 'skipped' ? [event.reason] : []));
    expect(skipped).to.have.members([
      'Its disk has no modes, so that they are not compared.',
      'What is verified cannot be kept: the disk is mounted read-only.',
    ]);
    expect((await run.run(['restore', 'in', 'b/latest', 'out'])).code).to.equal(0);
    expect(existsSync(run.at('out/tree/deep/script'))).to.equal(true);
  });
});
