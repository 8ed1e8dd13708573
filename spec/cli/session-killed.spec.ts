import { createHash } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { type Journal, readJournal } from '../../lib/store/local/journal';
import { noise } from '../session/pair';
import { Relay } from '../session/relay';
import { eventsOf, type SendallProcess } from './sendall-process';
import { eventually, lastOf, SessionRun } from './session-run';

const mib = 1024 * 1024;
const content = noise(208 * mib);
const digest = createHash('md5').update(content).digest('hex');
const limit = ['--limit', '70M'];

/** A port that was free a moment ago, for a receiver that is to be found there again. */
async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${String(port)}`;
}

describe('cli: a command that is killed in the middle of a large file (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ large: content })));
  afterEach(() => run.end());

  /** What the journal of the receiver says, once it tells of many segments. */
  async function journal(): Promise<Journal> {
    const place = await eventually(() => {
      const partial = run.at('in', '.sendall', 'partial');
      try {
        const name = readdirSync(partial).find((each) => each.endsWith('.journal'));
        return name === undefined ? undefined : `${partial}/${name}`;
      } catch {
        return undefined; // no file has begun yet
      }
    });
    for (;;) {
      const found = await readJournal(place);
      if (!found) throw new Error('The journal cannot be read.');
      if (found.segments.length > 63) return found;
      await sleep(20);
    }
  }

  async function kill({ child, ended }: SendallProcess): Promise<void> {
    child.kill('SIGKILL');
    await ended;
    expect(run.received(), 'under a final name').to.deep.equal([]);
  }

  /** That nothing of what the journal told of crossed the wire again, and that the file is right. */
  function expectResumed({ segments }: Pick<Journal, 'segments'>, bytesOnWire: number): void {
    expect(segments.length, 'segments in the journal').to.be.greaterThan(63);
    expect(bytesOnWire).to.be.lessThan((208 - 0.99 * segments.length) * mib + 100_000);
    expect(createHash('md5').update(run.read('large')).digest('hex')).to.equal(digest);
    const left = readdirSync(run.at('in'), { recursive: true, encoding: 'utf8' });
    expect(left.filter((name) => name.includes('partial/'))).to.deep.equal([]);
  }

  it('the sender, started again, goes on where it was', async () => {
    const { ticket } = await run.receive();
    const sender = run.start(['send', 'large', ticket, ...limit]);
    const before = await journal();
    await kill(sender);
    const again = await run.run(['send', 'large', ticket, '--json']);
    expect(again.code).to.equal(0);
    expectResumed(before, lastOf(eventsOf(again), 'sent').bytes_on_wire);
  });

  it('the receiver, started again: a sender with its new ticket goes on where the other one was', async () => {
    const { receiver, ticket } = await run.receive();
    const sender = run.start(['send', 'large', ticket, ...limit, '--retry-for', '0s']);
    const before = await journal();
    await kill(receiver);
    expect((await sender.ended).code).to.equal(3);
    const next = await run.receive();
    const again = await run.run(['send', 'large', next.ticket, '--json']);
    expect(again.code).to.equal(0);
    expectResumed(before, lastOf(eventsOf(again), 'sent').bytes_on_wire);
  });

  for (const who of ['sender', 'receiver'] as const) {
    it(`the ${who}, at full speed: at most 64 MiB cross the wire twice`, async () => {
      const { receiver, ticket } = await run.receive();
      const relay = await Relay.to(Number(new URL(ticket).port));
      try {
        const sender = run.start(['send', 'large', relay.through(ticket), '--retry-for', '0s']);
        await relay.until(() => relay.there > 128 * mib);
        await kill(who === 'sender' ? sender : receiver);
        await sender.ended;
        const before = relay.there;
        const next = who === 'sender' ? ticket : (await run.receive()).ticket;
        const again = await run.run(['send', 'large', next, '--json']);
        expect(again.code).to.equal(0);
        expect(lastOf(eventsOf(again), 'sent').bytes_on_wire + before).to.be.below((208 + 64) * mib);
        expect(createHash('md5').update(run.read('large')).digest('hex')).to.equal(digest);
      } finally {
        await relay.close();
      }
    });
  }

  it('the receiver, started again at the same place: a sender with a lasting key goes on by itself', async () => {
    const env = { XDG_CONFIG_HOME: run.at('config') };
    const address = await freePort();
    const made = await run.run(['authorize', 'laptop', '--address', address, '--quiet'], { env });
    const receive = ['--listen', address, '--json'];
    const { receiver } = await run.receive(receive, env);
    const sender = run.start(['send', 'large', made.stdout.trim(), ...limit, '--json']);
    const before = await journal();
    await kill(receiver);
    const { receiver: next } = await run.receive(receive, env);
    const { code } = await sender.ended;
    expect(code).to.equal(0);
    await next.says(/"event":"summary"/);
    next.child.kill('SIGINT');
    expectResumed(before, lastOf(eventsOf(await next.ended), 'received').bytes_on_wire);
  });

  it('the receiver in the middle of an update: the older file stands as it was, and what was sent or copied is not sent again', async () => {
    const older = Buffer.concat([Buffer.from('x'), content.subarray(0, 60 * mib)]);
    writeFileSync(run.at('in', 'large'), older);
    const replacing = ['--if-exists', 'replace'];
    const { receiver, ticket } = await run.receive(replacing);
    const sender = run.start(['send', 'large', ticket, ...limit, '--retry-for', '0s']);
    const { segments } = await journal();
    receiver.child.kill('SIGKILL');
    await Promise.all([receiver.ended, sender.ended]);
    expect(run.read('large').equals(older)).to.equal(true);
    const next = await run.receive(replacing);
    const again = await run.run(['send', 'large', next.ticket, '--json']);
    expect(again.code).to.equal(0);
    // The last of what stands there, and what is beside it.
    const sent = segments.filter((segment) => segment >= 60).length;
    expectResumed({ segments }, lastOf(eventsOf(again), 'sent').bytes_on_wire);
    expect(lastOf(eventsOf(again), 'sent').bytes_on_wire).to.be.lessThan((208 - 60 + 3 - 0.99 * sent) * mib + 100_000);
  });
});
