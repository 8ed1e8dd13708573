import { readdirSync } from 'node:fs';
import { expect } from 'chai';
import { noise } from '../session/pair';
import { type Ended, eventsOf, type SendallProcess } from './sendall-process';
import { eventually, lastOf, SessionRun, ticketOf } from './session-run';

const mib = 1024 * 1024;
const content = noise(24 * mib);
const slowly = ['--limit', '8M', '--json'];

describe('cli: Ctrl-C in the middle of a session (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ large: content })));
  afterEach(() => run.end());

  /** Waits until a good part has come. */
  async function halfWay(receiver: SendallProcess): Promise<void> {
    await receiver.says(/"phase":"receive","done":[4-9]\d{6}|"phase":"receive","done":\d{8}/);
  }
  async function interrupt({ child, ended }: SendallProcess): Promise<Ended> {
    child.kill('SIGINT');
    const end = await ended;
    expect(end.code).to.equal(130);
    expect(end.stderr).to.match(/^sendall: Stopping\.[^\n]*\n$/);
    return end;
  }
  /** The same again, from where it was. */
  async function expectResumed(words: readonly string[]): Promise<void> {
    expect(run.received()).to.deep.equal([]);
    const again = await run.run([...words, '--json']);
    expect(again.code).to.equal(0);
    expect(lastOf(eventsOf(again), 'sent').bytes_on_wire).to.be.lessThan(content.length - 3 * mib);
    expect(run.read('large').equals(content)).to.equal(true);
  }

  it('of the sender: 130 at once, and the same command goes on', async () => {
    const { receiver, ticket } = await run.receive(['--json']);
    const sender = run.start(['send', 'large', ticket, ...slowly]);
    await halfWay(receiver);
    const began = Date.now();
    const { stdout } = await interrupt(sender);
    expect(Date.now() - began).to.be.lessThan(5_000);
    expect(stdout).to.include('"code":"interrupted"');
    await receiver.says(/"event":"failed"/);
    await expectResumed(['send', 'large', ticket]);
  });

  it('of the receiver: 130 at once, the sender is told, and what is here is kept for the next one', async () => {
    const { receiver, ticket } = await run.receive(['--json']);
    const sender = run.start(['send', 'large', ticket, ...slowly, '--retry-for', '0s']);
    await halfWay(receiver);
    const began = Date.now();
    await interrupt(receiver);
    expect(Date.now() - began).to.be.lessThan(5_000);
    const { code, stdout } = await sender.ended;
    expect(code).to.equal(3); // 130 would say that the sender itself was interrupted
    expect(stdout).to.match(/"event":"failed"[^\n]*"code":"stopped","message":"The receiver was stopped/);
    expect(readdirSync(run.at('in', '.sendall'))).to.deep.equal(['partial']);
    const [, port = ''] = /:(\d+)\//.exec(ticket) ?? [];
    const next = await run.receive(['--listen', `127.0.0.1:${port}`]);
    const old = await run.run(['send', 'large', ticket, '--retry-for', '0s']);
    expect(old.code).to.equal(3);
    expect(old.stderr).to.match(/hint: The other side was probably started again, which makes a new ticket or code/);
    await expectResumed(['send', 'large', next.ticket]);
  });

  it('of a receiver that dialed, and of the sender that it dialed', async () => {
    for (const which of ['receiver', 'sender'] as const) {
      const sender = run.start(['send', 'large', '--listen', '127.0.0.1:0', ...slowly]);
      const receiver = run.start(['receive', 'in', '--json', '--from', await ticketOf(sender), '--retry-for', '0s']);
      await halfWay(receiver);
      const [stopped, other] = which === 'receiver' ? [receiver, sender] : [sender, receiver];
      await interrupt(stopped);
      if (which === 'receiver') other.child.kill('SIGINT'); // it waits for the receiver to come back
      expect((await other.ended).code).to.not.equal(0);
      expect(run.received()).to.deep.equal([]);
    }
    const sender = run.start(['send', 'large', '--listen', '127.0.0.1:0', '--json']);
    const receiver = await run.run(['receive', 'in', '--from', await ticketOf(sender)]);
    expect(receiver.code).to.equal(0);
    expect(lastOf(eventsOf(await sender.ended), 'sent').bytes_on_wire).to.be.lessThan(content.length - 3 * mib);
    expect(run.read('large').equals(content)).to.equal(true);
  });

  it('twice ends it at once', async () => {
    const { receiver, ticket } = await run.receive(['--json']);
    const sender = run.start(['send', 'large', ticket, ...slowly]);
    await halfWay(receiver);
    for (const each of [sender, receiver]) {
      each.child.kill('SIGINT');
      await each.says(/Stopping/);
      each.child.kill('SIGINT');
      expect((await each.ended).code).to.equal(130);
    }
    expect(run.received()).to.deep.equal([]);
  });

  it('while nothing is going on leaves nothing behind', async () => {
    const { receiver } = await run.receive();
    await interruptIdle(receiver);
    const sender = run.start(['send', 'large', '--listen', '127.0.0.1:0']);
    await ticketOf(sender);
    await interruptIdle(sender);
    expect(readdirSync(run.at('in'))).to.deep.equal([]);
  });

  async function interruptIdle({ child, ended }: SendallProcess): Promise<void> {
    child.kill('SIGINT');
    expect((await ended).code).to.equal(130);
    await eventually(() => (child.exitCode === 130 ? true : undefined));
  }
});
