import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseHookCommand } from '../cli/hook-command';
import { SendallProcess } from './cli/sendall-process';
import { ticketOf } from './cli/session-run';

const root = join(__dirname, '..');

/** The lines of the blocks of shell code of a document, without their comments. */
function shellLines(document: string): string[] {
  return [...readFileSync(join(root, document), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.replace(/\s+# .*$/, '').trim());
}

/** Two machines in fresh destinations, of which one receives into `directory`, at a free port of loopback. */
class Machines {
  readonly home = mkdtempSync(join(tmpdir(), 'sendall-docs-'));
  readonly laptop = this.machine('laptop');
  readonly server = this.machine('server');
  readonly directory = join(this.home, 'server', 'inbox');
  private readonly running: SendallProcess[] = [];
  private address = '';
  private ticket = '';

  constructor() {
    const documents = join(this.home, 'laptop', 'Documents');
    mkdirSync(documents);
    for (const name of ['letter.txt', 'taxes-2026.ods', 'passwords.txt'])
      writeFileSync(join(documents, name), 'Dear Anna,\n');
    writeFileSync(join(documents, 'large.bin'), randomBytes(200_000));
    for (const name of ['disk.img', 'FILE', 'report.pdf']) writeFileSync(join(this.home, 'laptop', name), name);
  }

  /** Starts the receiver by the first command that README shows. */
  async receive(words: readonly string[]): Promise<void> {
    const receiver = this.start(this.server, [...words, '--listen', '127.0.0.1:0', '--address', '127.0.0.1']);
    this.ticket = await ticketOf(receiver);
    this.address = /sendall:\/\/([^/]+)\//.exec(this.ticket)?.[1] ?? '';
  }

  /** Runs a line on the machine that it is for, and returns its exit code with what it said. */
  async run(line: string): Promise<string> {
    const onServer = /^sudo -u sendall|\bDIR\b|^sendall authorize/.test(line);
    const latest = readdirSync(this.directory).includes('laptop')
      ? (readdirSync(join(this.directory, 'laptop')).find((name) => /Z$/.test(name)) ?? '')
      : '';
    const meant = line
      .replace(/^sudo (-u sendall )?(-H )?/, '')
      .replace(/\/tmp\/|\/media\/disk\//g, `${this.home}/`)
      .replace(/\/srv\/backups|\bDIR\b/g, this.directory)
      .replace(/2026-11-19T020511Z/g, latest)
      .replace(/(^| )~/g, `$1${join(this.home, 'laptop')}`)
      .replace('homeserver.lan', this.address)
      .replace(' anna/', ' laptop/')
      .replace('TICKET', this.ticket);
    if (!meant.startsWith('sendall ')) {
      const { status, stderr } = spawnSync('sh', ['-c', meant], { encoding: 'utf8' });
      return `${String(status)} ${stderr}`;
    }
    const { words } = parseHookCommand(meant);
    const authorizes = words[0] === 'authorize' && !words.includes('--address') && !words.includes('--remove');
    const started = this.start(onServer ? this.server : this.laptop, [
      ...words,
      ...(authorizes ? ['--address', this.address] : []),
    ]);
    started.child.stdin?.on('error', () => undefined).end(words[0] === 'peers' ? `${this.ticket}\n` : '');
    const { code, stdout, stderr } = await started.ended;
    if (words[0] === 'authorize' && stdout.startsWith('sendall://')) this.ticket = stdout.trim();
    return `${String(code)} ${stderr}`;
  }

  async end(): Promise<void> {
    for (const { child, ended } of this.running) {
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.home, { recursive: true });
  }

  private start({ cwd, env }: { cwd: string; env: NodeJS.ProcessEnv }, words: readonly string[]): SendallProcess {
    const started = new SendallProcess(words, { cwd, env });
    this.running.push(started);
    return started;
  }

  private machine(name: string): { cwd: string; env: NodeJS.ProcessEnv } {
    const cwd = join(this.home, name);
    mkdirSync(cwd, { mode: 0o700 });
    const env = {
      HOME: cwd,
      SENDALL_TICKET: '',
      XDG_CONFIG_HOME: join(cwd, '.config'),
      XDG_CACHE_HOME: join(cwd, '.cache'),
      XDG_STATE_HOME: join(cwd, '.state'),
    };
    return { cwd, env };
  }
}

describe('what the documents say, done as it stands in a fresh home', function () {
  this.timeout(120_000);
  let machines: Machines;
  beforeEach(async () => {
    machines = new Machines();
    const [, first = ''] = /^\$ sendall (receive inbox) /m.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [];
    await machines.receive(first.split(' '));
    expect(statSync(machines.directory).mode & 0o777).to.equal(0o700);
  });
  afterEach(() => machines.end());

  /** Does these lines one after the other: each ends with 0. */
  async function follow(lines: readonly string[], others: readonly string[] = []): Promise<void> {
    for (const line of lines) {
      for (const other of others.filter((each) => line.includes(each.split(' ').at(-1) ?? each)).splice(0, 1)) {
        const name = other.split(' ').at(-1) ?? '';
        await machines.run(`sendall authorize key-${name} --rights ${name.replace(/^.*-/, '')}`);
        await machines.run(`sendall peers add ${name}`);
      }
      const ended = await machines.run(line);
      expect(ended.startsWith('0 '), `${line}: ${ended}`).to.equal(true);
    }
  }

  it('README: lasting keys, and backups with a key of the right kind for each', async () => {
    const lines = shellLines('README.md');
    const from = lines.findIndex((line) => line.startsWith('sendall authorize laptop'));
    const rest = lines.slice(from).filter((line) => /^(?:sendall|cd) /.test(line));
    expect(rest.length).to.be.at.least(12);
    await follow(rest, ['sendall peers add homeserver-read', 'sendall peers add homeserver-admin']);
  });

  it('docs/backups.md: setting up, every day, verifying, drills, a loss, pruning', async () => {
    const lines = shellLines('docs/backups.md').filter(
      (line) =>
        /^(?:sudo -u sendall (?:-H )?)?(?:sendall|sh -c|mkdir -m) /.test(line) &&
        !/\/mnt\/new|^sendall receive| \| /.test(line),
    );
    expect(lines.length).to.be.at.least(25);
    // The second machine is a new one: what it is called there is not taken.
    const seen = new Set<string>();
    await follow(
      lines.flatMap((line) => {
        const again = line.startsWith('sendall peers add ') && seen.has(line);
        seen.add(line);
        return again ? [line.replace('add', 'remove'), line] : [line];
      }),
    );
  });
});
