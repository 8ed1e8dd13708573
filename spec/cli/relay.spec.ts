import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { eventsOf, type SendallProcess } from './sendall-process';
import { lastOf, SessionRun, ticketOf } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: through a relay (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun({ 'letter.txt': 'hello\n' });
  });
  afterEach(() => run.end());

  async function relay(...words: readonly string[]): Promise<{ relay: SendallProcess; port: string }> {
    const relay = run.start(['relay', '--json', ...words]);
    return { relay, port: (await relay.says(/"relaying".*"port":(\d+)/))[1] ?? '' };
  }
  /** A receiver that says of itself that it is where nothing listens. */
  const unreachable = (port: string): Promise<{ receiver: SendallProcess; ticket: string }> =>
    run.receive(['--address', '127.0.0.1:1', '--relay', `127.0.0.1:${port}`, '--json']);

  it('a session goes on by itself after the relay was gone, and says how it came', async () => {
    const content = randomBytes(16 << 20);
    writeFileSync(run.at('large.bin'), content);
    const first = await relay('--listen', '127.0.0.1:0');
    const { ticket } = await unreachable(first.port);
    expect(ticket).to.include(`?relay=127.0.0.1:${first.port}`);
    const sending = run.start(['send', 'letter.txt', 'large.bin', ticket, '--limit', '10M', '--json']);
    await sending.says(/"phase":"send","done":[2-9]\d{6}/);
    first.relay.child.kill('SIGKILL');
    await first.relay.ended;
    await sending.says(/"lost"/);
    await sleep(300);
    const second = await relay('--listen', `127.0.0.1:${first.port}`);
    const sent = await sending.ended;
    expect(sent.code, sent.stderr).to.equal(0);
    expect(lastOf(eventsOf(sent), 'summary').route).to.equal(`relay 127.0.0.1:${first.port}`);
    expect(run.read('large.bin').equals(content)).to.equal(true);
    await second.relay.says(/"relayed".*"over_quota":false/);
  });

  it('a code leads through it, in both directions', async () => {
    const { port } = await relay('--listen', '127.0.0.1:0');
    const through = ['--relay', `127.0.0.1:${port}`];
    const shown = async (listener: SendallProcess): Promise<string> =>
      (await listener.says(/"code":"(\d{6}-[a-z]+-[a-z]+)"/))[1] ?? '';
    const { receiver } = await run.receive(['--address', '127.0.0.1:1', ...through, '--code', '--once', '--json']);
    const env = { XDG_CONFIG_HOME: run.at('home') };
    const sent = await run.run(['send', 'letter.txt', await shown(receiver), ...through, '--json'], { env });
    expect(sent.code, sent.stderr).to.equal(0);
    expect(lastOf(eventsOf(sent), 'summary').route).to.equal(`relay 127.0.0.1:${port}`);
    const ended = await receiver.ended;
    expect(ended.code).to.equal(0);
    for (const event of [
      lastOf(eventsOf(sent), 'sent'),
      ...(['received', 'summary'] as const).map((each) => lastOf(eventsOf(ended), each)),
    ])
      expect(event.route).to.equal(`relay 127.0.0.1:${port}`);
    expect(run.read('letter.txt').toString()).to.equal('hello\n');
    writeFileSync(run.at('other.txt'), 'other');
    const words = ['send', 'other.txt', '--code', '--listen', '127.0.0.1:0', '--address', '127.0.0.1:1'];
    const sender = run.start([...words, ...through, '--json']);
    const typed = `${await shown(sender)}@127.0.0.1:1?relay=127.0.0.1:${port}`;
    const received = await run.run(['receive', 'in', typed], { env });
    expect(received.code, received.stderr).to.equal(0);
    expect(received.stderr).to.match(new RegExp(`through the relay 127\\.0\\.0\\.1:${port}`));
    const listened = await sender.ended;
    expect(listened.code).to.equal(0);
    expect(lastOf(eventsOf(listened), 'summary').route).to.equal(`relay 127.0.0.1:${port}`);
    expect(run.read('other.txt').toString()).to.equal('other');
  });

  it('a relay with a password carries for those who have it, and says to Prometheus how much', async () => {
    writeFileSync(run.at('password'), 'sixteen and more characters\n', { mode: 0o600 });
    writeFileSync(run.at('short'), 'short', { mode: 0o600 });
    const relay = run.start([
      'relay',
      '--listen',
      '127.0.0.1:0',
      '--password-file',
      'password',
      '--metrics',
      '127.0.0.1:0',
    ]);
    const [, port = ''] = await relay.says(/Relaying on port (\d+)/);
    const [, url = ''] = await relay.says(/Metrics at (\S+)\.\n/);
    const through = ['--relay', `127.0.0.1:${port}`];
    const password = ['--relay-password-file', 'password'];
    const env = { XDG_CONFIG_HOME: run.at('home') };
    const { receiver, ticket } = await run.receive([
      '--address',
      '127.0.0.1:1',
      ...through,
      ...password,
      '--code',
      '--json',
    ]);
    const code = (await receiver.says(/"code":"(\d{6}-[a-z]+-[a-z]+)"/))[1] ?? '';
    const [without, short, sent] = await Promise.all([
      run.run(['send', 'letter.txt', code, ...through], { env }),
      run.run(['send', 'letter.txt', code, ...through, '--relay-password-file', 'short'], { env }),
      run.run(['send', 'letter.txt', ticket, '--json'], { env }),
    ]);
    expect([without.code, short.code]).to.deep.equal([3, 2]);
    expect(without.stderr)
      .to.match(/has a password, and was not given it/)
      .and.match(/--relay-password-file/);
    expect(sent.code, sent.stderr).to.equal(0);
    writeFileSync(run.at('other.txt'), 'other');
    const coded = await run.run(['send', 'other.txt', code, ...through, ...password], { env });
    expect(coded.code, coded.stderr).to.equal(0);
    expect(run.received().sort()).to.deep.equal(['letter.txt', 'other.txt']);
    const figures = await (await fetch(url)).text();
    expect(figures)
      .to.match(/^sendall_relay_pairs_total [3-9]$/m)
      .and.match(/^sendall_relay_refused_total [1-9]$/m);
    expect(figures)
      .to.match(/^sendall_relay_bytes_total [1-9]\d{3,}$/m)
      .and.match(/^sendall_relay_over_quota_total 0$/m);
  });

  it('the transit relay of magic-wormhole does as well', async function () {
    const transit = [
      'twistd3',
      '--nodaemon',
      '--pidfile=',
      'transitrelay',
      '--port=tcp:0:interface=127.0.0.1',
    ] as const;
    if (spawnSync('twistd3', ['transitrelay', '--help']).status !== 0)
      skipTest(this, 'the transit relay is not installed');
    const server = spawn(transit[0], transit.slice(1), { cwd: run.directory, stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      let said = '';
      const port = await new Promise<string>((resolve) =>
        server.stdout.on('data', (bytes: Buffer) => {
          said += bytes.toString();
          const [, port] = /Transit starting on (\d+)/.exec(said) ?? [];
          if (port !== undefined) resolve(port);
        }),
      );
      const { ticket } = await unreachable(port);
      for (const file of ['letter.txt', 'other.txt']) {
        writeFileSync(run.at(file), file);
        const sent = await run.run(['send', file, ticket, '--json']);
        expect(sent.code, sent.stderr).to.equal(0);
        expect(lastOf(eventsOf(sent), 'summary').route).to.equal(`relay 127.0.0.1:${port}`);
        expect(run.read(file).toString()).to.equal(file);
      }
    } finally {
      server.kill('SIGKILL');
    }
  });

  it('a direct way goes before it; a relay that is not there, or ends what is too much, is said', async () => {
    const { relay: running, port } = await relay('--listen', '127.0.0.1:0', '--quota', '1K');
    const { receiver, ticket } = await unreachable(port);
    const ended = await run.run(['send', 'letter.txt', ticket, '--retry-for', '1s']);
    expect(ended).to.include({ code: 3, stdout: '' });
    await running.says(/"over_quota":true/);
    const direct = (await receiver.says(/"address":"tcp:\/\/([^"]*)"/))[1] ?? '';
    const sent = await run.run(['send', 'letter.txt', ticket.replace('127.0.0.1:1/', `${direct}/`), '--json']);
    expect(sent.code, sent.stderr).to.equal(0);
    expect(lastOf(eventsOf(sent), 'summary')).to.not.include.keys('route');
    running.child.kill('SIGINT');
    expect((await running.ended).code).to.equal(130);
    const gone = await run.run(['send', 'letter.txt', ticket, '--retry-for', '1s']);
    expect(gone.code).to.equal(3);
    expect(gone.stderr).to.match(new RegExp(`127.0.0.1:1: nothing listens there.*${port}: nothing listens there`));
    const sender = run.start(['send', 'letter.txt', '--listen', '127.0.0.1:0', '--relay', `127.0.0.1:${port}`]);
    await sender.says(new RegExp(`sendall: .*${port}: nothing listens there`));
    const taken = await run.run(['receive', 'out', '--from', (await ticketOf(sender)).replace(/\?.*/, '')]);
    expect(taken.code, taken.stderr).to.equal(0);
    const listened = await sender.ended;
    expect(listened.code).to.equal(0);
    expect(listened.stdout + listened.stderr).to.not.match(/failed|through/);
  });
});
