import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { receiverLines, SeveralView } from '../../cli/several-view';
import { Tally } from '../../cli/tally';
import { splitMore, splitWords } from '../../cli/targets';
import { createKey, formatTicket, parseTicket, type TransferEvent } from '../../lib/index';
import { Peers } from '../../lib/internal';
import { ReceiveDirectory } from '../receive/receive-directory';
import { MiB, noise } from '../session/pair';
import { Relay } from '../session/relay';
import { openTerminal } from './screen';
import { type Ended, eventsOf, expectEvent, printedEventsOf, SendallProcess } from './sendall-process';
import { skipTest } from '../skip-test';

describe('cli: several receivers', () => {
  let directory: string;
  let peers: Peers;
  const receivers: ReceiveDirectory[] = [];
  const configBefore = process.env['XDG_CONFIG_HOME'];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-several-'));
    process.env['XDG_CONFIG_HOME'] = directory;
    mkdirSync(join(directory, 'sendall'));
    peers = new Peers(join(directory, 'sendall', 'peers.json'));
  });
  afterEach(async () => {
    if (configBefore === undefined) delete process.env['XDG_CONFIG_HOME'];
    else process.env['XDG_CONFIG_HOME'] = configBefore;
    for (const receiver of receivers.splice(0)) await receiver.close();
    rmSync(directory, { recursive: true });
  });

  const open = async (count: number, options: Parameters<typeof ReceiveDirectory.open>[0] = {}): Promise<void> => {
    receivers.push(...(await Promise.all(Array.from({ length: count }, () => ReceiveDirectory.open(options)))));
  };
  const start = (...words: readonly string[]): SendallProcess =>
    new SendallProcess(words, { cwd: directory, env: { XDG_CONFIG_HOME: directory, SENDALL_TICKET: '' } });
  const addPeer = (name: string, at: number): Promise<void> =>
    peers.add(name, parseTicket(receivers[at]?.ticket ?? ''));

  it('sends to tickets and peers, and each event names its receiver', async () => {
    await open(3);
    await addPeer('home', 1);
    writeFileSync(join(directory, 'a'), 'content');
    const [first = '', , third = ''] = receivers.map(({ ticket }) => ticket);
    const ended = await start('send', 'a', first, 'home', third, '--json').ended;
    expect(ended.code, ended.stderr).to.equal(0);
    for (const event of printedEventsOf(ended)) expectEvent(event);
    const events = eventsOf(ended);
    const names = [`127.0.0.1:${String(receivers[0]?.port)}`, 'home', `127.0.0.1:${String(receivers[2]?.port)}`];
    expect(events.filter(({ event }) => event === 'sent').map(({ receiver }) => receiver)).to.have.members(names);
    expect(events.slice(0, -1).filter(({ receiver }) => receiver === undefined)).to.deep.equal([]);
    expect(events.at(-1)).to.include({ event: 'summary', files: 3, receivers: 3, failed_receivers: 0 });
    expect(ended.stdout + ended.stderr).not.to.include(first.split('/').at(-1));
  });

  it('ends with 8 where some failed, with the code of all where all failed alike, and the same command goes on', async () => {
    await open(2);
    await open(1, { quota: 10 });
    await addPeer('home', 0);
    await addPeer('office', 1);
    await addPeer('full', 2);
    await peers.join('family', ['home', 'office', 'full']);
    await peers.join('small', ['full']);
    writeFileSync(join(directory, 'a'), noise(MiB));
    const some = await start('send', 'a', '--to-all', 'family').ended;
    expect(some.code).to.equal(8);
    expect(some.stdout)
      .to.match(/^home +1 file +1.0 MiB/m)
      .and.match(/^2 of 3 receivers have everything/m);
    expect(some.stderr)
      .to.match(/full: .*quota/i)
      .and.include('The same command goes on');
    const all = await start('send', 'a', '--to-all', 'small', '--json').ended;
    expect(all.code).to.equal(6);
    const again = await start('send', 'a', '--to-all', 'family', '--json').ended;
    expect(eventsOf(again).filter((event) => event.event === 'sent' && event.verified_at !== undefined)).to.have.length(
      2,
    );
  });

  it('stops all with one Ctrl-C', async () => {
    await open(2);
    writeFileSync(join(directory, 'a'), noise(8 * MiB));
    const running = start('send', 'a', ...receivers.map(({ ticket }) => ticket), '--limit', '2M', '--json');
    await running.says(/"progress"/);
    running.child.kill('SIGINT');
    const ended = await running.ended;
    expect(ended.code).to.equal(130);
    const codes = eventsOf(ended).flatMap((event) => (event.event === 'failed' ? [event.code] : []));
    expect(codes).to.deep.equal(['interrupted', 'interrupted']);
  });

  /** The most memory that it has had so far, in KiB; 0 where it has ended. */
  const peakOf = ({ child }: SendallProcess): number => {
    try {
      const status = readFileSync(`/proc/${String(child.pid)}/status`, 'utf8');
      return Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0);
    } catch {
      return 0;
    }
  };

  it('keeps no more in memory where one is slow', async function () {
    if (process.platform !== 'linux') return skipTest(this, 'it is about Linux');
    await open(2);
    const [fast, slow] = receivers;
    const way = await Relay.to(slow?.port ?? 0, { delay: 100, window: 64 * 1024 });
    try {
      writeFileSync(join(directory, 'a'), noise(160 * MiB));
      const targets = [fast?.ticket ?? '', way.through(slow?.ticket ?? '')];
      const running = start('send', 'a', ...targets, '--connections', '1', '--json');
      await fast?.heard.first('received');
      const peak = peakOf(running);
      running.child.kill('SIGKILL');
      await running.ended;
      expect(way.there, 'what the slow one has').to.be.within(1, 80 * MiB);
      expect(peak / 1024, 'MiB').to.be.within(30, 160);
    } finally {
      await way.close();
    }
  });

  it('needs no more memory than is promised for fifty receivers', async function () {
    if (process.platform !== 'linux') return skipTest(this, 'it is about Linux');
    await open(50);
    writeFileSync(join(directory, 'a'), noise(8 * MiB));
    const running = start('send', 'a', ...receivers.map(({ ticket }) => ticket), '--json');
    let peak = 0;
    const timer = setInterval(() => (peak = Math.max(peak, peakOf(running))), 20);
    const ended: Ended = await running.ended.finally(() => clearInterval(timer));
    expect(ended.code, ended.stderr).to.equal(0);
    expect(eventsOf(ended).at(-1)).to.include({ receivers: 50, failed_receivers: 0 });
    expect(peak / 1024, 'MiB').to.be.within(30, 160);
  });

  describe('words of the command line', () => {
    const key = createKey();
    const ticketOf = (host: string): string => formatTicket({ ...key, address: { kind: 'tcp', host, port: 9000 } });
    const here = process.cwd();
    beforeEach(async () => {
      for (const name of ['home', 'office', 'photos']) await peers.add(name, parseTicket(ticketOf(name)));
      writeFileSync(join(directory, 'a'), '');
      writeFileSync(join(directory, 'photos'), '');
      process.chdir(directory);
    });
    afterEach(() => process.chdir(here));

    const told = async (...words: string[]): Promise<string> => {
      const { paths, targets } = await splitWords(words);
      return `${paths.join(' ')} -> ${targets.map(({ name }) => name).join(' ')}`;
    };
    const refused = (...words: string[]): Promise<string> =>
      told(...words).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));

    it('are targets from the end on, as far as they name one', async () => {
      expect(await told('a', 'home')).to.equal('a -> home');
      expect(await told('a', 'home', 'office')).to.equal('a -> home office');
      expect(await told('a', ticketOf('x'), 'home', ticketOf('y'))).to.equal('a -> x:9000 home y:9000');
      expect(await told('a', '4821-crane-velvet@10.0.0.1', 'home')).to.equal('a -> 4821@10.0.0.1 home');
      // A file goes before a peer, but for the last word.
      expect(await told('a', 'photos', 'home')).to.equal('a photos -> home');
      expect(await told('a', 'home', 'photos')).to.equal('a -> home photos');
    });

    it('name each receiver once', async () => {
      expect(await told('a', 'home', 'home', ticketOf('home'))).to.equal('a -> home');
    });

    it('are no targets before a path', async () => {
      expect(await refused('home', 'a', 'office')).to.equal('home is a target, and a behind it is none.');
      const ticket = await refused(ticketOf('x'), 'a', 'office');
      expect(ticket)
        .to.include('is a target, and a behind it is none.')
        .and.not.include(ticketOf('x').split('/').at(-1));
    });

    it('need name none where a group does', async () => {
      const { paths, targets } = await splitMore(['a', 'photos', 'home']);
      expect([paths, targets.map(({ name }) => name)]).to.deep.equal([['a', 'photos'], ['home']]);
      expect((await splitMore(['a', 'photos'])).targets).to.deep.equal([]);
    });
  });

  it('says what is wrong with groups and targets', async () => {
    writeFileSync(join(directory, 'a'), '');
    const none = await start('send', 'a', '--to-all', 'family').ended;
    expect([none.code, none.stderr]).to.deep.equal([
      2,
      'sendall: There is no group family.\nhint: sendall peers join family NAME... puts peers into it.\n',
    ]);
    const plain = await start('send', 'a', 'tcp://127.0.0.1:1', 'tcp://127.0.0.1:2').ended;
    expect([plain.code, plain.stderr.split('\n')[0]]).to.deep.equal([2, 'sendall: The plain wire has one receiver.']);
  });
});

describe('cli: what is seen of several receivers', () => {
  const names = Array.from({ length: 50 }, (_, at) => `receiver-${String(at).padStart(2, '0')}`);
  const progress = (receiver: string, done: number): TransferEvent => ({
    event: 'progress',
    file_name: 'disk.img',
    phase: 'send',
    done,
    total: 100 * MiB,
    receiver,
  });

  it('is a line each that fits 80 columns, and no more rows than there are', () => {
    const lines = names.map((name, at) => {
      const tally = new Tally();
      tally.note({ event: 'started', file_name: 'disk.img', file_size: 100 * MiB }, 0);
      tally.note(progress(name, at * MiB), 100);
      return { name, tally, state: at < 3 ? ('done' as const) : ('going' as const) };
    });
    const few = receiverLines(lines.slice(0, 5), 200, { columns: 79, rows: 21 });
    expect(few.map((line) => line.slice(0, 11))).to.deep.equal(['receiver-03', 'receiver-04']);
    const many = receiverLines(lines, 200, { columns: 79, rows: 21 });
    expect(many).to.have.length(21);
    for (const line of many) expect(line.length).to.be.at.most(79);
    // The slowest are those whom somebody waits for.
    expect(many[0]).to.match(/^receiver-03 .* 3 %/);
    expect(many[20]).to.equal('and 27 receivers that are further; 3 done, 0 failed');
  });

  it('says in 39 columns still who it is', () => {
    const lines = ['127.0.0.1:41705', '127.0.0.1:36817'].map((name) => {
      const tally = new Tally();
      tally.note({ event: 'started', file_name: 'disk.img', file_size: 100 * MiB }, 0);
      for (let at = 1; at < 9; at++) tally.note(progress(name, at * MiB), 200 * at);
      return { name, tally, state: 'going' as const };
    });
    const shown = receiverLines(lines, 1700, { columns: 39, rows: 21 });
    expect(shown).to.deep.equal(['127.0.0.1:41705  send       8 %', '127.0.0.1:36817  send       8 %']);
  });

  it('groups what failed with each receiver by its reason', () => {
    const { terminal, err } = openTerminal();
    const view = new SeveralView(terminal, ['a', 'b']);
    const failed = (receiver: string, at: number): void =>
      view.show({ event: 'failed', code: 'exists', message: 'already exists.', file_name: `f${String(at)}`, receiver });
    for (let at = 0; at < 6; at++) failed('a', at);
    failed('b', 0);
    for (const receiver of ['a', 'b'])
      view.show({ event: 'summary', files: 0, bytes: 0, bytes_on_wire: 0, seconds: 1, bottleneck: null, receiver });
    view.close();
    expect(err.lines.filter((line) => line.startsWith('sendall'))).to.deep.equal([
      'sendall: a: f0: already exists.',
      'sendall: a: f1: already exists.',
      'sendall: a: f2: already exists.',
      'sendall: b: f0: already exists.',
      'sendall: a: 3 more files: Already exists.',
    ]);
  });

  it('is who failed, and the sum, where there are many; with few a line each', () => {
    const shown = (count: number): { out: string[]; err: string[] } => {
      const { terminal, out, err } = openTerminal();
      const some = names.slice(0, count);
      const view = new SeveralView(terminal, some);
      const summary = {
        event: 'summary',
        files: 1,
        bytes: MiB,
        bytes_on_wire: MiB,
        seconds: 1,
        bottleneck: null,
      } as const;
      for (const receiver of some) {
        if (receiver === 'receiver-01')
          view.show({ event: 'failed', code: 'quota', message: 'It is full.', file_name: 'a', receiver });
        view.show({ ...summary, receiver });
      }
      view.show({ ...summary, bytes: count * MiB, receivers: count, failed_receivers: 1 });
      return { out: out.lines, err: err.lines };
    };
    expect(shown(50).out).to.have.length(2);
    expect(shown(50).out[0]).to.match(/^receiver-01 .*1 failed/);
    expect(shown(50).out[1]).to.equal('49 of 50 receivers have everything  50.0 MiB in all  1.0 s  1 failed');
    expect(shown(50).err[0]).to.equal('sendall: receiver-01: a: It is full.');
    expect(shown(3).out).to.have.length(4);
  });
});
