import { expect } from 'chai';
import { encodeFrame } from '../../lib/wire/frame';
import { RawSession } from '../session/raw-session';
import { dialRaw } from './raw-peer';
import { SessionRun } from './session-run';

const times = 300;

describe('cli: who fills the log of a receiver (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ small: 'hello\n' })));
  afterEach(() => run.end());

  it('nobody: of refusals and of texts it has so many lines a minute, and counts the rest', async () => {
    const env = { XDG_CONFIG_HOME: run.at('config') };
    const receiver = run.start(['receive', 'in', '--listen', '127.0.0.1:0', '--log-level', 'info'], env);
    const [, address = '', host = ''] = await receiver.says(/Listening on (tcp:\/\/(\S+:\d+))\./);
    const key = (await run.run(['authorize', 'talks', '--address', host, '--quiet'], { env })).stdout.trim();

    const odd = encodeFrame({ file_name: '../odd', file_size: 1, md5: '0'.repeat(32), reply: true });
    for (let at = 0; at < times; at += 30) await Promise.all(Array.from({ length: 30 }, () => dialRaw(address, odd)));
    const raw = await RawSession.open(key);
    for (let file = 0; file < times; file++) await raw.send({ type: 'text', file, text: `text ${String(file)}` });
    await raw.first('receipts', ({ list }) => JSON.stringify(list).includes(`"file":${String(times - 1)}`));
    raw.hangUp();
    const long = await RawSession.open(key);
    for (let file = 0; file < 20; file++) await long.send({ type: 'text', file, text: 'x'.repeat(30_000) });
    await long.first('receipts', ({ list }) => JSON.stringify(list).includes('"file":19'));
    long.hangUp();
    expect((await run.run(['send', 'small', key])).code, 'what is stored is written all the same').to.equal(0);
    receiver.child.kill('SIGINT');
    const { stderr } = await receiver.ended;

    const lines = stderr.split('\n');
    const told = (line: RegExp): number => lines.filter((each) => line.test(each)).length;
    const left = (what: RegExp): number => Number(what.exec(stderr)?.[1]);
    expect(told(/\.\.\/odd/)).to.equal(60);
    // Two sessions were hung up on.
    expect(left(/ warn {2}And (\d+) more refusals within a minute\.\n/)).to.equal(times - 60 + 2);
    expect(told(/ text: text /)).to.equal(60);
    expect(left(/ info {2}And (\d+) more texts within a minute\.\n/)).to.equal(times - 60 + 20);
    expect(told(/ small {2}6 B .*verified/)).to.equal(1);
    expect(stderr.length).to.be.below(100_000);
  });
});
