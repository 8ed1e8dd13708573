import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { formatTicket, parseTicket } from '../../lib/index';
import type { Ended, SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';

describe('cli: lasting keys (the built command)', () => {
  let run: SessionRun;
  let receiver: SendallProcess;
  let address: string;
  const here = (): NodeJS.ProcessEnv => ({ XDG_CONFIG_HOME: run.at('receiver') });
  const there = (): NodeJS.ProcessEnv => ({ XDG_CONFIG_HOME: run.at('sender') });

  beforeEach(async () => {
    run = new SessionRun({ 'a.txt': 'hello\n', 'b.txt': 'other\n' });
    const started = await run.receive([], here());
    receiver = started.receiver;
    const place = parseTicket(started.ticket).address;
    address = place.kind === 'tcp' ? `${place.host}:${String(place.port)}` : '';
  });
  afterEach(() => run.end());

  /** Makes a key for the sender, which knows the receiver as `nas` from then on. */
  async function authorize(...words: readonly string[]): Promise<string> {
    const made = await run.run(['authorize', 'laptop', '--address', address, '--quiet', ...words], { env: here() });
    expect(made.code).to.equal(0);
    expect((await run.run(['peers', 'add', 'nas', made.stdout.trim()], { env: there() })).code).to.equal(0);
    return made.stdout.trim();
  }
  const send = (...words: readonly string[]): Promise<Ended> => run.run(['send', ...words, 'nas'], { env: there() });

  it('are made, given a name, and used by that name, while the receiver runs', async () => {
    await authorize();
    const sent = await send('a.txt');
    expect(sent.code).to.equal(0);
    expect(sent.stdout).to.match(/^a\.txt .*verified/);
    expect(run.read('a.txt').toString()).to.equal('hello\n');
    receiver.child.kill('SIGINT');
    await receiver.ended;
    await run.receive(['--listen', address], here());
    expect((await send('b.txt')).code, 'after the receiver was started again').to.equal(0);
  });

  it('open nothing once they were taken away, and the running receiver says so', async () => {
    await authorize();
    expect((await send('a.txt')).code).to.equal(0);
    expect((await run.run(['authorize', '--remove', 'laptop'], { env: here() })).code).to.equal(0);
    const refused = await send('b.txt');
    expect(refused).to.include({ code: 3, stdout: '' });
    expect(refused.stderr).to.match(/^sendall: .*does not hold the key/);
    await receiver.says(/did not show a key/);
    expect(run.received()).to.deep.equal(['a.txt']);
  });

  it('lead to a directory of their own, with what they may keep there', async () => {
    mkdirSync(run.at('home'), { mode: 0o755 });
    await authorize('--dir', run.at('home'), '--quota', '10');
    expect((await send('a.txt')).code).to.equal(0);
    const refused = await send('b.txt');
    expect(refused.code).to.equal(6);
    expect(refused.stderr).to.match(/quota/);
    expect(readdirSync(run.at('home')).filter((name) => !name.startsWith('.'))).to.deep.equal(['a.txt']);
    expect(run.received()).to.deep.equal([]);
  });

  it('have rights: read sends nothing, and write replaces nothing', async () => {
    await authorize('--rights', 'read');
    const refused = await send('a.txt');
    expect(refused.code).to.equal(3);
    expect(refused.stderr).to.match(/may read, and not send/);
    await run.run(['authorize', '--remove', 'laptop'], { env: here() });
    await run.run(['peers', 'remove', 'nas'], { env: there() });
    receiver.child.kill('SIGINT');
    await receiver.ended;
    await run.receive(['--listen', address, '--if-exists', 'replace'], here());
    await authorize('--rights', 'write');
    writeFileSync(run.at('in', 'a.txt'), 'mine');
    expect((await send('a.txt')).code).to.equal(6);
    expect(readFileSync(run.at('in', 'a.txt'), 'utf8')).to.equal('mine');
  });

  it('that are not the right ones for a name open nothing', async () => {
    const ticket = await authorize();
    const { id } = parseTicket(ticket);
    const forged = formatTicket({ ...parseTicket(ticket), id, key: new Uint8Array(32) });
    expect(await run.run(['send', 'a.txt', forged])).to.include({ code: 3 });
    expect((await run.run(['send', 'a.txt', 'nobody'], { env: there() })).code).to.equal(2);
  });
});
