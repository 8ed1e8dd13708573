import { randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { asNobody, nobody } from './as-nobody';
import { type Ended, SendallProcess } from './sendall-process';
import { SessionRun, ticketOf } from './session-run';
import { skipTest } from '../skip-test';

const large = 2 * 1024 * 1024;

describe('cli: what root backs up to a receiver of another user (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let receiver: SendallProcess;
  let ticket: string;
  const started: SendallProcess[] = [];
  before(function () {
    if (process.getuid?.() !== 0) skipTest(this, 'only root can do this');
  });
  beforeEach(async () => {
    run = new SessionRun();
    chmodSync(run.directory, 0o755);
    mkdirSync(run.at('user'));
    chownSync(run.at('user'), nobody, nobody);
    chownSync(run.at('in'), nobody, nobody);
    mkdirSync(run.at('etc/closed/below'), { recursive: true });
    mkdirSync(run.at('etc/entered'));
    writeFileSync(run.at('etc/open'), 'open\n');
    for (const [name, mode] of [
      ['shadow', 0],
      ['written', 0o200],
      ['run', 0o111],
      ['closed/file', 0o600],
      ['closed/below/file', 0],
      ['entered/file', 0o644],
    ] as const) {
      writeFileSync(run.at('etc', name), `${name}\n`);
      chmodSync(run.at('etc', name), mode);
    }
    writeFileSync(run.at('etc/large'), randomBytes(large), { mode: 0 });
    execFileSync('ln', ['etc/shadow', 'etc/again'], { cwd: run.directory });
    chmodSync(run.at('etc/closed/below'), 0o300);
    chmodSync(run.at('etc/closed'), 0);
    chmodSync(run.at('etc/entered'), 0o111);
    await receive();
  });
  afterEach(async () => {
    for (const { child, ended } of started.splice(0)) {
      child.kill('SIGKILL');
      await ended;
    }
    await run.end();
  });

  function runAsNobody(words: readonly string[], env: NodeJS.ProcessEnv = {}): SendallProcess {
    const process = new SendallProcess(words, {
      cwd: run.at('user'),
      under: asNobody,
      env: { HOME: run.at('user'), SENDALL_TICKET: '', ...env },
    });
    started.push(process);
    return process;
  }

  async function receive(): Promise<void> {
    receiver = runAsNobody(['receive', run.at('in'), '--listen', '127.0.0.1:0']);
    ticket = await ticketOf(receiver);
  }

  async function ends(running: SendallProcess, code: number): Promise<Ended> {
    const ended = await running.ended;
    expect(ended.code, ended.stdout + ended.stderr).to.equal(code);
    return ended;
  }

  async function backup(): Promise<void> {
    const { code, stderr, stdout } = await run.run(['backup', 'etc', ticket, '--name', 'b']);
    expect(code, stdout + stderr).to.equal(0);
    expect(stderr).not.to.include('mode');
  }

  /** Modes and contents below a directory, by name. */
  function tree(...names: readonly string[]): Record<string, string> {
    const top = run.at(...names);
    return Object.fromEntries(
      readdirSync(top, { recursive: true })
        .map(String)
        .map((name) => {
          const at = path.join(top, name);
          const stat = lstatSync(at);
          const content = stat.isFile() ? readFileSync(at).toString('base64') : '';
          return [name, `${(stat.mode & 0o7777).toString(8)} ${String(stat.mtimeMs)} ${content}`];
        }),
    );
  }

  it('is verified, restored with its modes, linked by the next one, and forgotten, by that user', async () => {
    await backup();
    await ends(runAsNobody(['verify', run.at('in')]), 0);
    await ends(runAsNobody(['restore', run.at('in'), 'b/latest', run.at('user/out')]), 0);
    expect(tree('user/out/etc')).to.deep.equal(tree('etc'));
    const back = await run.run(['restore', ticket, 'b/latest', 'out']);
    expect(back.code, back.stderr).to.equal(0);
    expect(tree('out/etc')).to.deep.equal(tree('etc'));
    await backup();
    const ids = readdirSync(run.at('in/b')).filter((name) => name !== 'latest');
    for (const name of ['shadow', 'large', 'closed/below/file'])
      expect(new Set(ids.map((id) => lstatSync(run.at('in/b', id, 'etc', name)).ino)).size, name).to.equal(1);
    await ends(runAsNobody(['verify', run.at('in')]), 0);
    await ends(runAsNobody(['forget', run.at('in'), 'etc/closed/below/file']), 0);
    await ends(runAsNobody(['verify', run.at('in')]), 0);
    await ends(runAsNobody(['prune', run.at('in'), '--keep-last', '1']), 0);
  });

  it('comes to standard output, whatever its mode and those above it, and nothing of it stays', async () => {
    chmodSync(run.at('etc/entered'), 0o555);
    mkdirSync(run.at('tmp'));
    chownSync(run.at('tmp'), nobody, nobody);
    await backup();
    for (const [name, content] of [
      ['shadow', 'shadow\n'],
      ['entered/file', 'entered/file\n'],
      ['closed/below/file', 'closed/below/file\n'],
    ] as const) {
      const words = ['restore', run.at('in'), 'b/latest', '-', `etc/${name}`];
      expect((await ends(runAsNobody(words, { TMPDIR: run.at('tmp') }), 0)).stdout).to.equal(content);
    }
    expect(readdirSync(run.at('tmp'))).to.deep.equal([]);
  });

  it('is mended by a repair to what that user can read', async () => {
    await backup();
    const [id = ''] = readdirSync(run.at('in/b')).filter((name) => name !== 'latest');
    for (const name of ['shadow', 'large', 'closed/below/file']) {
      writeFileSync(run.at('in/b', id, 'etc', name), 'damaged\n');
      rmSync(run.at('in/b', id, 'etc/entered'), { recursive: true, force: true });
    }
    await ends(runAsNobody(['verify', run.at('in')]), 4);
    const { code, stderr, stdout } = await run.run(['verify', ticket, '--repair', '--source', 'etc']);
    expect(code, stdout + stderr).to.equal(0);
    await ends(runAsNobody(['verify', run.at('in')]), 0);
  });

  it('comes anew where an earlier version has stored it unreadable, and what can be done is said', async () => {
    await backup();
    const [id = ''] = readdirSync(run.at('in/b')).filter((name) => name !== 'latest');
    const snapshot = run.at('in/b', id);
    // As it was stored: the mode of the source, and no word of it in the manifest.
    const manifest = readFileSync(path.join(snapshot, 'MANIFEST'), 'utf8').replaceAll(/,"kept_mode":"\d+"/g, '');
    const body = manifest.slice(0, manifest.trimEnd().lastIndexOf('\n') + 1);
    const sum = execFileSync('sha256sum', { input: body }).toString().slice(0, 64);
    writeFileSync(path.join(snapshot, 'MANIFEST'), `${body}{"sha256":"${sum}"}\n`);
    for (const name of ['shadow', 'written', 'run', 'large', 'closed/below/file', 'closed/below', 'closed', 'entered'])
      chmodSync(path.join(snapshot, 'etc', name), lstatSync(run.at('etc', name)).mode & 0o777);
    // It would make the directory anew.
    receiver.child.kill('SIGKILL');
    await receiver.ended;
    rmSync(run.at('in/.sendall'), { recursive: true, force: true });
    const adopted = await run.run(['adopt', 'in', '--owner', 'ticket']);
    expect(adopted.code, adopted.stderr).to.equal(0);
    execFileSync('chown', ['-R', String(nobody), run.at('in/.sendall')]);
    const verified = await ends(runAsNobody(['verify', run.at('in')]), 4);
    expect(verified.stdout).to.match(/unreadable\s+b\/\S+\/etc\/shadow/);
    expect(verified.stderr).to.match(/as root.*sendall verify/s);
    const restored = await ends(
      runAsNobody(['restore', run.at('in'), 'b/latest', run.at('user/out'), 'etc/shadow']),
      2,
    );
    expect(restored.stderr).to.match(/as root.*sendall restore/s);
    await receive();
    await backup();
    await ends(runAsNobody(['verify', run.at('in'), '--snapshot', 'b/latest']), 0);
  });
});
