import { expect } from 'chai';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import promises, { chmod, mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Directory } from '../../../lib/store/local/directory';
import { takeLock } from '../../../lib/store/local/lock';
import { failureOf } from '../delivery';
import { emptyDirectory } from './local-place';
import { ReceivingProcess } from './receiving-process';
import { skipTest } from '../../skip-test';

/** The number of a process that has ended. */
const deadPid = spawnSync(process.execPath, ['--version']).pid;

describe('takeLock', () => {
  let place: string;
  let directory: Directory;
  beforeEach(async () => {
    place = await emptyDirectory();
    directory = await Directory.open(place);
  });
  afterEach(async () => {
    await directory.close();
    await rm(place, { recursive: true, force: true });
  });

  const lock = (): string => path.join(place, 'lock');
  const holder = (changes: object = {}): string =>
    JSON.stringify({ pid: deadPid, host: hostname(), started: '', ...changes });

  async function expectTakenOver(): Promise<void> {
    const unlock = await takeLock(directory);
    expect((JSON.parse(await readFile(lock(), 'utf8')) as { pid: number }).pid).to.equal(process.pid);
    await unlock();
    expect(await readdir(place)).to.deep.equal([]);
  }

  it('is refused while a process holds it, which is named, and free afterwards', async () => {
    const unlock = await takeLock(directory);
    const failure = await failureOf(takeLock(directory));
    expect(failure.code).to.equal('directory');
    expect(failure.message).to.contain(`process ${process.pid} on ${hostname()}`);
    expect(await readdir(place)).to.deep.equal(['lock']);
    await unlock();
    await expectTakenOver();
  });

  it('is free afterwards although its file could not be removed, or another file of ours (fault experiment failing-calls)', async () => {
    for (const failing of [/\/lock\.[0-9a-f]+$/, /\/lock$/]) {
      const { rm: remove, unlink } = promises;
      const fail = (call: 'rm' | 'unlink', file: string): void => {
        if (failing.test(file)) throw Object.assign(new Error(`EIO: i/o error, ${call}`), { code: 'EIO' });
      };
      promises.rm = async (file, options) => {
        fail('rm', String(file));
        await remove(file, options);
      };
      promises.unlink = async (file) => {
        fail('unlink', String(file));
        await unlink(file);
      };
      try {
        const unlock = await takeLock(directory);
        await unlock().catch(() => undefined);
      } finally {
        Object.assign(promises, { rm: remove, unlink });
      }
      await expectTakenOver();
    }
  });

  it('takes over the lock of a process that is gone', async () => {
    await writeFile(lock(), holder());
    await expectTakenOver();
  });

  it('takes over the lock of a process that was killed and that its parent has not asked for', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    // What the shell has started becomes a child of sleep, which asks for none.
    const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 20'], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(line.toString());
      const fields = (): string[] =>
        readFileSync(`/proc/${String(pid)}/stat`, 'latin1')
          .replace(/^.*\) /, '')
          .split(' ');
      while (fields()[0] !== 'Z') await sleep(5);
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
      await writeFile(lock(), holder({ pid, started: `${boot}/${fields()[19] ?? ''}` }));
      await expectTakenOver();
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('takes over the lock of a process whose number another one has now', async () => {
    await writeFile(lock(), holder({ pid: process.pid, started: 'another boot/1' }));
    await expectTakenOver();
  });

  it('does not take over a lock from another machine, and says which file it is', async () => {
    await writeFile(lock(), holder({ host: 'another-machine' }));
    const failure = await failureOf(takeLock(directory));
    expect(failure.message).to.contain('another-machine');
    expect(failure.hint).to.contain('remove .sendall/lock');
  });

  it('takes over the lock of a process that is gone, whatever this machine was called then', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    const unlock = await takeLock(directory);
    const mine = JSON.parse(await readFile(lock(), 'utf8')) as object;
    await unlock();
    const gone = { ...mine, pid: deadPid, host: 'called-so-before', id: 'abc' };
    // By its number; by the kernel's lock, which nobody has, in a namespace of its own; of an earlier start.
    for (const changes of [
      { flock: undefined },
      { namespace: 'pid:[1]' },
      { started: 'earlier/1', flock: undefined },
    ]) {
      await writeFile(lock(), JSON.stringify({ ...gone, ...changes }));
      await expectTakenOver();
    }
    await writeFile(lock(), JSON.stringify({ ...gone, namespace: 'pid:[1]', flock: undefined }));
    expect((await failureOf(takeLock(directory))).message).to.contain('called-so-before');
  });

  it('takes over a lock that a power cut left empty, once it is old', async () => {
    await writeFile(lock(), '');
    await utimes(lock(), new Date(), new Date(Date.now() - 60_000));
    await expectTakenOver();
  });

  it('gives up on one that cannot be read and is new: somebody may be writing it', async () => {
    for (const text of ['', '{', 'null', '[]', '{"pid":"1"}']) {
      await writeFile(lock(), text);
      const failure = await failureOf(takeLock(directory));
      expect(failure.hint, text).to.contain('Remove .sendall/lock');
      expect(await readFile(lock(), 'utf8')).to.equal(text);
    }
  }).timeout(20_000);

  it('collects what others left that were killed while they took it', async () => {
    await writeFile(lock(), holder());
    await writeFile(path.join(place, 'lock.removing'), holder());
    await writeFile(path.join(place, 'lock.0123456789abcdef'), holder());
    // Killed while it wrote that (fault experiment killed).
    await writeFile(path.join(place, 'lock.123456789abcdef0'), '');
    await expectTakenOver();
  });

  it('of a killed receiver goes to exactly one of those who race for it', async function () {
    this.timeout(30_000);
    const contenders = Array.from({ length: 4 }, () => new ReceivingProcess());
    try {
      for (let round = 0; round < 25; round++) {
        const receive = path.join(place, String(round));
        await mkdir(path.join(receive, '.sendall'), { recursive: true });
        await chmod(path.join(receive, '.sendall'), 0o700);
        await writeFile(path.join(receive, '.sendall', 'lock'), holder());
        const answers = await Promise.all(contenders.map((contender) => contender.open(receive)));
        const winners = answers.flatMap((answer, at) =>
          answer['verified'] === undefined ? [] : [contenders[at] as ReceivingProcess],
        );
        expect(winners, JSON.stringify(answers)).to.have.lengthOf(1);
        const refused = answers.filter(({ code }) => code === 'directory').map(({ message }) => message);
        expect(refused).to.have.lengthOf(3);
        for (const message of refused) expect(message).to.contain(`process ${winners[0]?.pid ?? ''} on`);
        await winners[0]?.ask({ order: 'close' });
        expect(await readdir(receive)).to.deep.equal([]);
      }
    } finally {
      await Promise.all(contenders.map((contender) => contender.kill()));
    }
  });

  it('is never held by two at once while receivers come and go', async () => {
    const contenders = Array.from({ length: 3 }, () => new ReceivingProcess());
    try {
      const answers = await Promise.all(
        contenders.map((contender) => contender.ask({ order: 'take turns', directory: place, ms: 1500 })),
      );
      for (const { together, others } of answers)
        expect({ together, others }).to.deep.equal({ together: 0, others: ['in use'] });
      expect(answers.reduce((sum, { entered }) => sum + Number(entered), 0)).to.be.greaterThan(10);
      expect(await readdir(place)).to.deep.equal([]);
    } finally {
      await Promise.all(contenders.map((contender) => contender.kill()));
    }
  });
});
