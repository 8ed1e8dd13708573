import { expect } from 'chai';
import { noise } from '../session/pair';
import type { SendallProcess } from './sendall-process';
import { SessionRun, ticketOf } from './session-run';

const content = noise(24 * 1024 * 1024);
const slowly = ['--limit', '4M', '--compress', 'off'];

describe('cli: what is said of going on after an end before the end, and that it is so (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ large: content })));
  afterEach(() => run.end());

  /** Waits until whoever prints JSON has told that a good part is through. */
  async function halfWay(printsJson: SendallProcess): Promise<void> {
    await printsJson.says(/"phase":"(?:send|receive)","done":(?:[4-9]\d{6}|\d{8})/);
  }
  /** The last sentence of what is said to people. */
  async function lastWords(of: SendallProcess): Promise<string> {
    return (await of.ended).stderr.trimEnd().split('\n').at(-1) ?? '';
  }
  async function expectGoesOn(receiver: SendallProcess): Promise<void> {
    await receiver.says(/large {2}24\.0 MiB .* verified on device .* [\d.]+ MiB of it was there\n/);
  }

  it('a receiver that is stopped: it and its sender are started again, and its ticket is another one', async () => {
    const { receiver, ticket } = await run.receive();
    const sender = run.start(['send', 'large', ticket, ...slowly, '--json']);
    await halfWay(sender);
    receiver.child.kill('SIGINT');
    expect(await lastWords(receiver)).to.equal(
      'Stopped in the middle of a transfer. What came is kept: start this again, and the sender with the new ticket or code (a key stays as it is).',
    );
    await sender.ended;
    const next = await run.receive();
    const again = run.run(['send', 'large', next.ticket]);
    await expectGoesOn(next.receiver);
    expect((await again).code).to.equal(0);
  });

  it('a receiver that takes one transfer ends with it: its ticket is another one, too', async () => {
    const { receiver, ticket } = await run.receive(['--once']);
    const sender = run.start(['send', 'large', ticket, ...slowly, '--json']);
    await halfWay(sender);
    sender.child.kill('SIGINT');
    const { stderr } = await receiver.ended;
    expect(stderr).to.match(
      /sendall: The sender was stopped\.\nhint: What came is kept: start this again, and the sender with the new ticket or code \(a key stays as it is\)\.\n$/,
    );
  });

  it('a receiver that goes on listening: the sender goes on by itself when it is started again', async () => {
    const { receiver, ticket } = await run.receive();
    const sender = run.start(['send', 'large', ticket, ...slowly, '--json']);
    await halfWay(sender);
    sender.child.kill('SIGINT');
    await receiver.says(
      /The sender was stopped\.\nhint: What came is kept: the sender goes on where it was when it is started again\.\n/,
    );
    const again = run.run(['send', 'large', ticket]);
    await expectGoesOn(receiver);
    expect((await again).code).to.equal(0);
  });

  it('a receiver that dialed and is stopped: its sender ends, too, and has a new ticket next time', async () => {
    const words = ['send', 'large', '--listen', '127.0.0.1:0'];
    const sender = run.start([...words, ...slowly, '--json']);
    const receiver = run.start(['receive', 'in', '--from', await ticketOf(sender)]);
    await halfWay(sender);
    receiver.child.kill('SIGINT');
    expect(await lastWords(receiver)).to.equal(
      'Stopped in the middle of a transfer. What came is kept: go on with the new ticket or code that the sender shows when it is started again.',
    );
    expect((await sender.ended).code).to.equal(3);
    const next = run.start(words);
    const again = run.start(['receive', 'in', '--from', await ticketOf(next)]);
    await expectGoesOn(again);
    expect((await again.ended).code).to.equal(0);
  });

  it('a sender that listens and is stopped: both are told that a new ticket goes on', async () => {
    const listening = ['send', 'large', '--listen', '127.0.0.1:0'];
    const sender = run.start([...listening, ...slowly]);
    const receiver = run.start(['receive', 'in', '--from', await ticketOf(sender), '--json']);
    await halfWay(receiver);
    sender.child.kill('SIGINT');
    expect(await lastWords(sender)).to.equal(
      'Stopped. What came is kept; the same command goes on, with a new ticket or code for the receiver.',
    );
    await receiver.ended;

    const telling = run.start([...listening, ...slowly, '--json']);
    const told = run.start(['receive', 'in', '--from', await ticketOf(telling)]);
    await halfWay(telling);
    telling.child.kill('SIGINT');
    expect((await told.ended).stderr).to.match(
      /sendall: The sender was stopped\.\nhint: What came is kept: go on with the new ticket or code that the sender shows when it is started again\.\n$/,
    );

    const last = run.start(listening);
    const again = run.start(['receive', 'in', '--from', await ticketOf(last)]);
    await expectGoesOn(again);
    expect((await again.ended).code).to.equal(0);
  });

  it('a backup whose receiver is stopped: a ticket is another one when it runs again', async () => {
    const { receiver, ticket } = await run.receive(['--json']);
    const backup = run.start(['backup', 'large', ticket, '--name', 'b', ...slowly, '--retry-for', '0s']);
    await halfWay(receiver);
    receiver.child.kill('SIGINT');
    expect((await backup.ended).stderr).to.match(
      /sendall: The receiver was stopped\.\nhint: Once it runs again, start the same again, with its new ticket or code in place of an old one: what is there is not sent a second time\.\n$/,
    );
  });

  it('of several receivers one is stopped: what it takes next time is said', async () => {
    const { receiver, ticket } = await run.receive(['--json']);
    const other = run.start(['receive', 'other', '--listen', '127.0.0.1:0', '--json']);
    const sender = run.start(['send', 'large', ticket, await ticketOf(other), ...slowly, '--retry-for', '0s']);
    await halfWay(receiver);
    receiver.child.kill('SIGINT');
    expect(await lastWords(sender)).to.equal(
      'The same command goes on with those that have not got everything; one that was stopped has a new ticket or code when it runs again (a key stays as it is).',
    );
  });
});
