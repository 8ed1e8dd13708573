import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { canTrace } from '../store/local/trace';
import { type Ended, eventsOf, expectEvent, sendall, SendallProcess } from './sendall-process';
import { skipTest } from '../skip-test';

const mib = 1024 * 1024;

describe('cli: backup (the built command)', () => {
  let place: string;
  let root: string;
  const run = (...words: readonly string[]): Promise<Ended> => sendall(['backup', ...words], { cwd: place });
  /** The ids of the complete snapshots of `b`. */
  const ids = (): string[] =>
    readdirSync(join(root, 'b'))
      .filter((name) => name !== 'latest')
      .sort();

  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'sendall-backup-cli-'));
    root = join(place, 'kept');
    mkdirSync(root);
    mkdirSync(join(place, 'home'));
    writeFileSync(join(place, 'home/a'), 'aaaa');
    writeFileSync(join(place, 'home/large'), Buffer.alloc(3 * mib, 'x'));
  });
  afterEach(() => rmSync(place, { recursive: true, force: true }));

  it('prints the snapshot, and ends with 0', async () => {
    const { code, stdout, stderr } = await run('home', 'kept', '--name', 'b');
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.match(
      /^b\/\d{4}-\d\d-\d\dT\d{6}Z {2}3 entries {2}3\.0 MiB, 3\.0 MiB of it new {2}verified (on device|\(page cache only\)) {2}[\d.]+ s\n$/,
    );
    execFileSync('sha256sum', ['--strict', '--quiet', '-c', 'SHA256SUMS'], { cwd: join(root, 'b/latest') });
  });

  it('notes for a repair what a snapshot is of, also where something is missing in it', async () => {
    writeFileSync(join(place, 'MANIFEST'), 'a name that a snapshot has for itself');
    expect((await run('home', 'MANIFEST', 'kept', '--name', 'b')).code).to.equal(8);
    writeFileSync(join(root, 'b/latest/home/a'), 'rot!');
    const { code, stdout, stderr } = await sendall(['verify', 'kept', '--repair'], { cwd: place });
    expect(code, stdout + stderr).to.equal(0);
    expect(readFileSync(join(root, 'b/latest/home/a'), 'utf8')).to.equal('aaaa');
    expect((await run('nothing', 'kept', '--name', 'b')).code).to.equal(2);
    expect(readFileSync(join(place, 'sendall/backed-up.json'), 'utf8')).not.to.include('nothing');
  });

  it('prints events of the schema, of a receiver too', async () => {
    const receiver = new SendallProcess(['receive', 'kept', '--listen', '127.0.0.1:0', '--json'], { cwd: place });
    const ticket = (await receiver.says(/"ticket":"([^"]+)"/))[1] ?? '';
    const ended = await run('home', ticket, '--name', 'b', '--json');
    receiver.child.kill('SIGINT');
    const events = [...eventsOf(ended), ...eventsOf(await receiver.ended)];
    for (const event of events) expectEvent(event);
    expect(ended.code).to.equal(0);
    const told = events.filter((event) => event.event === 'snapshot');
    expect(told).to.have.lengthOf(2);
    expect(told[0]).to.deep.equal(told[1]);
    expect(told[0]).to.include({
      entries: 3,
      bytes: 3 * mib + 4,
      new_bytes: 3 * mib + 4,
      missing: 0,
      verified_at: null,
    });
    expect(events.filter(({ event }) => event === 'received')).to.deep.equal([]);
  });

  // Found by the fault experiment failing-calls: it was told as an error that should not happen.
  it('is done when the snapshot is, although what was kept for it cannot be removed', async function () {
    if (!canTrace) skipTest(this, 'strace is not installed');
    const own = join(root, '.sendall/snapshots/b');
    const failing = [
      'strace',
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-P',
      join(own, 'receipts'),
      '-P',
      join(own, 'stager'),
      '-e',
      'trace=unlink,unlinkat',
      '-e',
      'inject=unlink,unlinkat:error=EIO',
    ];
    const { code, stderr } = await new SendallProcess(['backup', 'home', root, '--name', 'b'], {
      cwd: place,
      under: failing,
    }).ended;
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(readdirSync(own)).to.include('stager');
    writeFileSync(join(place, 'home/a'), 'bbbb');
    expect(await run('home', 'kept', '--name', 'b')).to.include({ code: 0 });
    expect(readFileSync(join(root, 'b/latest/home/a'), 'utf8')).to.equal('bbbb');
    expect(readdirSync(own)).to.not.include('stager');
  }).timeout(30_000);

  // Found by the fault experiment failing-calls: the snapshot was there, and the command ended with exit code 1.
  it('is done when the snapshot is, although its own directory cannot be removed', async function () {
    if (!canTrace) skipTest(this, 'strace is not installed');
    const own = join(root, '.sendall/snapshots/b');
    const inject = ['-e', 'trace=rmdir', '-e', 'inject=rmdir:error=EACCES'];
    const failing = ['strace', '-f', '-qq', '-o', '/dev/null', '-P', own, ...inject];
    const { code, stderr } = await new SendallProcess(['backup', 'home', root, '--name', 'b'], {
      cwd: place,
      under: failing,
    }).ended;
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(readFileSync(join(root, 'b/latest/home/a'), 'utf8')).to.equal(readFileSync(join(place, 'home/a'), 'utf8'));
  }).timeout(30_000);

  // Found by the fault experiment failing-calls.
  it('does not contain what was refused because its directory could not be flushed', async function () {
    if (!canTrace) skipTest(this, 'strace is not installed');
    const failing = [
      'strace',
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-P',
      join(root, '.sendall/snapshots/b/tree/home'),
      '-e',
      'trace=fsync',
      '-e',
      'inject=fsync:error=EIO:when=1',
    ];
    // strace counts for each thread by itself.
    const env = { UV_THREADPOOL_SIZE: '1' };
    const { code, stderr } = await new SendallProcess(['backup', 'home', root, '--name', 'b'], {
      cwd: place,
      env,
      under: failing,
    }).ended;
    expect(code, stderr).to.equal(8);
    expect(readdirSync(join(root, 'b/latest/home'))).to.deep.equal(['a']);
  }).timeout(30_000);

  // Found by the fault experiment failing-calls: `latest` was never flushed, and a power cut could have taken it back.
  it('points latest to the snapshot once more where its directory could not be flushed', async function () {
    if (!canTrace) skipTest(this, 'strace is not installed');
    const log = join(place, 'log');
    const inject = ['-e', 'trace=fsync', '-e', 'inject=fsync:error=EIO:when=2'];
    const { code, stderr } = await new SendallProcess(['backup', 'home', root, '--name', 'b'], {
      cwd: place,
      env: { UV_THREADPOOL_SIZE: '1' },
      under: ['strace', '-f', '-qq', '-o', log, '-P', join(root, 'b'), ...inject],
    }).ended;
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(
      readFileSync(log, 'utf8')
        .match(/fsync\(\d+\) += .*/g)
        ?.map((call) => /= (\S+)/.exec(call)?.[1]),
    ).to.deep.equal(['0', '-1', '0']);
    expect(readlinkSync(join(root, 'b/latest'))).to.equal(ids()[0]);
  }).timeout(30_000);

  it('names what is missing, and ends with 8', async () => {
    writeFileSync(join(place, 'home/.sendall'), ''); // a name that a receive directory keeps for itself
    const { code, stdout, stderr } = await run('home', 'kept', '--name', 'b');
    expect(code).to.equal(8);
    expect(stdout).to.match(/ {2}1 missing\n$/);
    expect(stderr).to.include('.sendall');
  });

  it('is wrong usage without a name, a target or anything to back up, and where it would contain itself', async () => {
    for (const words of [
      ['home', 'kept'],
      ['home', '--name', 'b'],
      ['home', 'nowhere', '--name', 'b'],
      ['home', 'kept', '--name', 'a/b'],
      ['home', '.', 'kept', '--name', 'b'],
      ['home', 'tcp://127.0.0.1:1', '--name', 'b'],
    ]) {
      const { code, stderr } = await run(...words);
      expect({ code, hint: stderr.includes('hint: ') }, stderr).to.deep.equal({ code: 2, hint: true });
    }
  });

  it('of the directory that the backups are in leaves them out', async () => {
    expect(await run('.', 'kept', '--name', 'b')).to.include({ code: 0 });
    const [id = ''] = ids();
    const [top = ''] = readdirSync(join(root, 'b', id)).filter((name) => !/^(MANIFEST|SHA256SUMS)$/.test(name));
    expect(readdirSync(join(root, 'b', id, top))).to.deep.equal(['home']);
  });

  it('is refused while another one of the same name is under way', async () => {
    writeFileSync(join(place, 'home/larger'), Buffer.alloc(16 * mib, 'y'));
    const first = new SendallProcess(['backup', 'home', 'kept', '--name', 'b', '--limit', '4M', '--json'], {
      cwd: place,
    });
    await first.says(/"event":"started"/);
    const second = await run('home', 'kept', '--name', 'b');
    expect(second.code).to.equal(2);
    expect(second.stderr).to.match(/Another run of sendall \(process \d+ on .+\) is using the backup b\./);
    expect(await first.ended).to.include({ code: 0 });
    expect(ids()).to.have.lengthOf(1);
  });

  it('killed at any moment leaves the snapshots before as they were, and no other; the next one goes on', async function () {
    this.timeout(60_000);
    expect(await run('home', 'kept', '--name', 'b')).to.include({ code: 0 });
    const [first = ''] = ids();
    writeFileSync(join(place, 'home/larger'), Buffer.alloc(48 * mib, 'z'));
    unlinkSync(join(place, 'home/a'));
    for (const after of [150, 300, 450, 600, 750, 1000]) {
      const running = new SendallProcess(['backup', 'home', 'kept', '--name', 'b', '--limit', '60M'], { cwd: place });
      await pause(after);
      running.child.kill('SIGKILL');
      await running.ended;
      for (const id of ids())
        execFileSync('sha256sum', ['--strict', '--quiet', '-c', 'SHA256SUMS'], { cwd: join(root, 'b', id) });
    }
    const before = ids().length;
    const whole = await run('home', 'kept', '--name', 'b');
    expect(whole).to.include({ code: 0 });
    expect(ids()).to.have.lengthOf(before + 1);
    expect(readFileSync(join(root, 'b', first, 'home/a'), 'utf8')).to.equal('aaaa');
    expect(readdirSync(join(root, 'b/latest/home')).sort()).to.deep.equal(['large', 'larger']);
    expect(readdirSync(join(root, '.sendall/snapshots/b'))).to.deep.equal(['register']);
  });
});
