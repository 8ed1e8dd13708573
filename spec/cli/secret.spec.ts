import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import { withoutTickets } from '../../cli/hide-tickets';
import { snapshotLocation } from '../../cli/snapshot-location';
import { askSecret, resolveTarget, splitTarget } from '../../cli/secret';
import { createKey, formatTicket } from '../../lib/index';
import { Peers } from '../../lib/internal';
import { failureOf } from '../store/delivery';
import { Screen } from './screen';
import { SendallProcess } from './sendall-process';

const ticketFor = (host: string): string =>
  formatTicket({ ...createKey(), address: { kind: 'tcp', host, port: 8898 } });
const ticket = ticketFor('10.0.0.1');
const token = ticket.split('/').at(-1) ?? '';

/** A terminal to type at, which knows whether it echoes. */
class Keyboard extends PassThrough {
  readonly isTTY = true;
  raw = false;
  setRawMode(raw: boolean): this {
    this.raw = raw;
    return this;
  }
}

const typing = (keys: string): { input: Keyboard & NodeJS.ReadStream; output: Screen } => {
  const input = new Keyboard();
  input.write(keys);
  return { input: input as unknown as Keyboard & NodeJS.ReadStream, output: new Screen(true) };
};
const nothing = { env: {}, input: new PassThrough() as unknown as NodeJS.ReadStream };

describe('cli/secret', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sendall-secret-'));
  const config = process.env['XDG_CONFIG_HOME'];
  before(() => (process.env['XDG_CONFIG_HOME'] = directory));
  after(() => {
    if (config === undefined) delete process.env['XDG_CONFIG_HOME'];
    else process.env['XDG_CONFIG_HOME'] = config;
    rmSync(directory, { recursive: true });
  });

  it('resolves tickets, files with one, addresses and peers, and nothing else', async () => {
    const file = join(directory, 'ticket');
    writeFileSync(file, ` ${ticket}\r\n`, { mode: 0o600 });
    const nas = createKey();
    const address = { kind: 'tcp', host: '10.0.0.2', port: 1 } as const;
    await new Peers().add('nas', { ...nas, address });
    expect(await resolveTarget(ticket)).to.deep.equal({ kind: 'ticket', ticket });
    expect(await resolveTarget(`@${file}`)).to.deep.equal({ kind: 'ticket', ticket });
    writeFileSync(file, `'${ticket}'\n`); // as it is printed for a shell
    expect(await resolveTarget(`@${file}`)).to.deep.equal({ kind: 'ticket', ticket });
    expect(await resolveTarget('nas')).to.deep.equal({ kind: 'ticket', ticket: formatTicket({ ...nas, address }) });
    for (const plain of ['tcp://10.0.0.1:8898', 'unix:/run/s.sock'])
      expect(await resolveTarget(plain)).to.deep.equal({ kind: 'plain', address: plain });
    for (const word of ['other', './nas', '-', '@', '', '10.0.0.1:8898', 'http://x/'])
      expect(await resolveTarget(word), word).to.equal(undefined);
    const error = await failureOf(snapshotLocation('no-such-peer'));
    expect(error).to.include({
      code: 'directory',
      message: 'There is no directory no-such-peer here, and no peer of that name.',
    });
  });

  it('asks the environment, then a terminal, only where the target was left out', async () => {
    expect(await resolveTarget(undefined, { env: { SENDALL_TICKET: ticket } })).to.deep.equal({
      kind: 'ticket',
      ticket,
    });
    expect(await resolveTarget(undefined, { ...typing(`${ticket}\r`), env: {} })).to.deep.equal({
      kind: 'ticket',
      ticket,
    });
    expect(await resolveTarget(undefined, nothing)).to.equal(undefined);
    expect(await resolveTarget('other', { ...typing(`${ticket}\r`), env: { SENDALL_TICKET: ticket } })).to.equal(
      undefined,
    );
  });

  it('finds the target among the words of send', async () => {
    const file = join(directory, 'a.txt');
    writeFileSync(file, '');
    const env = { SENDALL_TICKET: ticket };
    const target = { kind: 'ticket', ticket };
    const other = ticketFor('10.0.0.9');
    expect(await splitTarget([file, 'b', ticket], nothing)).to.deep.equal({ paths: [file, 'b'], target });
    expect(await splitTarget([file, other], { env })).to.deep.equal({
      paths: [file],
      target: { kind: 'ticket', ticket: other },
    });
    expect(await splitTarget([file], { env })).to.deep.equal({ paths: [file], target });
    expect(await splitTarget([file, 'missing'], { env })).to.deep.equal({ paths: [file, 'missing'], target });
    expect(await splitTarget([file], nothing)).to.deep.equal({ paths: [file], target: undefined });
    for (const last of [file, '-'])
      expect((await splitTarget([last], { ...typing(`${ticket}\r`), env: {} })).target).to.deep.equal(target);
    // A name mistyped: no question.
    expect((await splitTarget([file, 'nsa'], { ...typing(`${ticket}\r`), env: {} })).target).to.equal(undefined);
    expect(await splitTarget([], { env })).to.deep.equal({ paths: [], target }); // as for a text, which is no path
    expect(await splitTarget([], { ...typing(`${ticket}\r`), env: {} })).to.deep.equal({
      paths: [],
      target: undefined,
    });
  });

  it('refuses what is no ticket, says where it came from, and repeats none of it', async () => {
    const broken = ticket.slice(0, -1);
    const open = join(directory, 'open');
    writeFileSync(open, ticket, { mode: 0o640 });
    const attempts: [Promise<unknown>, RegExp][] = [
      [resolveTarget(broken), /begins with sendall:\/\//],
      [resolveTarget(`@${open}`), /Other users can read or write/],
      [resolveTarget(undefined, { env: { SENDALL_TICKET: broken } }), /^SENDALL_TICKET /],
      [resolveTarget(undefined, { ...typing(`${broken}\r`), env: {} }), /typed/],
    ];
    for (const [attempt, sentence] of attempts) {
      const failure = await failureOf(attempt);
      expect(failure.code).to.equal('usage');
      expect(failure.message).to.match(sentence).and.not.include(token.slice(1, 20));
    }
  });

  it('reads what is typed without showing it, with the keys that correct it', async () => {
    const typed: [keys: string, line: string][] = [
      ['secret\r', 'secret'],
      ['secret\nmore\n', 'secret'],
      ['wrong\u0015sex\u007fcrets\b\r', 'secret'],
      ['\u001b[200~secret\u001b[201~\r', 'secret'],
    ];
    for (const [keys, line] of typed) {
      const { input, output } = typing('');
      const answer = askSecret('Ticket: ', input, output);
      expect(input.raw).to.equal(true);
      input.write(keys);
      expect(await answer).to.equal(line);
      expect(input.raw).to.equal(false);
      expect(output.text).to.equal('Ticket: \n');
    }
    for (const key of ['\u0003', '\u0004']) {
      const { input, output } = typing(`sec${key}`);
      expect((await failureOf(askSecret('Ticket: ', input, output))).code).to.equal('interrupted');
      expect(input.raw).to.equal(false);
    }
    const { input, output } = typing('sec');
    input.end();
    expect((await failureOf(askSecret('Ticket: ', input, output))).code).to.equal('interrupted');
  });

  it('shows a code as it is typed, with the rest of its words, which -, Tab and Enter take; and no ticket', async () => {
    const { input, output } = typing('4821-cran-velx\u007fv\t@host\r');
    expect(await askSecret('? ', input, output, true)).to.equal('4821-crane-velvet@host');
    expect(output.text).to.include('4821-crane-velvet');
    const quick = typing('4821-cran-velv\r');
    const { target } = await splitTarget(['-'], { env: {}, ...quick, codes: true });
    expect(target).to.deep.equal({ kind: 'code', code: '4821-crane-velvet' });
    const { output: silent, ...keys } = typing(`${ticket}\r`);
    expect((await splitTarget(['-'], { env: {}, ...keys, output: silent, codes: true })).target).to.include({ ticket });
    expect(silent.text).to.not.include(token);
  });

  it('leaves tickets out of what repeats words', () => {
    expect(withoutTickets(`Unknown command '${ticket}'.`)).to.equal("Unknown command 'sendall://…'.");
    expect(withoutTickets(`--x=tcp://host/${token} y`)).to.equal('--x=tcp://host/… y');
    const digest = `sha256 ${'0a'.repeat(32)} differs`;
    expect(withoutTickets(digest)).to.equal(digest);
  });

  (process.platform === 'linux' ? it : it.skip)(
    'takes the ticket out of what ps shows, wherever it stands',
    async () => {
      // The command is kept waiting by the lock of somebody who lives.
      const lock = join(directory, 'ps', 'sendall', 'peers.json.lock');
      mkdirSync(join(lock, '..'), { recursive: true, mode: 0o700 });
      writeFileSync(lock, JSON.stringify({ pid: process.pid, host: hostname(), once: '' }));
      const lines = [
        ['peers', 'add', 'one', ticket],
        ['--verbose', 'peers', 'add', 'two', ticket, '--no-color', '--quiet'],
      ];
      const running = lines.map(
        (words) => new SendallProcess(words, { env: { XDG_CONFIG_HOME: join(directory, 'ps') } }),
      );
      for (const { child } of running) {
        const shown = (): string => readFileSync(`/proc/${String(child.pid)}/cmdline`, 'utf8');
        const deadline = Date.now() + 8000;
        while (!shown().startsWith('sendall ') && Date.now() < deadline)
          await new Promise((resolve) => setTimeout(resolve, 10));
        expect(shown())
          .to.match(/^sendall (--verbose )?peers add (one|two) sendall:\/\/…/)
          .and.not.include(token.slice(0, 4))
          .and.not.include(token.slice(-8));
        expect(child.exitCode).to.equal(null);
      }
      rmSync(lock);
      for (const { ended } of running) expect((await ended).code).to.equal(0);
    },
  );

  for (const [what, keys, code] of [
    ['a ticket', `${ticket}\r`, 0],
    ['Ctrl-C', '\u0003', 130],
  ] as const) {
    it(`asks at a real terminal and does not show the answer: ${what}`, async () => {
      const place = join(directory, `terminal-${String(code)}`);
      const { ended, output } = atTerminal(['peers', 'add', 'nas'], { XDG_CONFIG_HOME: place }, keys);
      expect(await ended).to.equal(code);
      expect(output()).to.include('Ticket (not shown)').and.not.include(token.slice(0, 8));
      expect((await new Peers(join(place, 'sendall', 'peers.json')).list()).length).to.equal(code === 0 ? 1 : 0);
    });
  }
});

/** The built command at a terminal of its own, which Python makes: `keys` are typed once it asks. */
function atTerminal(
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  keys: string,
): { ended: Promise<number | null>; output: () => string } {
  const script = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
seen = b''
while True:
    try: data = os.read(terminal, 4096)
    except OSError: break
    if not data: break
    if b'shown' in seen + data and b'shown' not in seen: os.write(terminal, sys.argv[1].encode())
    seen += data
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;
  const command = [process.execPath, join(__dirname, '..', '..', 'dist', 'cli', 'main.js'), ...words];
  const child = spawn('python3', ['-c', script, keys, ...command], {
    env: { ...process.env, SENDALL_TICKET: '', ...env },
  });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (text += bytes.toString()));
  return { ended: new Promise((resolve) => child.once('close', resolve)), output: () => text };
}
