import { existsSync, readFileSync, rmSync } from 'node:fs';
import { expect } from 'chai';
import { backupsOpenIn, begin, hangUp, sealing } from '../../faults/greedy-session';
import type { SealedConnection } from '../../lib/session/sealed-opening';
import { newSession, RawSession } from '../session/raw-session';
import type { SendallProcess } from './sendall-process';
import { eventually, SessionRun } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: a key that wants everything for itself, and what it gets (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let receiver: SendallProcess;
  let ticket: string;
  let env: NodeJS.ProcessEnv;
  beforeEach(function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    run = new SessionRun({ small: 'hello\n' });
    env = { XDG_CONFIG_HOME: run.at('config') };
  });
  afterEach(() => run.end());

  async function receive(...words: readonly string[]): Promise<void> {
    ({ receiver, ticket } = await run.receive(words, { ...env, SENDALL_SEALED: '' }));
  }
  async function authorize(name: string, rights: string): Promise<string> {
    const { host } = new URL(ticket.replace('sendall:', 'http:'));
    const words = ['authorize', name, '--address', host, '--quiet', '--rights', rights];
    return (await run.run(words, { env })).stdout.trim();
  }
  /** Without a ctime no file is known to be the one that came before. */
  const unchanged = { ctime: '1700000000000000000' };
  /** Begins a backup, has one small file of it stored if that is wanted, and hangs up. */
  async function beginBackup(key: string, name: string, stores = false): Promise<unknown> {
    const { raw, answer } = await begin(key, { hello: { backup: name } });
    if (answer.type === 'hello' && stores) {
      await raw.offer({ file: 5 }, unchanged);
      await raw.wanted(0);
      await raw.bundle([[0, Buffer.from('small')]]);
      await raw.outcome(0);
    }
    raw.hangUp();
    return answer['code'];
  }

  it('is no descriptors for backups that it begins and leaves, nor names beyond --quota-files', async () => {
    await receive('--quota-files', '10');
    const write = await authorize('greedy', 'write');
    for (let round = 0; round < 4; round++)
      await Promise.all(
        Array.from({ length: 10 }, (_, at) => beginBackup(write, `empty${String(round)}-${String(at)}`)),
      );
    await eventually(() => (backupsOpenIn(receiver.child.pid) === 0 ? true : undefined));
    await eventually(() => (run.received().length === 0 ? true : undefined));
    expect(await run.run(['send', 'small', ticket]), 'nothing of it is counted any more').to.include({ code: 0 });

    // Beginning is no way around the number of names.
    const held = [];
    const answers = [];
    for (let at = 0; at < 12; at++) {
      const { raw, answer } = await begin(write, { hello: { backup: `held${String(at)}` } });
      held.push(raw);
      answers.push(answer['code'] ?? 'begun');
    }
    for (const raw of held) raw.hangUp();
    expect(answers.slice(0, 4)).to.deep.equal(['begun', 'begun', 'begun', 'begun']);
    expect(answers.slice(-2)).to.deep.equal(['quota', 'quota']);
  });

  it('is few backups that wait for its sessions to come back, and the others are gone on with', async () => {
    await receive();
    const write = await authorize('greedy', 'write');
    const names = Array.from({ length: 20 }, (_, at) => `begun${String(at)}`);
    await Promise.all(names.map((name) => beginBackup(write, name, true)));
    await eventually(() => (backupsOpenIn(receiver.child.pid) === 4 ? true : undefined));
    for (const name of names)
      expect(existsSync(run.at('in', '.sendall', 'snapshots', name, 'tree', 'file')), name).to.equal(true);
    for (const name of names) {
      const raw = await RawSession.open(write, { hello: { backup: name } });
      await raw.offer({ file: 5 }, unchanged);
      expect(await raw.outcome(0), name).to.have.property('verified_at');
      await raw.finish();
      expect(raw.all('done'), name).to.have.lengthOf(1);
    }
  });

  it('is no question that is not counted: not on a further connection, nor under the session of a restore', async () => {
    await receive();
    expect(await run.run(['backup', 'small', ticket, '--name', 'b'])).to.include({ code: 0 });
    const read = await authorize('curious', 'read');
    const asking = (ask: object): object => ({ role: 'receiver', digest: undefined, ask });
    const answered = async (hello: object, session = newSession(), connection = 0): Promise<unknown> => {
      const { raw, answer } = await begin(read, { hello, session, connection });
      raw.hangUp();
      return answer['code'] ?? answer.type;
    };
    const beside = await Promise.all(
      Array.from({ length: 20 }, () => answered(asking({ for: 'verify' }), newSession(), 1)),
    );
    expect([...new Set(beside)]).to.deep.equal(['bad-header']);

    const restore = asking({ for: 'restore', snapshot: 'b/latest', paths: [] });
    expect(await answered(restore, newSession(), 1), 'of no session').to.equal('connection-lost');
    const held = await Promise.all(Array.from({ length: 16 }, () => RawSession.dial(read, { hello: restore })));
    const got = await Promise.all(held.map((raw) => Promise.race([raw.first('offer'), raw.first('refusal')])));
    const open = held.filter((_, at) => got[at]?.type === 'offer');
    expect(open).to.have.lengthOf(12);
    expect(await answered(asking({ for: 'verify' }), open[0]?.session)).to.equal('timeout');
    for (const raw of held) raw.hangUp();
  });

  /** How many of so many sealed connections are taken. */
  async function taken(count: number, another: (number: number) => Promise<SealedConnection>): Promise<number> {
    const all = await Promise.allSettled(Array.from({ length: count }, (_, at) => another(at + 1)));
    const made = all.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    made.forEach(hangUp);
    return made.length;
  }

  it('is no sealed connection where they are switched off', async () => {
    await receive();
    const session = await sealing(await authorize('sealing', 'write'));
    expect(await taken(4, session.another)).to.equal(0);
    session.end();
  });

  it('is so many sealed connections and no more, and none once it was taken away', async () => {
    ({ receiver, ticket } = await run.receive([], { ...env, SENDALL_SEALED: '1' }));
    const one = await sealing(await authorize('sealing', 'write'));
    expect(await taken(40, one.another)).to.equal(24);
    const other = await sealing(await authorize('other', 'write'));
    expect(await taken(2, other.another)).to.equal(2);
    expect(await run.run(['authorize', '--remove', 'sealing'], { env })).to.include({ code: 0 });
    expect(await taken(2, one.another), 'of a key that was removed').to.equal(0);
    one.end();
    other.end();
  });

  /** Sends lists of so many elements until the receiver ends the session; gives why. */
  async function sendUntilRefused(
    raw: RawSession,
    type: 'offer' | 'missing',
    element: (at: number) => object,
    most: number,
  ): Promise<unknown> {
    for (let sent = 0; sent < most && !raw.ended; sent += 500)
      await raw.sendList(
        { type },
        Array.from({ length: 500 }, (_, at) => element(sent + at)),
      );
    if (!raw.ended) await raw.send({ type: 'text', file: 2 ** 31, text: 'all of it was taken' });
    return (await Promise.race([raw.first('refusal', ({ file }) => file === undefined), raw.first('receipts')]))[
      'code'
    ];
  }
  const long = 'long name/'.repeat(400);
  const linkAt = (file: number): object => ({
    file,
    type: 'link',
    name: `${long}${String(file)}`,
    target: `${long}target`,
    mtime: '0',
  });
  const missingAt = (at: number): object => ({
    name: `${long}${String(at)}`,
    code: 'source-unreadable',
    message: 'It says more than anybody wants to know. '.repeat(40),
  });

  it('is no memory without end, by links that wait for their file or by what is missing from a backup', async () => {
    await receive();
    const write = await authorize('greedy', 'write');
    const links = await RawSession.open(write);
    expect(await sendUntilRefused(links, 'offer', linkAt, 16_000), 'many links are taken').to.equal(undefined);
    const backup = await RawSession.open(write, { hello: { backup: 'b' } });
    expect(await sendUntilRefused(backup, 'missing', missingAt, 5_000), 'of both together').to.equal('quota');
    expect(await sendUntilRefused(links, 'offer', (at) => linkAt(20_000 + at), 10_000)).to.equal('quota');
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${String(receiver.child.pid)}/status`, 'utf8'))?.[1]);
    expect(peak / 1024, 'MiB').to.be.below(400);
    expect(await run.run(['send', 'small', ticket])).to.include({ code: 0 });
  });

  it('is no room beyond --quota and --quota-files by what is missing from a backup', async () => {
    const short = (at: number): object => ({ name: String(at), code: 'source-unreadable', message: 'no' });
    for (const [words, element] of [
      [['--quota-files', '100'], short],
      [['--quota', '1M'], missingAt],
    ] as const) {
      await receive(...words);
      const write = await authorize(words[0].slice(2), 'write');
      const raw = await RawSession.open(write, { hello: { backup: 'b' } });
      expect(await sendUntilRefused(raw, 'missing', element, 1_000), words[0]).to.equal('quota');
      await eventually(() => (run.received().length === 0 ? true : undefined));
      expect(await run.run(['send', 'small', ticket]), 'all of that is given back').to.include({ code: 0 });
      receiver.child.kill('SIGKILL');
      await receiver.ended;
      rmSync(run.at('in', 'small'));
    }
  });

  it('is told of names that are twice in a backup, and the first stays', async () => {
    await receive();
    const write = await authorize('odd', 'write');
    const raw = await RawSession.open(write, { hello: { backup: 'b' } });
    await raw.offer({ file: 5 });
    await raw.wanted(0);
    await raw.bundle([[0, Buffer.from('small')]]);
    await raw.outcome(0);
    await raw.offer({ file: 5 }, {}, 1);
    expect(await raw.outcome(1)).to.include({ code: 'name' });
    await raw.send({ type: 'end', entries: 1 });
    expect((await raw.first('done'))['snapshot']).to.include({ entries: 1, missing: 0 });
    await raw.leave();
  });
});
