import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { mountSmallDisk } from '../small-disk';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const MiB = 1024 ** 2;

describe('cli: a backup to a directory on a disk that is too small (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  const mounted: string[] = [];
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('src'));
    writeFileSync(run.at('src/small'), 'small\n');
    writeFileSync(run.at('src/disk.img'), randomBytes(20 * MiB));
  });
  afterEach(async () => {
    for (const each of mounted.splice(0)) execFileSync('umount', ['-l', each]);
    await run.end();
  });

  /** False where this machine or this user mounts nothing. */
  function small(directory: string): boolean {
    return mountSmallDisk(directory, 'size=12m,mode=0755') && mounted.push(directory) > 0;
  }

  it('speaks of that disk and of no receiver, and names it at the end', async function () {
    if (!small(run.at('in'))) skipTest(this, 'no small disk can be mounted here');
    const { code, stdout, stderr } = await run.run(['backup', 'src', 'in', '--name', 'b']);
    expect(code, stderr).to.equal(8);
    expect(stderr).to.match(/disk\.img needs 20\.0 MiB, and [\d.]+ [KM]iB are free where it goes\.\nhint: .*that disk/);
    expect(stderr).not.to.include('receiver');
    expect(stdout).to.match(/1 missing \(no room for 1\)\n$/);
    const only = await run.run(['backup', 'src/disk.img', 'in', '--name', 'c']);
    expect(only.code).to.equal(6);
    expect(only.stderr).to.include('that disk').and.not.to.include('receiver');
  });

  it('is restored to one likewise; a receiver is called one', async function () {
    mkdirSync(run.at('out'), { mode: 0o755 });
    if (!small(run.at('out'))) skipTest(this, 'no small disk can be mounted here');
    expect((await run.run(['backup', 'src', 'in', '--name', 'b'])).code).to.equal(0);
    const { code, stderr } = await run.run(['restore', 'in', 'b/latest', 'out']);
    expect(code).to.equal(8);
    expect(stderr).to.include('are free where it goes.').and.not.to.include('receiver');
    const receiver = run.start(['receive', 'out', '--listen', '127.0.0.1:0']);
    const [ticket = ''] = await receiver.says(/sendall:\/\/\S+/);
    const sent = await run.run(['backup', 'src', ticket, '--name', 'b']);
    expect(sent.stderr).to.include('hint: Free space on the receiver.');
  });
});
