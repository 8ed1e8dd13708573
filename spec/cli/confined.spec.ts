import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { formatTicket, type JsonObject, parseTicket } from '../../lib/index';
import { encoded, madeSnapshot } from '../snapshot/made-snapshot';
import { noise } from '../session/pair';
import { newSession, RawSession, sha256 } from '../session/raw-session';
import { type Ended, eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

/** Outside of every directory that a key is confined to; large enough to travel in segments. */
const secret = noise(100_000, 7);
const id = '2026-11-20T101233Z';
const mtime = '1700000000000000000';

describe('A reader is led nowhere by symbolic links (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let env: NodeJS.ProcessEnv;
  beforeEach(() => {
    run = new SessionRun({ 'db.dump': secret });
    env = { XDG_CONFIG_HOME: run.at('config') };
    mkdirSync(run.at('box'), { mode: 0o755 });
  });
  afterEach(() => run.end());

  const sendall = (...words: readonly string[]): Promise<Ended> => run.run(words, { env });

  /** A receiver, and its ticket with a lasting key of these rights that is confined to `box`. */
  async function confined(rights: 'write' | 'admin'): Promise<string> {
    const made = await sendall('authorize', 'peer', '--rights', rights, '--dir', 'box', '--quiet');
    const key = parseTicket(made.stdout.trim());
    const { ticket } = await run.receive([], env);
    return formatTicket({ ...key, address: parseTicket(ticket).address });
  }

  /**
   * What a peer plants who knows how snapshots look: one that lists `d/db.dump`, whose `d` leads out of its directory.
   */
  async function planted(number: number, size: number): Promise<Buffer> {
    const { manifest } = await madeSnapshot(
      run.at('made'),
      { name: 'esc', id, number },
      { 'd/db.dump': Buffer.alloc(size) },
    );
    return encoded(manifest);
  }

  async function plant(ticket: string, number: number, size: number): Promise<void> {
    const raw = await RawSession.open(ticket);
    const manifest = await planted(number, size);
    await raw.offer({ [`esc/${id}/MANIFEST`]: manifest.length });
    await raw.sendList({ type: 'offer' }, [
      { file: 1, type: 'symlink', name: `esc/${id}/d`, target: '../../../', mtime },
    ]);
    if (await Promise.race([raw.wanted(0).then(() => true), raw.outcome(0).then(() => false)]))
      await raw.bundle([[0, manifest]]);
    await raw.finish();
  }

  /** Everything that is said to one who asks for a snapshot and wants all of it. */
  async function fetched(ticket: string): Promise<readonly JsonObject[]> {
    const raw = await RawSession.dial(ticket, {
      hello: { role: 'receiver', digest: undefined, ask: { for: 'restore', snapshot: `esc/${id}`, paths: [] } },
    });
    const offered = await Promise.race([
      raw
        .first('offer', ({ list }) => (list as JsonObject[]).some(({ type }) => type === 'file'))
        .catch(() => undefined),
      raw.first('end').catch(() => undefined),
      raw.end(),
    ]);
    const file =
      offered?.type === 'offer'
        ? (offered.list as JsonObject[]).find(({ type }) => type === 'file')?.['file']
        : undefined;
    if (file !== undefined) {
      await raw.sendList({ type: 'answer' }, [file]);
      await Promise.race([raw.first('close'), raw.first('drop'), raw.end()]);
    }
    raw.hangUp();
    return raw.heard;
  }

  it('for a restore out of a directory that a key planted there: neither the size nor the content is told', async () => {
    const ticket = await confined('admin');
    await plant(ticket, 1, secret.length);
    const heard = await fetched(ticket);
    expect(heard.filter(({ type }) => type === 'segment' || type === 'bundle')).to.deep.equal([]);
    rmSync(run.at('box', 'esc'), { recursive: true, force: true });
    await plant(ticket, 1, 70_000);
    expect(JSON.stringify(await fetched(ticket))).to.not.include(String(secret.length));
  });

  it('for the basis of a backup: a write key is told no digest of what is outside, and copies nothing of it', async () => {
    const ticket = await confined('write');
    const backup = async (names: Readonly<Record<string, number>>): Promise<RawSession> => {
      const raw = await RawSession.open(ticket, { hello: { backup: 'esc' }, session: newSession() });
      await raw.offer(names);
      return raw;
    };
    const first = await backup({ mine: 3 });
    await first.wanted(0);
    await first.bundle([[0, Buffer.from('abc')]]);
    await first.send({ type: 'end', entries: 1 });
    await first.first('done');
    await first.leave();
    await plant(ticket, 2, secret.length);
    const second = await backup({ 'd/db.dump': secret.length });
    await second.wanted(0);
    expect(second.all('standing'), 'digests of pieces of what is outside').to.deep.equal([]);
    expect(JSON.stringify(second.heard)).to.not.include(sha256(secret));
    second.hangUp();
  });

  it('in a snapshot that was made here, where a link was put in the way afterwards: not for restore, verify or repair', async () => {
    const restored = run.at('restored', 'src/d/db.dump');
    mkdirSync(run.at('src', 'd'), { recursive: true });
    mkdirSync(run.at('outside'));
    for (const [name, content, other] of [
      ['db.dump', noise(100_000, 3), secret],
      ['small', 'small', 'SMALL'],
    ] as const) {
      writeFileSync(run.at('src', 'd', name), content);
      // With the size and the time of what is stored, so that only the way to it tells.
      writeFileSync(run.at('outside', name), other);
      execFileSync('touch', ['-r', run.at('src', 'd', name), run.at('outside', name)]);
    }
    const made = await sendall('backup', 'src', run.at('in'), '--name', 'n', '--json');
    const snapshot = run.at('in', lastOf(eventsOf(made), 'snapshot').snapshot);
    const restore = (): Promise<Ended> => sendall('restore', run.at('in'), 'n/latest', 'restored', '--json');

    for (const diverted of [run.at('in', 'n'), snapshot, join(snapshot, 'MANIFEST')]) {
      renameSync(diverted, run.at('elsewhere'));
      symlinkSync(run.at('elsewhere'), diverted);
      expect((await restore()).code, diverted).to.not.equal(0);
      expect(existsSync(restored), diverted).to.equal(false);
      rmSync(diverted);
      renameSync(run.at('elsewhere'), diverted);
    }

    rmSync(join(snapshot, 'src', 'd'), { recursive: true });
    symlinkSync(run.at('outside'), join(snapshot, 'src', 'd'));
    const ended = await restore();
    expect(ended.code).to.equal(4);
    const failed = eventsOf(ended).filter((event) => event.event === 'failed');
    expect(failed.pop()?.file_name).to.equal(undefined); // it is about the restore as a whole
    expect(failed.map(({ code, file_name: name }) => [name, code])).to.have.deep.members([
      ['src/d/db.dump', 'mismatch'],
      ['src/d/small', 'mismatch'],
    ]);
    expect(JSON.stringify(failed))
      .to.match(/no directory/)
      .and.to.not.match(/other content/);
    expect(existsSync(restored)).to.equal(false);

    const verified = eventsOf(await sendall('verify', run.at('in'), '--repair', '--source', 'src', '--json'));
    const damaged = verified
      .filter((event) => event.event === 'damaged')
      .filter(({ path }) => path.startsWith('src/d/'));
    expect(damaged.map(({ reason }) => reason)).to.deep.equal(['missing', 'missing']);
    expect(readFileSync(run.at('outside', 'small'), 'utf8')).to.equal('SMALL');
    expect(readFileSync(join(snapshot, 'src', 'd', 'small'), 'utf8')).to.equal('small');
  });
});
