import { closeSync, fstatSync, openSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { isJournal, logPrefix } from '../../cli/log';
import { parseMetricsAddress } from '../../cli/metrics-server';
import { LineBudget } from '../../cli/line-budget';
import { ReceiverLog } from '../../cli/receiver-log';
import { crowdedFirstByteWithin } from '../../lib/session/deadlines';
import { openTerminal } from './screen';
import { eventually, SessionRun } from './session-run';

describe('cli: the log of a receiver, and its metrics', () => {
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'a.txt': 'hello\n', 'b.txt': 'other\n' })));
  afterEach(() => run.end());

  it('one line an event with its time, no ticket, and figures of the same', async () => {
    const words = ['receive', 'in', '--listen', '127.0.0.1:0', '--log-level', 'info', '--metrics', '0'];
    const receiver = run.start(words);
    const [, url = ''] = await receiver.says(/ info {2}Metrics at (http:\/\/127\.0\.0\.1:\d+\/metrics)\.\n/);
    const [, address = ''] = await receiver.says(/Listening on (tcp:\S+:\d+)\./);
    expect((await run.run(['send', 'a.txt', address])).code).to.equal(0);
    expect((await run.run(['send', 'b.txt', address, '--name', 'a.txt'])).code).to.equal(6);

    const figures = await (await fetch(url)).text();
    expect(figures).to.match(/^sendall_received_bytes_total 6$/m);
    expect(figures).to.match(/^sendall_receipts_total\{verified="(device|cache)"\} 1$/m);
    expect(figures).to.match(/^sendall_refusals_total\{code="exists"\} 1$/m);
    expect(figures).to.match(/^sendall_active_sessions 0$/m);
    expect(figures).to.match(/^# TYPE sendall_read_back_seconds_total counter$/m);
    expect((await fetch(url.replace('metrics', 'other'))).status).to.equal(404);
    expect((await fetch(url, { method: 'POST' })).status).to.equal(405);

    receiver.child.kill('SIGINT');
    const { code, stdout, stderr } = await receiver.ended;
    expect({ code, stdout }).to.deep.equal({ code: 130, stdout: '' });
    expect(stderr).to.match(/ info {2}\[[0-9a-f]{8}\] a\.txt {2}6 B .*verified/);
    expect(stderr).to.match(/ warn {2}\[[0-9a-f]{8}\] .*a\.txt.* \(exists\)\n/);
    expect(stderr)
      .to.match(/^(\d{4}-\d\d-\d\dT[\d:.]+Z (error|warn |info ) .*\n)+$/)
      .and.not.include('sendall://');
  });

  it('says where the page is, and whence its token is, which it never shows', async () => {
    const words = ['receive', 'in', '--listen', '127.0.0.1:0', '--web', '0', '--log-level', 'info'];
    const drawn = run.start(words);
    await drawn.says(
      /The page is at http:\S+:\d+\/\. Its token is not logged: set SENDALL_WEB_TOKEN to have one that you know\.\n/,
    );
    drawn.child.kill('SIGINT');
    await drawn.ended;
    const token = 'a-token-that-somebody-knows';
    const known = run.start(words, { SENDALL_WEB_TOKEN: token });
    const [, url = ''] = await known.says(/The page is at (\S+)\. Its token is the one of SENDALL_WEB_TOKEN\.\n/);
    const { status } = await fetch(`${url}api/session`, { headers: { authorization: `Bearer ${token}` } });
    expect(status).to.equal(200);
    known.child.kill('SIGINT');
    expect((await known.ended).stderr).to.not.include(token);
  });

  it('gives figures beside a crowd that says nothing', async () => {
    const { receiver } = await run.receive(['--metrics', '0']);
    const [, url = '', port = ''] = await receiver.says(/Metrics at (http:\/\/127\.0\.0\.1:(\d+)\/metrics)\./);
    const closed: number[] = [];
    const crowd: Socket[] = [];
    try {
      for (let at = 0; at < 40; at++) {
        const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
        socket.once('close', () => closed.push(at)).resume();
        crowd.push(socket);
        await once(socket, 'connect');
      }
      await eventually(() => (closed.length >= 24 ? true : undefined));
      expect((await fetch(url, { headers: { connection: 'close' } })).status).to.equal(200);
      await eventually(() => (closed.length >= 25 ? true : undefined));
      // They are told of in any order. More than 25 had to where a busy machine took more than a second for that.
      expect(
        closed.toSorted((one, other) => one - other),
        'the oldest made room',
      ).to.deep.equal(Array.from({ length: closed.length }, (_, at) => at));
      // Once they have said nothing for a while, whoever comes next has more of them make room.
      await pause(crowdedFirstByteWithin);
      const last = connect(Number(port), '127.0.0.1').on('error', () => undefined);
      crowd.push(last);
      await eventually(() => (closed.length >= 33 ? true : undefined));
      expect((await fetch(url)).status).to.equal(200);
      expect(last.destroyed).to.equal(false);
    } finally {
      for (const socket of crowd) socket.destroy();
    }
  });

  it('counts the seconds of reading back, of batches and of large files', async () => {
    writeFileSync(run.at('large'), Buffer.alloc(3_000_000, 5));
    const { receiver, ticket } = await run.receive(['--metrics', '0']);
    const [, url = ''] = await receiver.says(/Metrics at (\S+)\./);
    const seconds = async (): Promise<number> =>
      Number(/^sendall_read_back_seconds_total (\S+)$/m.exec(await (await fetch(url)).text())?.[1]);
    expect(await seconds()).to.equal(0);
    expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
    const batch = await seconds();
    expect(batch).to.be.greaterThan(0);
    expect((await run.run(['send', 'large', ticket])).code).to.equal(0);
    expect(await seconds()).to.be.greaterThan(batch);
  });

  it('is not for --json, and metrics are at an address of TCP', async () => {
    for (const words of [
      ['--json', '--log-level', 'info'],
      ['--metrics', 'unix:m.sock'],
    ])
      expect((await run.run(['receive', 'in', ...words])).code, words.join(' ')).to.equal(2);
    expect(parseMetricsAddress('9464')).to.include({ host: '127.0.0.1', port: 9464 });
    expect(parseMetricsAddress('[::]:9464')).to.include({ host: '::', port: 9464 });
    expect(() => parseMetricsAddress('[::1]')).to.throw(/HOST:PORT/);
  });

  it('has priorities in place of times where stderr is the journal, and nowhere else', () => {
    const file = openSync(run.at('journal'), 'w');
    const { dev, ino } = fstatSync(file, { bigint: true });
    expect(isJournal({ JOURNAL_STREAM: `${String(dev)}:${String(ino)}` }, file)).to.equal(true);
    expect(isJournal({ JOURNAL_STREAM: `${String(dev)}:1` }, file)).to.equal(false);
    expect(isJournal({}, file)).to.equal(false);
    closeSync(file);
    expect(logPrefix('warn', { level: 'info', journal: true })).to.equal('<4>');
  });

  it('has room for so many lines of a kind in a minute, and tells of the others when that is over', () => {
    const budget = new LineBudget();
    expect(budget.renew(0)).to.deep.equal([]);
    const fits = (kind: 'refused' | 'stored' | 'text', times: number, characters = 100): number =>
      Array.from({ length: times }, () => budget.takes(kind, characters)).filter(Boolean).length;
    expect(fits('refused', 100)).to.equal(60);
    expect(fits('stored', 400), 'has its own room').to.equal(300);
    expect(fits('text', 5, 60_000), 'a first one however long, and none that is too much').to.equal(1);
    expect(fits('text', 5, 1_000)).to.equal(5);
    expect(budget.tellsIn(20_000)).to.equal(40_000);
    expect(budget.renew(59_999)).to.deep.equal([]);
    expect(budget.renew(60_000)).to.deep.equal([
      { kind: 'refused', count: 40 },
      { kind: 'stored', count: 100 },
      { kind: 'text', count: 4 },
    ]);
    expect(budget.tellsIn(60_000)).to.equal(undefined);
    expect(fits('text', 1, 1_000_000)).to.equal(1);
    expect(fits('refused', 100)).to.equal(60);
    expect(budget.takeLeftOut()).to.deep.equal([{ kind: 'refused', count: 40 }]);
  });

  it('has every line at debug, those without room, too', () => {
    for (const level of ['warn', 'debug'] as const) {
      const { terminal, err } = openTerminal({ log: { level, journal: true } });
      const log = new ReceiverLog(terminal);
      for (let at = 0; at < 100; at++)
        log.show({ event: 'failed', id: at.toString(16).padStart(16, '0'), code: 'name', message: 'No.' });
      log.show({ event: 'failed', id: 'f'.repeat(16), code: 'disk', message: 'It broke.' });
      log.close();
      const of = (start: RegExp): number => err.lines.filter((line) => start.test(line)).length;
      expect(of(/^<4>\[[0-9a-f]{8}\] No\. \(name\)$/)).to.equal(60);
      expect(of(/^<7>\[[0-9a-f]{8}\] No\. \(name\)$/)).to.equal(level === 'debug' ? 40 : 0);
      expect(of(/^<3>\[f{8}\] It broke\. \(disk\)$/)).to.equal(1);
      expect(err.lines.at(-1)).to.equal('<4>And 40 more refusals within a minute.');
    }
  });

  it('loses no warning to lines that its level leaves out, hooks that failed, or strangers', () => {
    const many: Readonly<Record<string, (log: ReceiverLog, id: string) => void>> = {
      skipped: (log, id) => log.show({ event: 'skipped', id, file_name: 'x', reason: 'exists' }),
      hooks: (log) => log.show({ event: 'hook-failed', file_name: 'x', message: 'It ended with 1.' }),
      strangers: (log) => log.show({ event: 'failed', code: 'not-authorized', message: 'Nobody.' }),
      connections: (log, id) =>
        log.show({ event: 'lost', id, what: 'mode', entries: 1, message: 'Gone.', file_name: 'x' }),
    };
    for (const [what, show] of Object.entries(many)) {
      const { terminal, err } = openTerminal({ log: { level: 'warn', journal: true } });
      const log = new ReceiverLog(terminal);
      for (let at = 0; at < 100; at++) show(log, at.toString(16).padStart(16, '0'));
      const id = 'f'.repeat(16);
      log.show({ event: 'failed', id, code: 'quota', message: 'Full.' });
      log.show({ event: 'failed', id: 'e'.repeat(16), code: 'disk', message: 'It broke.' });
      log.show({ event: 'failed', code: 'cannot-connect', message: 'The relay cannot be used.' });
      log.show({ event: 'shrunk', id, snapshot: 'b/s', path: 'x', entries: 0, before: 9 });
      log.close();
      const said = err.lines.join('\n');
      for (const sentence of ['Full. (quota)', 'It broke. (disk)', 'The relay cannot be used.', 'x is empty'])
        expect(said, what).to.include(sentence);
      if (what === 'skipped') expect(said).to.not.include('more');
    }
  });

  it('names the first files of a transfer and its sum, and all of them at debug', () => {
    for (const level of ['info', 'debug'] as const) {
      const { terminal, err } = openTerminal({ log: { level, journal: true } });
      const log = new ReceiverLog(terminal);
      const id = '0123456789abcdef';
      for (let index = 0; index < 20; index++) {
        const name = `file-${String(index)}`;
        const done = {
          file_name: name,
          file_size: 1,
          digests: {},
          verified: 'device',
          bytes_on_wire: 1,
          seconds: 1,
        } as const;
        log.show({ event: 'received', id, from: 'laptop', ...done });
      }
      log.show({ event: 'summary', id, files: 20, bytes: 20, bytes_on_wire: 20, seconds: 1, bottleneck: null });
      expect(err.lines).to.have.length(level === 'info' ? 9 : 21);
      expect(err.lines[0]).to.match(/^<6>\[01234567\] file-0 .* {2}from laptop$/);
      expect(err.lines.at(-1)).to.match(/^<6>\[01234567\] 20 files .* {2}from laptop$/);
    }
  });
});
