import { expect } from 'chai';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SessionRun } from './session-run';

const main = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

describe('cli: what can be read only once', function () {
  this.timeout(60_000);
  const content = randomBytes(1_500_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun({ dump: content });
    mkdirSync(run.at('tree'));
    writeFileSync(run.at('tree/x'), 'x');
  });
  afterEach(() => run.end());

  /** Runs it by a shell, with bytes for output. */
  const shell = (line: string): ReturnType<typeof spawnSync> =>
    spawnSync('bash', ['-c', line.replaceAll('sendall ', `'${process.execPath}' '${main}' `)], {
      cwd: run.directory,
      env: { ...process.env, XDG_CONFIG_HOME: '/nonexistent', XDG_CACHE_HOME: '/nonexistent', SENDALL_TICKET: '' },
      timeout: 30_000,
      maxBuffer: 2 * content.length,
    });

  it('standard input is one file of a snapshot, and one file comes back to standard output', async () => {
    const { ticket } = await run.receive();
    expect(shell(`sendall backup - tree '${ticket}' --name db --stdin-name shop.sql < dump`).status).to.equal(0);
    mkdirSync(run.at('disk'), { mode: 0o700 });
    expect(shell('sendall backup - disk --name db < dump').status).to.equal(0);
    expect(readdirSync(run.at('in/db/latest')).sort()).to.deep.equal(['MANIFEST', 'SHA256SUMS', 'shop.sql', 'tree']);
    execFileSync('sha256sum', ['-c', '--quiet', 'SHA256SUMS'], { cwd: run.at('in/db/latest') });
    for (const [place, name] of [
      ['in', 'shop.sql'],
      [`'${ticket}'`, 'shop.sql'],
      ['disk', 'stdin'],
    ]) {
      const restored = shell(`sendall restore ${String(place)} db/latest - ${String(name)}`);
      expect(restored.status, String(restored.stderr)).to.equal(0);
      expect((restored.stdout as Buffer).equals(content)).to.equal(true);
    }
    for (const words of [
      'in db/latest - tree shop.sql',
      'in db/latest -',
      'in db/latest - nothing',
      '--json in db/latest - shop.sql',
    ]) {
      const refused = shell(`sendall restore ${words}`);
      expect(refused.status, words).to.equal(2);
      expect((refused.stdout as Buffer).toString()).to.satisfy((text: string) => !text || text.startsWith('{'));
    }
    expect(shell('sendall verify in').status).to.equal(0);
  });

  it('damage comes to nobody by standard output', async () => {
    mkdirSync(run.at('disk'), { mode: 0o700 });
    expect(shell('sendall backup dump disk --name db').status).to.equal(0);
    writeFileSync(run.at('disk/db/latest/dump'), randomBytes(content.length));
    const restored = shell('sendall restore disk db/latest - dump');
    expect(restored.status).to.equal(4);
    expect((restored.stdout as Buffer).length).to.equal(0);
  });

  it('named pipes are read where they are named, and Ctrl-C ends waiting for a writer', async () => {
    const { ticket } = await run.receive();
    const plain = `tcp://${/127\.0\.0\.1:\d+/.exec(ticket)?.[0] ?? ''}`;
    for (const [target, name] of [
      [ticket, 'one'],
      [plain, 'two'],
    ] as const) {
      expect(shell(`sendall send <(cat dump) '${target}' --name ${name}`).status).to.equal(0);
      expect(readFileSync(run.at('in', name)).equals(content)).to.equal(true);
    }
    expect(shell(`sendall backup <(echo one) <(echo two) tree '${ticket}' --name b`).status).to.equal(0);
    const files = readdirSync(run.at('in/b/latest')).filter((name) => /^\d+$/.test(name));
    expect(files.map((name) => readFileSync(run.at('in/b/latest', name), 'utf8')).sort()).to.deep.equal([
      'one\n',
      'two\n',
    ]);
    execFileSync('mkfifo', [run.at('pipe')]);
    const waiting = run.start(['send', 'pipe', ticket, '--json']);
    await waiting.says(/"started"/);
    const began = performance.now();
    waiting.child.kill('SIGINT');
    expect((await waiting.ended).code).to.equal(130);
    expect(performance.now() - began).to.be.below(1_000);
    // In a directory they are what they were before: told, and not waited for.
    execFileSync('mkfifo', [run.at('tree/pipe')]);
    expect((await run.run(['send', 'tree', ticket])).code).to.equal(0);
  });
});
