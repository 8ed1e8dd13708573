import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { createKey, formatTicket } from '../../lib/net/ticket';
import { type Listening, listen } from '../../lib/net/socket';
import { RawSession } from '../session/raw-session';
import { type Ended, eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

/** An entry as a keeper of snapshots offers it. */
type Offered = Readonly<Record<string, unknown>> & { readonly name: string };

const mtime = '1700000000000000000';
const file = (name: string, mode = 0o644): Offered => ({ type: 'file', name, mode, mtime, size: name.length });
const directory = (name: string, mode = 0o755): Offered => ({ type: 'directory', name, mode, mtime });

describe('cli: restore from a receiver that sends what it likes (the built command)', () => {
  let run: SessionRun;
  const listenings: Listening[] = [];
  const sessions: RawSession[] = [];
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('out', '.ssh'), { recursive: true, mode: 0o755 });
    chmodSync(run.at('out', '.ssh'), 0o700);
  });
  afterEach(async () => {
    for (const raw of sessions.splice(0)) raw.hangUp();
    for (const listening of listenings.splice(0)) await listening.close();
    await run.end();
  });

  /** A receiver that answers a restore with `entries`, whose files have their names as content, and then `missing`. */
  async function keeper(entries: readonly Offered[], missing: readonly object[] = []): Promise<string> {
    const key = createKey();
    const send = async (raw: RawSession): Promise<void> => {
      await raw.sendList(
        { type: 'offer' },
        entries.map((entry, number) => ({ file: number, ...entry })),
      );
      if (missing.length > 0) await raw.sendList({ type: 'missing' }, missing);
      await raw.send({ type: 'end' });
      const wanted = raw
        .first('answer')
        .then(({ list }) =>
          raw.bundle((list as number[]).map((number) => [number, Buffer.from(entries[number]?.name ?? '')])),
        );
      await Promise.race([wanted.then(() => raw.first('done')), raw.first('done')]);
      await raw.leave();
    };
    const listening = await listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (accepted) => {
      void RawSession.accept(accepted, key, { role: 'sender', digest: 'sha256' })
        .then((raw) => {
          sessions.push(raw);
          return send(raw);
        })
        .catch(() => undefined);
    });
    listenings.push(listening);
    return formatTicket({ ...key, address: listening.address });
  }

  const restore = (ticket: string, ...paths: readonly string[]): Promise<Ended> =>
    run.run(['restore', ticket, 'x/latest', 'out', ...paths, '--retry-for', '0s']);
  const came = (): string[] => readdirSync(run.at('out'), { recursive: true }).map(String).sort();

  it('takes what was asked for and the directories above it, and nothing else', async () => {
    const ticket = await keeper([
      directory('docs'),
      directory('docs/other'),
      directory('.ssh', 0o777),
      file('docs/salary.txt'),
      file('docs/salary.txt.bak'),
      file('.ssh/authorized_keys'),
      { type: 'symlink', name: 'link', target: '/etc/passwd', mtime },
      { type: 'link', name: '.bashrc', target: 'docs/salary.txt', mtime },
    ]);
    const restored = await restore(ticket, 'docs/salary.txt', '--json');
    expect(came()).to.deep.equal(['.ssh', 'docs', 'docs/salary.txt']);
    expect(readFileSync(run.at('out', 'docs', 'salary.txt')).toString()).to.equal('docs/salary.txt');
    expect(statSync(run.at('out', '.ssh')).mode & 0o777).to.equal(0o700);
    const failed = eventsOf(restored).flatMap((event) => (event.event === 'failed' ? [event.file_name] : []));
    expect(failed.slice(0, 6)).to.have.members([
      '.ssh/authorized_keys',
      'docs/salary.txt.bak',
      'link',
      '.bashrc',
      'docs/other',
      '.ssh',
    ]);
    expect(restored.code).to.equal(8);
  });

  it('takes by a pattern what it matches, and what is below that', async () => {
    const ticket = await keeper([
      directory('a'),
      directory('.ssh', 0o777),
      directory('photos'),
      file('a/b.txt'),
      file('a/b.jpg'),
      file('.ssh/authorized_keys'),
      file('photos/c.jpg'),
    ]);
    expect((await restore(ticket, '**/*.txt', 'pho*')).code).to.equal(8);
    expect(came()).to.deep.equal(['.ssh', 'a', 'a/b.txt', 'photos', 'photos/c.jpg']);
    expect(statSync(run.at('out', '.ssh')).mode & 0o777).to.equal(0o700);
  });

  it('says with exit code 8 what was asked for and did not come', async () => {
    writeFileSync(run.at('out', 'kept'), 'kept');
    const skipped = { name: 'gone', code: 'source-unreadable', message: 'It is a socket.', skipped: true };
    const ticket = await keeper([directory('docs'), file('docs/a')], [skipped]);
    const { code, stderr } = await restore(ticket, 'docs', 'docs/salary.txt', 'gone', '*.jpg');
    expect(code).to.equal(8);
    for (const path of ['docs/salary.txt', 'gone', '*.jpg'])
      expect(stderr).to.include(`Nothing came of ${path}, which was asked for`);
    expect(stderr).not.to.include('Nothing came of docs,');
    expect((await restore(await keeper([]), 'docs')).code).to.equal(8);
    expect(came()).to.deep.equal(['.ssh', 'docs', 'docs/a', 'kept']);
  });

  it('gets nothing stored that lets others act as whoever restores', async () => {
    const ticket = await keeper([file('tool', 0o6755)]);
    expect((await restore(ticket)).code).not.to.equal(0);
    expect(existsSync(run.at('out', 'tool'))).to.equal(false);
  });
});
