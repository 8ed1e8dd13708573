import { execFile, execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
} from 'node:fs';
import { renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { changePrivateFile, checkKeyName, configDirectory, readPrivateFile } from '../../lib/access/private-file';
import { TransferError } from '../../lib/errors';
import { failureOf } from '../store/delivery';

const run = promisify(execFile);
const deadPid = spawnSync(process.execPath, ['--version']).pid;
const root = process.geteuid?.() === 0;
const asRoot = root ? it : it.skip;

describe('lib/access/private-file', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-private-'));
    file = join(directory, 'keys.json');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const add = (line: string): Promise<void> => changePrivateFile(file, (text) => `${text ?? ''}${line}\n`);
  const refused = (): TransferError => {
    try {
      readPrivateFile(file);
    } catch (error) {
      if (error instanceof TransferError) return error;
    }
    throw new Error('it was not refused');
  };
  const lockOf = (pid: number, host = hostname()): string => JSON.stringify({ pid, host, once: '' });

  it('makes directory and file for the user alone, and leaves nothing else behind', async () => {
    file = join(directory, 'deep', 'sendall', 'keys.json');
    expect(readPrivateFile(file)).to.equal(undefined);
    await add('one');
    await add('two');
    expect(readPrivateFile(file)).to.equal('one\ntwo\n');
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    expect(statSync(join(file, '..')).mode & 0o777).to.equal(0o700);
    expect(readdirSync(join(file, '..'))).to.deep.equal(['keys.json']);
  });

  it('refuses a file that others can read or write, with the way out, and takes it once that is gone', async () => {
    writeFileSync(file, 'secret');
    for (const mode of [0o640, 0o620, 0o604, 0o602, 0o610, 0o644, 0o666]) {
      chmodSync(file, mode);
      expect(refused(), mode.toString(8)).to.include({ code: 'usage', hint: `Run chmod 600 ${file}` });
      expect((await failureOf(add('more'))).code).to.equal('usage');
      expect(readFileSync(file, 'utf8')).to.equal('secret');
    }
    for (const mode of [0o600, 0o400]) {
      chmodSync(file, mode);
      expect(readPrivateFile(file)).to.equal('secret');
    }
  });

  asRoot('refuses a file and a directory of another user', async () => {
    writeFileSync(file, 'secret', { mode: 0o600 });
    chownSync(file, 65534, 65534);
    expect(refused().message).to.include('belongs to another user');
    rmSync(file);
    chownSync(directory, 65534, 65534);
    expect((await failureOf(add('x'))).message).to.include('belongs to another user');
    expect(existsSync(file)).to.equal(false);
  });

  it('refuses to keep keys where others could put a file of theirs', async () => {
    chmodSync(directory, 0o770);
    expect(await failureOf(add('x'))).to.include({ code: 'usage', hint: `Run chmod 700 ${directory}` });
    chmodSync(directory, 0o755);
    await add('x');
  });

  it('refuses what is no file or far too large, without waiting for a named pipe', () => {
    mkdirSync(file);
    expect(refused().message).to.include('is not a file');
    rmSync(file, { recursive: true });
    execFileSync('mkfifo', ['-m', '600', file]);
    expect(refused().message).to.include('is not a file');
    rmSync(file);
    writeFileSync(file, Buffer.alloc(4 * 1024 ** 2 + 1), { mode: 0o600 });
    expect(refused().code).to.equal('usage');
  });

  it('changes what a symbolic link leads to, not the link', async () => {
    const elsewhere = join(directory, 'elsewhere');
    mkdirSync(elsewhere, { mode: 0o700 });
    writeFileSync(join(elsewhere, 'kept'), 'one\n', { mode: 0o600 });
    symlinkSync(join(elsewhere, 'kept'), file);
    await add('two');
    expect(lstatSync(file).isSymbolicLink()).to.equal(true);
    expect(readFileSync(join(elsewhere, 'kept'), 'utf8')).to.equal('one\ntwo\n');
  });

  it('leaves everything as it was when the change is refused', async () => {
    await add('one');
    const failure = new TransferError('usage', 'No.');
    const attempt = changePrivateFile(file, () => {
      throw failure;
    });
    expect(await failureOf(attempt)).to.equal(failure);
    expect(readFileSync(file, 'utf8')).to.equal('one\n');
    expect(readdirSync(directory)).to.deep.equal(['keys.json']);
  });

  it('loses no change of several processes at once, and shows a reader nothing but whole texts', async () => {
    const module = join(__dirname, '..', '..', 'lib', 'access', 'private-file');
    const script = `const { changePrivateFile } = require(${JSON.stringify(module)});
      (async () => {
        for (let at = 0; at < 40; at++) {
          await changePrivateFile(${JSON.stringify(file)}, (text) => JSON.stringify([...JSON.parse(text ?? '[]'), process.argv[1] + at]));
        }
      })();`;
    let running = true;
    const writers = ['a', 'b', 'c', 'd'].map((name) =>
      run(process.execPath, ['-r', './spec/typescript.js', '-e', script, name]),
    );
    const all = Promise.all(writers).finally(() => (running = false));
    let seen = 0;
    while (running) {
      const text = readPrivateFile(file);
      if (text !== undefined) {
        const { length } = JSON.parse(text) as string[]; // throws for a torn one
        expect(length).to.be.at.least(seen);
        seen = length;
      }
      await new Promise(setImmediate);
    }
    await all;
    const wanted = ['a', 'b', 'c', 'd'].flatMap((name) =>
      Array.from({ length: 40 }, (_, at) => `${name}${at.toString()}`),
    );
    expect((JSON.parse(readFileSync(file, 'utf8')) as string[]).sort()).to.deep.equal(wanted.sort());
    expect(readdirSync(directory)).to.deep.equal(['keys.json']);
  });

  it('takes over the lock of a process that is gone, and one that a power cut left empty long ago', async () => {
    const minutesAgo = new Date(Date.now() - 120_000);
    const locks: [string, Date][] = [
      [lockOf(deadPid), new Date()],
      ['', minutesAgo],
      [lockOf(process.pid), minutesAgo],
      [lockOf(1, 'another-machine'), minutesAgo],
    ];
    for (const [text, time] of locks) {
      writeFileSync(`${file}.lock`, text);
      utimesSync(`${file}.lock`, time, time);
      await add('x');
      expect(existsSync(`${file}.lock`)).to.equal(false);
    }
    expect(readFileSync(file, 'utf8')).to.equal('x\n'.repeat(locks.length));
  });

  it('waits for whoever lives and holds the lock, on this machine or another', async () => {
    for (const text of [lockOf(process.pid), lockOf(deadPid, 'another-machine'), '']) {
      rmSync(file, { force: true });
      writeFileSync(`${file}.lock`, text);
      const change = add('x');
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(existsSync(file), text).to.equal(false);
      rmSync(`${file}.lock`);
      await change;
      expect(readFileSync(file, 'utf8')).to.equal('x\n');
    }
  });

  it('begins again if somebody took its lock over in the middle, so that neither change is lost', async () => {
    let asked = 0;
    await changePrivateFile(file, (text) => {
      if (asked++ > 0) return `${text ?? ''}mine\n`;
      writeFileSync(`${file}.lock`, lockOf(deadPid));
      writeFileSync(`${file}.other`, 'theirs\n', { mode: 0o600 });
      renameSync(`${file}.other`, file);
      return 'mine\n';
    });
    expect(asked).to.equal(2);
    expect(readFileSync(file, 'utf8')).to.equal('theirs\nmine\n');
  });

  it('removes what a killed change left, not what another one writes just now', async () => {
    const [old, fresh] = [`${file}.0123456789abcdef.new`, `${file}.fedcba9876543210.new`] as const;
    writeFileSync(old, 'secret', { mode: 0o600 });
    writeFileSync(fresh, 'secret', { mode: 0o600 });
    utimesSync(old, 1, 1);
    await add('x');
    expect(readdirSync(directory).sort()).to.deep.equal(['keys.json', 'keys.json.fedcba9876543210.new']);
  });

  it('finds the configuration of the user by the rules of the system', () => {
    const home = homedir();
    expect(configDirectory({ XDG_CONFIG_HOME: '/x' }, 'linux')).to.equal('/x/sendall');
    expect(configDirectory({ XDG_CONFIG_HOME: 'relative' }, 'linux')).to.equal(join(home, '.config/sendall'));
    expect(configDirectory({}, 'darwin')).to.equal(join(home, '.config/sendall'));
    expect(configDirectory({ APPDATA: '/roaming' }, 'win32')).to.equal('/roaming/sendall');
  });

  it('takes for a name only what is neither a path, an address nor an option', () => {
    for (const name of ['a', 'nas', 'nas.example.org', 'Laptop_2', '_', '9', 'x'.repeat(64)]) checkKeyName(name);
    for (const name of [
      '',
      '.',
      '..',
      '.nas',
      '-',
      '-x',
      'a/b',
      'a:1',
      'unix:a',
      '@a',
      'a b',
      'ü',
      'a\n',
      'x'.repeat(65),
    ]) {
      expect(() => checkKeyName(name), JSON.stringify(name))
        .to.throw(TransferError)
        .with.property('code', 'usage');
    }
  });
});
