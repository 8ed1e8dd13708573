import { readdirSync } from 'node:fs';
import { expect } from 'chai';
import { RawSession } from '../session/raw-session';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

describe('cli: a session that is held open by heartbeats alone (the built command)', () => {
  let run: SessionRun;
  let env: NodeJS.ProcessEnv;
  const held: { readonly raw: RawSession; readonly beat: NodeJS.Timeout }[] = [];
  beforeEach(() => {
    run = new SessionRun({ small: 'hello\n', large: Buffer.alloc(3 * 2 ** 20, 7) });
    env = { XDG_CONFIG_HOME: run.at('config') };
  });
  afterEach(async () => {
    for (const { raw, beat } of held.splice(0)) {
      clearInterval(beat);
      raw.hangUp();
    }
    await run.end();
  });

  /** A session that says nothing more but that it is alive. */
  async function hold(ticket: string, hello: object): Promise<RawSession> {
    const raw = await RawSession.open(ticket, { hello });
    held.push({ raw, beat: setInterval(() => void raw.send({ type: 'heartbeat' }), 200) });
    return raw;
  }

  it('keeps a backup from no other run with the same key, and is ended after --idle-limit', async () => {
    const { ticket } = await run.receive(['--idle-limit', '2s'], env);
    const address = new URL(ticket.replace('sendall:', 'http:')).host;
    const words = ['authorize', 'laptop', '--address', address, '--quiet', '--rights', 'write'];
    const write = (await run.run(words, { env })).stdout.trim();
    const before = await hold(write, { backup: 'x', digest: 'blake3' });
    const backup = ['backup', 'small', write, '--name', 'x', '--retry-for', '0s'];
    expect(await run.run(backup)).to.include({ code: 0 });
    expect(await before.broken()).to.include({ code: 'exists' });
    expect(readdirSync(run.at('in', 'x'))).to.have.lengthOf(2);

    const after = await hold(write, { backup: 'x', digest: 'blake3' });
    expect(await after.broken()).to.include({ code: 'timeout' });
  });

  it('is ended, and one in which something moves is not', async () => {
    const { ticket } = await run.receive(['--idle-limit', '1s', '--json'], env);
    const raw = await hold(ticket, {});
    const asks = await hold(ticket, {
      role: 'receiver',
      ask: { for: 'restore', snapshot: 'x/latest', paths: [] },
    }).catch(() => undefined);
    expect(asks, 'there is no snapshot').to.equal(undefined);
    const slow = run.run(['send', 'large', ticket, '--limit', '1M', '--json']);
    expect(await raw.broken()).to.include({ code: 'timeout' });
    const sent = await slow;
    expect(sent, sent.stderr).to.include({ code: 0 });
    expect(eventsOf(sent).filter(({ event }) => event === 'failed')).to.deep.equal([]);
  });

  it('is ended where it asked for a snapshot and takes nothing of it', async () => {
    const { receiver, ticket } = await run.receive(['--idle-limit', '1s', '--json'], env);
    expect(await run.run(['backup', 'small', ticket, '--name', 'x'])).to.include({ code: 0 });
    const ask = { for: 'restore', snapshot: 'x/latest', paths: [] };
    const raw = await hold(ticket, { role: 'receiver', ask, digest: undefined });
    await raw.first('offer');
    await raw.end();
    receiver.child.kill('SIGINT');
    expect(await receiver.ended).to.include({ code: 130 });
  });
});
