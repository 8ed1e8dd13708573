import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { readJournal } from '../../lib/store/local/journal';
import { guess } from './guess';
import { type Ended, eventsOf, type SendallProcess } from './sendall-process';
import { eventually, SessionRun } from './session-run';

/** `4821-crane-velvet@127.0.0.1:PORT`, as a listener prints it. */
async function codeOf(listener: SendallProcess): Promise<string> {
  return (await listener.says(/\d{4}(?:-[a-z]{3,8}){2,4}@127\.0\.0\.1:\d+/))[0];
}

/** The names in a directory that may not exist yet. */
function found(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

/** A way to `port` of this machine, and everything that went over it. */
async function watched(port: number): Promise<{ port: number; seen: () => string; close: () => void }> {
  const seen: Buffer[] = [];
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    near.on('data', (bytes) => seen.push(bytes)).on('error', () => far.destroy());
    far.on('data', (bytes) => seen.push(bytes)).on('error', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    seen: () => Buffer.concat(seen).toString('latin1'),
    close: () => server.close(),
  };
}

/** A port that answers nobody, as behind a firewall: a stopped process whose queue is full. */
async function silence(): Promise<{ port: number; end: () => void }> {
  const program = `require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
    console.log(this.address().port);
  })`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise<number>((resolve) => child.stdout.once('data', (bytes) => resolve(Number(bytes))));
  child.kill('SIGSTOP');
  const waiting = Array.from({ length: 4 }, () => net.connect(port, '127.0.0.1').on('error', () => undefined));
  await Promise.all(waiting.slice(0, 2).map((each) => new Promise<void>((resolve) => each.once('connect', resolve))));
  return {
    port,
    end: () => {
      for (const each of waiting) each.destroy();
      child.kill('SIGKILL');
    },
  };
}

describe('cli: codes (the built command)', function () {
  this.timeout(30_000);
  let run: SessionRun;
  const here = (): NodeJS.ProcessEnv => ({ XDG_CONFIG_HOME: run.at('receiver') });
  const there = (): NodeJS.ProcessEnv => ({ XDG_CONFIG_HOME: run.at('sender') });

  /** It takes ten seconds, in which the others run. */
  let behind: Promise<Ended>;
  let wall: Awaited<ReturnType<typeof silence>>;
  const own = new SessionRun({ 'letter.txt': '' });

  before(async () => {
    wall = await silence();
    behind = own.run(['send', 'letter.txt', `4821-crane-velvet@127.0.0.1:${String(wall.port)}`]);
  });
  after(async () => {
    wall.end();
    await own.end();
  });
  beforeEach(() => {
    run = new SessionRun({ 'letter.txt': 'hello\n' });
  });
  afterEach(() => run.end());

  it('lead one sender to a receiver, once; nobody on the way sees a word of it, or the name of a file', async () => {
    const { receiver } = await run.receive(['--code'], here());
    const shown = await codeOf(receiver);
    await guess(shown);
    await receiver.says(/wrong code: 2 tries are left/);
    const way = await watched(Number(shown.split(':')[1]));
    const code = shown.replace(/@.*/, '');
    const sent = await run.run(['send', 'letter.txt', `${code}@127.0.0.1:${String(way.port)}`], { env: there() });
    way.close();
    expect(sent.code, sent.stderr).to.equal(0);
    expect(run.read('letter.txt').toString()).to.equal('hello\n');
    expect(way.seen()).to.include('"type":"code"').and.not.include('letter');
    for (const word of code.split('-').slice(1)) expect(way.seen()).to.not.include(word);
    const again = await run.run(['send', 'letter.txt', shown], { env: there() });
    expect(again.code).to.equal(3);
    expect(again.stderr).to.match(/That code has been used/);
    expect(again.stdout + again.stderr).to.not.include(code.split('-')[1]);
  });

  it('are used up after three wrong tries, which ends the receiver with exit code 3', async () => {
    const { receiver } = await run.receive(['--code', '--words', '3', '--json'], here());
    const [, code = '', port = ''] = await receiver
      .says(/"listening".*"port":(\d+).*"code":"(\d{4}(?:-[a-z]+){3})"/)
      .then(([all, port, code]) => [all, code, port]);
    const shown = `${code}@127.0.0.1:${port}`;
    // Two at once, and one whose connection is cut: what counts is that they have tried.
    await Promise.all([guess(shown), guess(shown)]);
    await guess(shown);
    const ended = await receiver.ended;
    expect(ended.code).to.equal(3);
    const failures = eventsOf(ended).flatMap((event) => (event.event === 'failed' ? [event.message] : []));
    expect(failures.at(-1)).to.match(/tried a wrong code three times/);
    expect(failures).to.have.length(3);
    expect(run.received()).to.deep.equal([]);
  });

  it('are used up without an end for whoever has come with the ticket', async () => {
    const { receiver, ticket } = await run.receive(['--code'], here());
    const shown = await codeOf(receiver);
    expect((await run.run(['send', 'letter.txt', ticket], { env: there() })).code).to.equal(0);
    await Promise.all([guess(shown), guess(shown), guess(shown)]);
    await receiver.says(/tried a wrong code three times/);
    writeFileSync(run.at('other.txt'), 'other');
    expect((await run.run(['send', 'other.txt', ticket], { env: there() })).code).to.equal(0);
    expect(run.received().sort()).to.deep.equal(['letter.txt', 'other.txt']);
  });

  it('go on after a cut with the same command, which shows none of its words to other users', async () => {
    const content = randomBytes(24 << 20);
    writeFileSync(run.at('large.bin'), content);
    const { receiver } = await run.receive(['--code', '--once'], here());
    const shown = await codeOf(receiver);
    const first = run.start(['send', 'large.bin', shown, '--limit', '10M', '--json'], there());
    const partial = run.at('in', '.sendall', 'partial');
    const journal = await eventually(() => found(partial).find((name) => name.endsWith('.journal')));
    while (first.child.exitCode === null) {
      if (((await readJournal(`${partial}/${journal}`))?.segments.length ?? 0) > 1) break;
      await sleep(20);
    }
    if (existsSync('/proc/self/cmdline')) {
      const line = readFileSync(`/proc/${String(first.child.pid)}/cmdline`, 'utf8');
      expect(line)
        .to.include(`${shown.slice(0, 4)}-…`)
        .and.not.include(shown.split('-')[1]);
    }
    first.child.kill('SIGKILL');
    await first.ended;
    const kept = readFileSync(run.at('sender', 'sendall', 'codes.json'), 'utf8');
    expect(kept).to.include('sendall://').and.not.include(shown.split('-')[1]);
    const second = await run.run(['send', 'large.bin', shown, '--json'], { env: there() });
    expect(second.code, second.stderr).to.equal(0);
    expect(eventsOf(second).find((event) => event.event === 'started')).to.include.keys('resumed');
    expect(run.read('large.bin').equals(content)).to.equal(true);
    expect((await receiver.ended).code).to.equal(0);
    expect(readFileSync(run.at('sender', 'sendall', 'codes.json'), 'utf8').trim(), 'of no use any more').to.equal('{}');
  });

  it('lead a receiver to a sender as well', async () => {
    const sender = run.start(['send', 'letter.txt', '--code', '--listen', '127.0.0.1:0'], there());
    const shown = await codeOf(sender);
    const received = await run.run(['receive', 'in', shown.replace(/-([a-z]{4})[a-z]*@/, '-$1@')], { env: here() });
    expect(received.code, received.stderr).to.equal(0);
    expect((await sender.ended).code).to.equal(0);
    expect(run.read('letter.txt').toString()).to.equal('hello\n');
  });

  it('say what to do where nobody shows one', async () => {
    const { receiver } = await run.receive([], here());
    const port = (await receiver.says(/127\.0\.0\.1:(\d+)/))[1] ?? '';
    const none = await run.run(['send', 'letter.txt', `4821-crane-velvet@127.0.0.1:${port}`], { env: there() });
    expect(none).to.include({ code: 3, stdout: '' });
    expect(none.stderr)
      .to.match(/shows no code/)
      .and.match(/--code/);
    // An earlier version takes the frame for a file, refuses it and closes.
    const server = net.createServer((socket) => socket.once('data', () => socket.end()).on('error', () => undefined));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const earlier = `4821-crane-velvet@127.0.0.1:${String((server.address() as net.AddressInfo).port)}`;
    const closed = await run.run(['send', 'letter.txt', earlier], { env: there() });
    server.close();
    expect(closed.code).to.equal(3);
    expect(closed.stderr).to.match(/earlier version/);
    const nobody = await run.run(['send', 'letter.txt', earlier], { env: there() });
    expect(nobody.code).to.equal(3);
    expect(nobody.stderr).to.match(/nothing listens there/);
  });

  it('say what to do about other words, and a code that is used up', async () => {
    const { receiver } = await run.receive(['--code', '--once'], here());
    const shown = await codeOf(receiver);
    const wrong = shown.replace(/-[a-z]+-[a-z]+/, shown.includes('-zoo-') ? '-able-zoo' : '-zoo-zone');
    const other = await run.run(['send', 'letter.txt', wrong], { env: there() });
    expect(other.code).to.equal(3);
    expect(other.stderr)
      .to.match(/The other side has another code/)
      .and.match(/hint: Compare the words with what it shows\. After three wrong tries a code is used up/);
    await receiver.says(/wrong code: 2 tries are left/);
    await Promise.all([guess(shown), guess(shown)]);
    const ended = await receiver.ended;
    expect(ended.code).to.equal(3);
    expect(ended.stderr).to.match(/wrong code three times.*\n.*start the same command again for a new one/);
  });

  for (const [what, words, said] of [
    ['a word that codes do not have', ['send', 'letter.txt', '4821-crane-velvt@127.0.0.1'], /Word 2 of the code/],
    ['a code and --listen', ['send', 'letter.txt', '4821-crane-velvet@127.0.0.1', '--listen', '1'], /both a target/],
    ['a code to dial and one to show', ['receive', 'in', '4821-crane-velvet@127.0.0.1', '--code'], /both a code/],
    ['--words alone', ['receive', 'in', '--words', '3'], /--words goes with --code/],
    ['a log, which shows none', ['receive', 'in', '--code', '--log-level', 'info'], /nobody to read it/],
    ['too many words', ['send', 'letter.txt', '--code', '--words', '5'], /2, 3 or 4/],
  ] as const)
    it(`are not used with ${what}`, async () => {
      const ended = await run.run(words, { env: there() });
      expect(ended).to.include({ code: 2, stdout: '' });
      expect(ended.stderr).to.match(said).and.not.include('velvt');
    });

  it('say what to do about a firewall', async () => {
    const answered = await behind;
    expect(answered.code).to.equal(3);
    expect(answered.stderr)
      .to.match(/did not answer within 10 s/)
      .and.match(/hint: .*firewall.*port/s);
  });
});
