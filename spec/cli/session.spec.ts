import { createHash } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { createKey, formatTicket, parseTicket } from '../../lib/index';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun, ticketOf } from './session-run';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('cli: sessions (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'a.txt': 'hello\n', 'b.txt': 'other\n' })));
  afterEach(() => run.end());

  it('prints a ticket and the line to paste, which then works, and says what is confirmed', async () => {
    const { receiver } = await run.receive();
    const [, words = ''] = await receiver.says(
      /On this machine:\n {4}sendall (send FILE sendall:\/\/127\.0\.0\.1:\d+\/[\w-]{64})\n/,
    );
    const { code, stdout, stderr } = await run.run(words.replace('FILE', 'a.txt').split(' '));
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.match(
      /^a\.txt {2}6 B {2}blake3 [0-9a-f]{16}… {2}verified (on device|\(page cache only\)) {2}[^\n]*\n$/,
    );
    expect(run.read('a.txt').toString()).to.equal('hello\n');
  });

  it('takes the ticket as a word, from a file of ours alone, and from the environment', async () => {
    const { ticket } = await run.receive();
    writeFileSync(run.at('ticket'), `${ticket}\n`, { mode: 0o600 });
    expect((await run.run(['send', 'a.txt', '--name', '1', ticket])).code).to.equal(0);
    expect((await run.run(['send', 'a.txt', '--name', '2', '@ticket'])).code).to.equal(0);
    expect((await run.run(['send', 'a.txt', '--name', '3'], { env: { SENDALL_TICKET: ticket } })).code).to.equal(0);
    expect(run.received().sort()).to.deep.equal(['1', '2', '3']);
    chmodSync(run.at('ticket'), 0o644);
    const shown = await run.run(['send', 'a.txt', '@ticket']);
    expect(shown.code).to.equal(2);
    expect(shown.stderr).to.not.include(ticket.slice(-64));
  });

  it('keeps the ticket out of the list of processes', async () => {
    writeFileSync(run.at('large'), Buffer.alloc(4 * 1024 ** 2, 1));
    const { ticket } = await run.receive();
    const sender = run.start(['send', 'large', ticket, '--limit', '2M', '--json']);
    await sender.says(/"event":"started"/);
    const shown = readFileSync(`/proc/${String(sender.child.pid)}/cmdline`, 'utf8');
    expect(shown).to.include('send').and.not.include(ticket.slice(-64)).and.not.include(ticket.slice(-20));
    expect((await sender.ended).code).to.equal(0);
  });

  it('sends words, which are shown escaped on the other side', async () => {
    const { receiver, ticket } = await run.receive();
    const { code, stdout } = await run.run(['send', '--text', 'look\u001b[2J at\nthis', ticket]);
    expect(code).to.equal(0);
    expect(stdout).to.match(/received/);
    await receiver.says(/text: look\\u001b\[2J at\\u000athis\n/);
    expect(run.received()).to.deep.equal([]);
    const both = await run.run(['send', 'a.txt', '--text', 'and a file', ticket, '--json']);
    expect(eventsOf(both).map(({ event }) => event)).to.include.members(['text', 'sent', 'summary']);
    await receiver.says(/text: and a file\n/);
  });

  it('computes the digest that was asked for', async () => {
    const { ticket } = await run.receive();
    const { stdout } = await run.run(['send', 'a.txt', ticket, '--digest', 'sha256']);
    expect(stdout)
      .to.include(`sha256 ${sha256('hello\n').slice(0, 16)}…`)
      .and.not.include('blake3');
    expect((await run.run(['send', 'a.txt', 'tcp://127.0.0.1:1', '--digest', 'sha256'])).code).to.equal(2);
  });

  it('sends standard input, however long it turns out to be', async () => {
    const { ticket } = await run.receive();
    const input = 'select 1;\n'.repeat(300_000);
    const sent = await run.run(['send', '-', '--name', 'dump.sql', ticket, '--json'], { input });
    expect(sent.code).to.equal(0);
    expect(lastOf(eventsOf(sent), 'sent')).to.include({ file_name: 'dump.sql', file_size: input.length });
    expect(run.read('dump.sql').toString() === input).to.equal(true);
  });

  it('lets the receiver dial a sender that listens, by its ticket, from the line that it prints', async () => {
    const sender = run.start(['send', 'a.txt', 'b.txt', '--listen', '127.0.0.1:0']);
    const [, words = ''] = await sender.says(/^ {4}sendall (receive --from sendall:\S+)$/m);
    const { code, stdout } = await run.run([...words.split(' '), 'in']);
    expect(code).to.equal(0);
    expect(stdout).to.match(/^[ab]\.txt .*verified[^\n]*\n[ab]\.txt .*verified[^\n]*\n$/);
    expect((await sender.ended).code).to.equal(0);
    expect(run.received().sort()).to.deep.equal(['a.txt', 'b.txt']);
    const again = run.start(['send', 'a.txt', '--listen', '127.0.0.1:0']);
    const ticket = await ticketOf(again);
    const stranger = await run.run([
      'receive',
      'in',
      '--from',
      formatTicket({ ...parseTicket(ticket), ...createKey() }),
    ]);
    expect(stranger.code).to.equal(3);
    expect((await run.run(['receive', 'in', '--from', ticket])).code).to.equal(0);
  });

  it('says 3 to a ticket that is good no more, and goes on with others', async () => {
    const { receiver, ticket } = await run.receive();
    const wrong = formatTicket({ ...parseTicket(ticket), ...createKey() });
    const { code, stdout, stderr } = await run.run(['send', 'a.txt', wrong]);
    expect({ code, stdout }).to.deep.equal({ code: 3, stdout: '' });
    expect(stderr).to.match(/^sendall: .*key of this ticket.*\nhint: .*\n$/);
    await receiver.says(/did not show a key/);
    expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
  });

  it('says 8 when some of several files fail, and 6 for a single one that is refused', async () => {
    writeFileSync(run.at('in', 'b.txt'), 'what stands there');
    const { ticket } = await run.receive();
    const some = await run.run(['send', 'a.txt', 'b.txt', ticket]);
    expect(some.code).to.equal(8);
    expect(some.stdout).to.match(/^a\.txt .*verified[^]*\n1 of 2 files .* 1 failed/);
    expect(some.stderr).to.match(/^sendall: .*b\.txt.*\nhint: .*--if-exists/);
    expect(await run.run(['send', 'b.txt', ticket])).to.include({ code: 6, stdout: '' });
    expect(run.read('b.txt').toString()).to.equal('what stands there');
  });

  it('ends after the first session with --once, with its exit code', async () => {
    const first = await run.receive(['--once']);
    expect((await run.run(['send', 'a.txt', 'b.txt', first.ticket])).code).to.equal(0);
    expect((await first.receiver.ended).code).to.equal(0);
    writeFileSync(run.at('a.txt'), 'changed');
    const second = await run.receive(['--once', '--json']);
    expect((await run.run(['send', 'a.txt', second.ticket])).code).to.equal(6);
    const ended = await second.receiver.ended;
    expect(ended.code).to.equal(6);
    expect(eventsOf(ended).map(({ event }) => event)).to.deep.equal(['listening', 'failed', 'summary']);
  });
});
