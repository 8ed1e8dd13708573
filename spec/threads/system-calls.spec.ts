import { execFileSync } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import {
  bindSystemCalls,
  type ForeignFunctions,
  setFileTime,
  setFileTimeNearly,
  type SystemCalls,
  systemCalls,
} from '../../lib/threads/system-calls';
import { isInstalled } from '../store/local/receiving-process';
import { skipTest } from '../skip-test';

const root = path.join(__dirname, '..', '..');
const compiled = ['-r', require.resolve('../typescript.js')];
const moduleUnderTest = JSON.stringify(path.join(root, 'lib/threads/system-calls'));

describe('setting the time of a file', () => {
  let place: string;
  let fd: number;
  beforeEach(async () => {
    place = await mkdtemp(path.join(tmpdir(), 'sendall-calls-'));
    fd = openSync(path.join(place, 'file'), 'w+');
  });
  afterEach(async () => {
    closeSync(fd);
    await rm(place, { recursive: true });
  });
  const mtime = (): bigint => fstatSync(fd, { bigint: true }).mtimeNs;

  const times = [
    1_700_000_000_123_456_789n,
    0n,
    4_102_444_800_000_000_001n,
    -1n,
    -86_400_000_000_000n,
    -1_234_567_891n,
  ];
  it('is exact to the nanosecond where the machine can, before 1970 too', function () {
    if (systemCalls() === undefined) skipTest(this, 'the calls of Linux are not to be had here');
    for (const time of times) {
      setFileTime(fd, time);
      expect(mtime()).to.equal(time);
    }
  });

  it('is otherwise off by less than a microsecond, by less than a millisecond before 1970', () => {
    for (const time of times) {
      setFileTimeNearly(fd, time);
      const off = mtime() - time;
      expect(off < 0n ? -off : off, `${time} became ${mtime()}`).to.satisfy(
        (ns: bigint) => ns < (time < 0n ? 1_000_000n : 1_000n),
      );
    }
  });

  it('leaves the access time, or makes it the present one: disks in user space take no time alone', () => {
    execFileSync('touch', ['-a', '-d', '2001-02-03T04:05:06Z', path.join(place, 'file')]);
    setFileTimeNearly(fd, 6n);
    expect(fstatSync(fd).atime.toISOString()).to.equal('2001-02-03T04:05:06.000Z');
    setFileTime(fd, 5n);
    const { atimeMs } = fstatSync(fd);
    if (systemCalls()) expect(atimeMs).to.be.closeTo(Date.now(), 60_000);
  });
});

describe('system calls', function () {
  let calls: SystemCalls;
  let place: string;
  before(function () {
    const found = systemCalls();
    if (found === undefined) {
      skipTest(this, 'the calls of Linux are not to be had here');
    }
    calls = found;
  });
  beforeEach(async () => {
    place = await mkdtemp(path.join(tmpdir(), 'sendall-calls-'));
  });
  afterEach(() => rm(place, { recursive: true }));
  const at = (name: string): string => path.join(place, name);

  function thrownBy(act: () => unknown): NodeJS.ErrnoException {
    try {
      act();
    } catch (error) {
      return error as NodeJS.ErrnoException;
    }
    throw new Error('nothing was thrown');
  }
  const closed = 1_000_000;

  it('the time of a symbolic link is set without touching where it points', () => {
    writeFileSync(at('file'), '');
    const before = statSync(at('file'), { bigint: true }).mtimeNs;
    symlinkSync('file', at('lïnk'));
    calls.setLinkTime(at('lïnk'), 987_654_321_123_456_789n);
    expect(lstatSync(at('lïnk'), { bigint: true }).mtimeNs).to.equal(987_654_321_123_456_789n);
    expect(statSync(at('file'), { bigint: true }).mtimeNs).to.equal(before);
  });

  it('renaming replaces nothing: EEXIST, and both are as they were', () => {
    writeFileSync(at('a'), 'a');
    writeFileSync(at('b'), 'b');
    expect(thrownBy(() => calls.renameNoReplace(at('a'), at('b')))).to.include({
      code: 'EEXIST',
      errno: -17,
      syscall: 'renameat2',
    });
    expect([readFileSync(at('a'), 'utf8'), readFileSync(at('b'), 'utf8')]).to.deep.equal(['a', 'b']);
    calls.renameNoReplace(at('a'), at('ç 漢'));
    expect(readdirSync(place)).to.have.members(['b', 'ç 漢']);
  });

  it('a path is never cut short at NUL', () => {
    writeFileSync(at('a'), '');
    expect(thrownBy(() => calls.renameNoReplace(at('a'), `${at('b')}\0c`)).code).to.equal('EINVAL');
    expect(thrownBy(() => calls.setLinkTime(`${at('a')}\0`, 1n)).code).to.equal('EINVAL');
    expect(readdirSync(place)).to.deep.equal(['a']);
  });

  it('data and holes of a sparse file are found, beyond 4 GiB too; reading at a place is not disturbed', () => {
    const far = 5 * 2 ** 30;
    const fd = openSync(at('sparse'), 'w+');
    writeSync(fd, Buffer.alloc(65536, 1), 0, 65536, 1 << 20);
    writeSync(fd, Buffer.alloc(65536, 2), 0, 65536, far);
    const found = [
      calls.nextData(fd, 0),
      calls.nextHole(fd, 1 << 20),
      calls.nextData(fd, 2 << 20),
      calls.nextHole(fd, far),
      calls.nextData(fd, far + 65536),
      calls.nextHole(fd, far + 65536),
    ];
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, far);
    closeSync(fd);
    expect(found).to.deep.equal([1 << 20, (1 << 20) + 65536, far, far + 65536, undefined, undefined]);
    expect(byte[0]).to.equal(2);
  });

  it('what fails carries the code, the number and the call, as in Node', () => {
    expect(thrownBy(() => calls.setTime(closed, 1n))).to.include({ code: 'EBADF', errno: -9, syscall: 'futimens' });
    expect(thrownBy(() => calls.syncFileSystem(closed))).to.include({ code: 'EBADF', errno: -9, syscall: 'syncfs' });
    expect(thrownBy(() => calls.nextData(closed, 0))).to.include({ code: 'EBADF', errno: -9, syscall: 'lseek' });
    expect(thrownBy(() => calls.nextHole(closed, 0))).to.include({ code: 'EBADF' });
    expect(thrownBy(() => calls.setLinkTime(at('none'), 1n))).to.include({
      code: 'ENOENT',
      errno: -2,
      syscall: 'utimensat',
    });
    expect(thrownBy(() => calls.renameNoReplace(at('none'), at('b'))).message).to.match(
      /^ENOENT: no such file or directory, renameat2/,
    );
    calls.willReadOnce(closed);
  });

  it('reach the kernel as they should', function () {
    if (!isInstalled('strace')) skipTest(this, 'strace is not installed');
    const script = `
      const calls = require(${moduleUnderTest}).systemCalls();
      const fd = require('node:fs').openSync('f', 'w');
      calls.setTime(fd, 1500000001n); calls.syncFileSystem(fd); calls.willReadOnce(fd); calls.renameNoReplace('f', 'g');`;
    const kinds = '-etrace=utimensat,syncfs,fadvise64,renameat2';
    execFileSync(
      'strace',
      [
        '-f',
        '-qq',
        '-o',
        at('trace'),
        kinds,
        process.execPath,
        ...compiled.map((word) => word.replace(/^ts-node/, path.join(root, 'node_modules/ts-node'))),
        '-e',
        script,
      ],
      {
        cwd: place,
        env: { ...process.env, TS_NODE_PROJECT: path.join(root, 'tsconfig.json') },
      },
    );
    const trace = readFileSync(at('trace'), 'utf8').replace(/^\d+ +/gm, '');
    expect(trace).to.match(/^utimensat\(\d+, NULL, \[UTIME_NOW, \{tv_sec=1, tv_nsec=500000001\}.*\], 0\) = 0/m);
    expect(trace).to.match(/^syncfs\(\d+\) += 0/m);
    expect(trace).to.match(/^fadvise64\(\d+, 0, 0, POSIX_FADV_SEQUENTIAL\) = 0/m);
    expect(trace).to.match(/^renameat2\(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE\) = 0/m);
  });

  it('work in several threads at once, each seeing its own errors', async () => {
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      const calls = require(${moduleUnderTest}).systemCalls();
      const codes = new Set();
      for (let count = 0; count < 2000; count++) try { workerData ? calls.setTime(${closed}, 1n) : calls.setLinkTime('/nowhere', 1n); } catch (error) { codes.add(error.code); }
      parentPort.postMessage([...codes].join());`;
    const codes = [0, 1].map(
      (workerData) =>
        new Promise((resolve, reject) => {
          new Worker(script, { eval: true, workerData, execArgv: compiled }).on('message', resolve).on('error', reject);
        }),
    );
    expect(await Promise.all(codes)).to.deep.equal(['ENOENT', 'EBADF']);
  });
});

describe('a machine that gives no system calls', () => {
  it('is told by undefined: no foreign functions, a C library that lacks one', () => {
    expect(bindSystemCalls(undefined)).to.equal(undefined);
    const lacking: ForeignFunctions = {
      errno: () => 0,
      address: () => 0n,
      view: () => new ArrayBuffer(0),
      load: () => ({
        func: (prototype) => {
          if (prototype.includes('renameat2')) throw new Error('Cannot find function in shared library');
          return () => 0;
        },
      }),
    };
    expect(bindSystemCalls(lacking)).to.equal(undefined);
  });

  it('still sets times nearly: without the optional package', () => {
    const script = `
      const Module = require('node:module');
      const load = Module._load;
      Module._load = (name, ...rest) => { if (name.startsWith('@koromix/')) throw new Error('Cannot find module'); return load(name, ...rest); };
      const { setFileTime, systemCalls } = require(${moduleUnderTest});
      const fs = require('node:fs');
      const file = require('node:path').join(fs.mkdtempSync(require('node:os').tmpdir() + '/sendall-calls-'), 'f');
      const fd = fs.openSync(file, 'w');
      setFileTime(fd, 1234567890000000000n);
      console.log(systemCalls(), fs.fstatSync(fd).mtimeMs);
      fs.rmSync(require('node:path').dirname(file), { recursive: true });`;
    expect(
      execFileSync(process.execPath, [...compiled, '-e', script], { cwd: root, encoding: 'utf8' }).trim(),
    ).to.equal('undefined 1234567890000');
  });
});
