import { expect } from 'chai';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { AuthorizedKeys, formatTicket, parseTicket, type Rights, type Ticket } from '../../lib/index';
import { ManifestEncoder, parseManifest } from '../../lib/snapshot/manifest/manifest';
import { type SnapshotId, timeOf } from '../../lib/snapshot/manifest/snapshot-id';
import { eventsOf, type SendallProcess } from '../cli/sendall-process';
import { SessionRun } from '../cli/session-run';
import { RawSession } from '../session/raw-session';
import { encoded, madeSnapshot } from '../snapshot/made-snapshot';

const [monday, tuesday, future] = ['2026-11-16T100000Z', '2026-11-17T100000Z', '2090-01-01T000000Z'];

/**
 * What is only believed because this receiver committed it: done by the built command, as whoever has a key or is on
 * the machine. What was committed before is made without it, since each command costs half a second.
 */
describe('What lies under the name of a backup', function () {
  this.timeout(120_000);
  let run: SessionRun;
  let receiver: SendallProcess;
  let ticket: string;
  let env: NodeJS.ProcessEnv;
  const keys: Record<string, Ticket> = {};
  const inside = (...names: readonly string[]): string => run.at('in', ...names);
  const ids = (name = 'laptop'): string[] =>
    readdirSync(inside(name))
      .filter((each) => /Z$/.test(each))
      .sort();
  const backup = async (target = 'in', ...words: readonly string[]): Promise<string> => {
    const ended = await run.run(['backup', 'home', target, '--name', 'laptop', '--json', ...words], { env });
    const made = eventsOf(ended).find((event) => event.event === 'snapshot');
    expect({ code: ended.code, made: made?.event }, ended.stdout).to.deep.equal({ code: 0, made: 'snapshot' });
    return made?.event === 'snapshot' ? made.snapshot : '';
  };
  /** What was committed before of `home`, as its files are; returns NAME/ID. */
  const committed = async (id = monday, number = 1, owner = 'local'): Promise<string> => {
    const tree = { 'home/a': 'good', 'home/large': Buffer.alloc(200_000, 'g') };
    await madeSnapshot(run.at('in'), { name: 'laptop', id, number, owner }, tree);
    return `laptop/${id}`;
  };
  /**
   * A directory with everything of the newest snapshot, as somebody with right metadata plants one; returns its path.
   */
  const plant = (id: string, from: string): string => {
    const place = inside('laptop', id);
    cpSync(inside(from), place, { recursive: true, preserveTimestamps: true });
    return place;
  };

  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('home'));
    for (const [name, content] of [
      ['a', 'good'],
      ['large', Buffer.alloc(200_000, 'g')],
    ] as const) {
      writeFileSync(run.at('home', name), content, { mode: 0o644 });
      const time = timeOf(monday as SnapshotId);
      utimesSync(run.at('home', name), time, time);
    }
    env = { XDG_CONFIG_HOME: run.at('config') };
  });
  afterEach(() => run.end());

  /** A receiver with a key for each of these names and rights. */
  async function receive(wanted: Readonly<Record<string, Rights>> = {}): Promise<void> {
    ({ receiver, ticket } = await run.receive(['--if-exists', 'replace'], env));
    const made = new AuthorizedKeys(run.at('config', 'sendall', 'authorized.json'));
    const { address } = parseTicket(ticket);
    for (const [name, rights] of Object.entries(wanted))
      keys[name] = { ...(await made.authorize({ name, rights })), address };
  }
  const of = (name: string): string => {
    const key = keys[name];
    return key ? formatTicket(key) : ticket;
  };
  /** What a key is answered that begins a backup: its refusal, before anything moves. */
  async function refusalOf(peer: string, name: string): Promise<unknown> {
    const raw = await RawSession.dial(of(peer), { hello: { backup: name } });
    return (await raw.broken())['code'];
  }

  it('takes nothing that is sent to it, in a session or on the plain wire, and is not replaced', async () => {
    await receive({ writer: 'write', admin: 'admin' });
    const snapshot = await committed(monday, 1, keys['writer']?.id);
    // With all that would be believed, and the name itself.
    const names = [`${future}/MANIFEST`, `${future}/home/a`, `${monday}/MANIFEST`, `${monday}/home/more`, 'latest'];
    const sent = Object.fromEntries(['laptop', ...names.map((name) => `laptop/${name}`)].map((name) => [name, 4]));
    for (const peer of ['writer', 'admin', 'ticket']) {
      const raw = await RawSession.open(of(peer));
      await raw.offer(sent);
      for (const [file, name] of Object.keys(sent).entries())
        expect(await raw.outcome(file), `${peer} ${name}`).to.include({ code: 'name' });
      raw.hangUp();
    }
    mkdirSync(run.at('laptop', future), { recursive: true });
    writeFileSync(run.at('laptop', future, 'MANIFEST'), 'planted');
    const plain = await run.run(['send', 'laptop', `tcp://${new URL(ticket).host}`, '--json'], { env });
    expect(plain.code, plain.stdout).to.equal(6);
    expect(plain.stdout).to.include('"code":"name"').and.not.include('"event":"sent"');
    expect(ids().map((id) => `laptop/${id}`)).to.deep.equal([snapshot]);
    expect(readdirSync(inside('laptop')).sort()).to.deep.equal([monday, 'latest']);
    receiver.child.kill('SIGINT');
    await receiver.ended;
    expect((await run.run(['verify', 'in'])).code).to.equal(0);
  });

  it('is none of another key: its backup is refused before anything moves, and the owner stays', async () => {
    await receive({ one: 'write', other: 'write', admin: 'admin' });
    const snapshot = await committed(monday, 1, keys['one']?.id);
    for (const peer of ['other', 'admin', 'ticket']) expect(await refusalOf(peer, 'laptop'), peer).to.equal('exists');
    const local = await run.run(['backup', 'home', 'in', '--name', 'laptop', '--json'], { env });
    expect(local.code, local.stdout).to.equal(6);
    expect(eventsOf(local).map((event) => (event.event === 'failed' ? event.code : event.event)))
      .to.include('exists')
      .and.not.include('sent');
    expect(ids()).to.deep.equal([snapshot.slice(7)]);
    await backup(of('one'));
    expect(ids()).to.have.length(2);
  });

  it('pushes nothing out that was committed, however it is dated, and is named', async () => {
    const kept = [await committed(monday, 1), await committed(tuesday, 2)];
    for (let day = 1; day <= 5; day++) plant(`2090-01-0${String(day)}T000000Z`, kept[1] ?? '');
    const pruned = await run.run(['prune', 'in', '--keep-daily', '2', '--keep-last', '2', '--json']);
    expect(pruned.code).to.equal(0);
    expect(eventsOf(pruned).map((event) => JSON.stringify(event)))
      .to.have.length(2)
      .and.satisfy((all: string[]) => all.every((each) => each.includes('"kept"')));
    expect(ids()).to.have.length(7);
    const asked = [
      ['snapshots', 'in', '--json'],
      ['snapshots', 'in'],
      ['verify', 'in', '--json'],
      ['restore', 'in', `laptop/${future}`, 'out'],
    ].map((words) => run.run(words));
    const [listed, table, verified, restored] = await Promise.all(asked);
    const events = listed ? eventsOf(listed) : [];
    expect(events.flatMap((event) => (event.event === 'foreign' ? [event.path] : []))).to.have.length(5);
    expect(events.filter(({ event }) => event === 'snapshot')).to.have.length(2);
    expect(table).to.include({ code: 0 });
    expect(table?.stderr).to.include(`laptop/${future} was not committed by this receiver`);
    expect(verified?.code).to.equal(0);
    expect(verified && eventsOf(verified).filter(({ event }) => event === 'foreign')).to.have.length(5);
    expect(restored?.code).to.equal(2);
  });

  it('that was committed under a clock that was wrong pushes nothing out either, and stays', async () => {
    for (const [at, id] of [monday, tuesday, future].entries()) await committed(id, at + 1);
    const pruned = await run.run(['prune', 'in', '--keep-within', '1w', '--json']);
    expect(eventsOf(pruned).map((event) => JSON.stringify(event))).to.deep.equal([
      `{"event":"kept","snapshot":"laptop/${monday}","reasons":["within"]}`,
      `{"event":"kept","snapshot":"laptop/${tuesday}","reasons":["newest","within"]}`,
      `{"event":"kept","snapshot":"laptop/${future}","reasons":["future"]}`,
    ]);
  });

  it('is linked only where it was committed, numbers nothing, and with --checksum is read back before', async () => {
    const first = await committed();
    const place = plant(future, first);
    // Right names, sizes, times and digests, the highest number, and other bytes.
    for (const [name, content] of [
      ['a', 'evil'],
      ['large', Buffer.alloc(200_000, 'e')],
    ] as const)
      overwrite(path.join(place, 'home', name), content);
    const { entries, totals, head } = parseManifest(readFileSync(path.join(place, 'MANIFEST')));
    writeFileSync(
      path.join(place, 'MANIFEST'),
      encoded({ entries, totals, head: { ...head, id: future as never, number: 2 ** 32 - 1 } }),
    );
    const second = await backup();
    const linked = statSync(inside(first, 'home', 'large'));
    expect(statSync(inside(second, 'home', 'large')).ino).to.equal(linked.ino);
    expect(readFileSync(inside(second, 'home', 'a'), 'utf8')).to.equal('good');
    expect(parseManifest(readFileSync(inside(second, 'MANIFEST'))).head.number).to.equal(2);
    expect(() => new ManifestEncoder().head({ ...head, number: 2 ** 32 })).to.throw();
    // A disk that rots: nothing but the content tells.
    for (const name of ['a', 'large'])
      overwrite(inside(first, 'home', name), Buffer.alloc(statSync(inside(first, 'home', name)).size, 'r'));
    const third = await backup('in', '--checksum');
    expect(readFileSync(inside(third, 'home', 'a'), 'utf8')).to.equal('good');
    expect(readFileSync(inside(third, 'home', 'large')).equals(Buffer.alloc(200_000, 'g'))).to.equal(true);
    expect((await run.run(['restore', 'in', 'laptop/latest', 'out'])).code).to.equal(0);
  });

  it('of gigabytes of nothing costs the next backup neither time nor memory', async () => {
    const first = await committed();
    for (const id of [future, '2090-01-02T000000Z', '2090-01-03T000000Z']) {
      mkdirSync(inside('laptop', id));
      copyFileSync(inside(first, 'MANIFEST'), inside('laptop', id, 'MANIFEST'));
      truncateSync(inside('laptop', id, 'MANIFEST'), 700 * 1024 ** 2);
    }
    const began = performance.now();
    const running = run.start(['backup', 'home', 'in', '--name', 'laptop', '--json'], env);
    const most = { resident: 0 };
    const watch = setInterval(() => (most.resident = Math.max(most.resident, residentOf(running.child.pid ?? 0))), 20);
    const ended = await running.ended.finally(() => clearInterval(watch));
    expect(ended.code).to.equal(0);
    expect(most.resident, 'MiB').to.be.within(1, 300);
    expect(performance.now() - began, 'ms').to.be.below(60_000);
    // One that was committed, and is as large by now, is damaged: it is not read either.
    truncateSync(inside(first, 'MANIFEST'), 700 * 1024 ** 2);
    const listed = await run.run(['snapshots', 'in']);
    expect(listed.code).to.equal(4);
    expect(listed.stdout).to.include('had ').and.include('when it was committed');
  });

  it('that was there before the backup keeps it from being made, before anything moves', async () => {
    await receive({ writer: 'write' });
    mkdirSync(run.at('elsewhere'));
    const taken: Readonly<Record<string, () => void>> = {
      file: () => writeFileSync(inside('file'), 'mine'),
      directory: () => mkdirSync(inside('directory')),
      link: () => symlinkSync(run.at('elsewhere'), inside('link')),
    };
    for (const [name, take] of Object.entries(taken)) {
      take();
      expect(await refusalOf('writer', name), name).to.equal('exists');
    }
    const local = await run.run(['backup', 'home', 'in', '--name', 'link', '--json'], { env });
    expect(local.code, local.stdout).to.equal(6);
    expect(
      eventsOf(local).flatMap((event) =>
        event.event === 'failed' ? [event.code] : event.event === 'progress' ? [] : [event.event],
      ),
    ).to.deep.equal(['exists']);
    for (const name of Object.keys(taken)) expect(existsSync(inside('.sendall', 'snapshots', name))).to.equal(false);
    expect(readdirSync(run.at('elsewhere'))).to.deep.equal([]);
  });
});

/** Gives a file another content, and its times back. */
function overwrite(place: string, content: string | Uint8Array): void {
  const { atime, mtime } = statSync(place);
  writeFileSync(place, content);
  utimesSync(place, atime, mtime);
}

/** In MiB. */
function residentOf(pid: number): number {
  try {
    return Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0; // it has ended
  }
}
