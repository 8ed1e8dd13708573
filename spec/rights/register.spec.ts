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
import { AuthorizedKeys, formatTicket, parseTicket, type Rights } from '../../lib/index';
import { ManifestEncoder, parseManifest } from '../../lib/snapshot/manifest/manifest';
import { type Ended, eventsOf, type SendallProcess } from '../cli/sendall-process';
import { SessionRun } from '../cli/session-run';
import { encoded, madeSnapshot } from '../snapshot/made-snapshot';

const [monday, tuesday, future] = ['2026-11-16T100000Z', '2026-11-17T100000Z', '2090-01-01T000000Z'];

/**
 * What is only believed because this receiver committed it: done by the built command, as whoever has a key or is on
 * the machine.
 */
describe('What lies under the name of a backup', function () {
  this.timeout(120_000);
  let run: SessionRun;
  let receiver: SendallProcess;
  let ticket: string;
  let env: NodeJS.ProcessEnv;
  const keys: Record<string, string> = {};
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
    writeFileSync(run.at('home', 'a'), 'good');
    writeFileSync(run.at('home', 'large'), Buffer.alloc(200_000, 'g'));
    env = { XDG_CONFIG_HOME: run.at('config') };
  });
  afterEach(() => run.end());

  /** A receiver with a key for each of these names and rights. */
  async function receive(wanted: Readonly<Record<string, string>> = {}): Promise<void> {
    ({ receiver, ticket } = await run.receive(['--if-exists', 'replace'], env));
    const made = new AuthorizedKeys(run.at('config', 'sendall', 'authorized.json'));
    const where = parseTicket(ticket).address;
    for (const [name, rights] of Object.entries(wanted)) {
      const { id, key } = await made.authorize({ name, rights: rights as Rights });
      keys[name] = formatTicket({ id, key, address: where });
    }
  }

  it('takes nothing that is sent to it, in a session or on the plain wire, and is not replaced', async () => {
    await receive({ writer: 'write', admin: 'admin' });
    const snapshot = await backup(keys['writer']);
    const plain = `tcp://${/sendall:\/\/([^/]+)\//.exec(ticket)?.[1] ?? ''}`;
    // A tree of that name, with all that would be believed.
    const names = [
      `${future}/MANIFEST`,
      `${future}/home/a`,
      `${snapshot.slice(7)}/MANIFEST`,
      `${snapshot.slice(7)}/home/more`,
      'latest',
    ];
    for (const name of names) {
      mkdirSync(path.dirname(run.at('laptop', name)), { recursive: true });
      writeFileSync(run.at('laptop', name), name);
    }
    const codesOf = (ended: Ended): string[] => [
      ...new Set(
        eventsOf(ended).flatMap((event) =>
          event.event === 'failed' && event.file_name !== undefined ? [event.code] : [],
        ),
      ),
    ];
    const send = (what: string, target: string, ...words: readonly string[]): Promise<Ended> =>
      run.run(['send', what, target, '--json', ...words], { env });
    const sent = await Promise.all(
      [keys['writer'] ?? '', keys['admin'] ?? '', ticket, plain].map((target) => send('laptop', target)),
    );
    for (const ended of sent) {
      expect({ code: ended.code, codes: codesOf(ended) }, ended.stdout).to.deep.equal({ code: 8, codes: ['name'] });
      expect(eventsOf(ended).filter(({ event }) => event === 'sent')).to.deep.equal([]);
    }
    const named = await Promise.all([ticket, plain].map((target) => send('home/a', target, '--name', 'laptop')));
    expect(named.map(({ code }) => code)).to.deep.equal([6, 6]);
    expect(ids().map((id) => `laptop/${id}`)).to.deep.equal([snapshot]);
    expect(readdirSync(inside('laptop')).sort()).to.deep.equal([snapshot.slice(7), 'latest']);
    receiver.child.kill('SIGINT');
    await receiver.ended;
    expect((await run.run(['verify', 'in'])).code).to.equal(0);
  });

  it('is none of another key: its backup is refused before anything moves, and the owner stays', async () => {
    await receive({ one: 'write', other: 'write', admin: 'admin' });
    const snapshot = await backup(keys['one']);
    const backups = [keys['other'] ?? '', keys['admin'] ?? '', ticket, 'in'].map((target) =>
      run.run(['backup', 'home', target, '--name', 'laptop', '--json'], { env }),
    );
    for (const ended of await Promise.all(backups)) {
      expect(ended.code, ended.stdout).to.equal(6);
      expect(eventsOf(ended).map((event) => (event.event === 'failed' ? event.code : event.event)))
        .to.include('exists')
        .and.not.include('sent');
    }
    expect(ids()).to.deep.equal([snapshot.slice(7)]);
    await backup(keys['one']);
    expect(ids()).to.have.length(2);
  });

  it('pushes nothing out that was committed, however it is dated, and is named', async () => {
    const kept = [await backup(), await backup()];
    for (let day = 1; day <= 5; day++) plant(`2090-01-0${String(day)}T000000Z`, kept[1] ?? '');
    const pruned = await run.run(['prune', 'in', '--keep-daily', '2', '--keep-last', '2', '--json']);
    expect(pruned.code).to.equal(0);
    expect(eventsOf(pruned).map((event) => JSON.stringify(event)))
      .to.have.length(2)
      .and.satisfy((all: string[]) => all.every((each) => each.includes('"kept"')));
    expect(ids()).to.have.length(7);
    const listed = eventsOf(await run.run(['snapshots', 'in', '--json']));
    expect(listed.flatMap((event) => (event.event === 'foreign' ? [event.path] : []))).to.have.length(5);
    expect(listed.filter(({ event }) => event === 'snapshot')).to.have.length(2);
    const table = await run.run(['snapshots', 'in']);
    expect(table).to.include({ code: 0 });
    expect(table.stderr).to.include(`laptop/${future} was not committed by this receiver`);
    const verified = await run.run(['verify', 'in', '--json']);
    expect(verified.code).to.equal(0);
    expect(eventsOf(verified).filter(({ event }) => event === 'foreign')).to.have.length(5);
    const asked = [
      ['restore', 'in', `laptop/${future}`, 'out'],
      ['verify', 'in', '--snapshot', `laptop/${future}`],
      ['snapshots', 'in', 'laptop', '--diff', future, 'latest'],
    ].map((words) => run.run(words));
    expect((await Promise.all(asked)).map(({ code }) => code)).to.deep.equal([2, 2, 2]);
  });

  it('that was committed under a clock that was wrong pushes nothing out either, and stays', async () => {
    for (const [at, id] of [monday, tuesday, future].entries())
      await madeSnapshot(run.at('in'), { name: 'laptop', id, number: at + 1 }, { a: id });
    const pruned = await run.run(['prune', 'in', '--keep-within', '1w', '--json']);
    expect(eventsOf(pruned).map((event) => JSON.stringify(event))).to.deep.equal([
      `{"event":"kept","snapshot":"laptop/${monday}","reasons":["within"]}`,
      `{"event":"kept","snapshot":"laptop/${tuesday}","reasons":["newest","within"]}`,
      `{"event":"kept","snapshot":"laptop/${future}","reasons":["future"]}`,
    ]);
  });

  it('is linked only where it was committed, and with --checksum read back before', async () => {
    const first = await backup();
    const place = plant(future, first);
    // Right names, sizes, times and digests, the highest number, and other bytes.
    for (const [name, content] of [
      ['a', 'evil'],
      ['large', Buffer.alloc(200_000, 'e')],
    ] as const) {
      const { atime, mtime } = statSync(path.join(place, 'home', name));
      writeFileSync(path.join(place, 'home', name), content);
      utimesSync(path.join(place, 'home', name), atime, mtime);
    }
    const { entries, totals, head } = parseManifest(readFileSync(path.join(place, 'MANIFEST')));
    writeFileSync(
      path.join(place, 'MANIFEST'),
      encoded({ entries, totals, head: { ...head, id: future as never, number: 99 } }),
    );
    const second = await backup();
    const linked = statSync(inside(first, 'home', 'large'));
    expect(statSync(inside(second, 'home', 'large')).ino).to.equal(linked.ino);
    expect(readFileSync(inside(second, 'home', 'a'), 'utf8')).to.equal('good');
    expect(parseManifest(readFileSync(inside(second, 'MANIFEST'))).head.number).to.equal(2);
    // A disk that rots: nothing but the content tells.
    for (const name of ['a', 'large']) {
      const { atime, mtime, size } = statSync(inside(first, 'home', name));
      writeFileSync(inside(first, 'home', name), Buffer.alloc(size, 'r'));
      utimesSync(inside(first, 'home', name), atime, mtime);
    }
    const third = await backup('in', '--checksum');
    expect(readFileSync(inside(third, 'home', 'a'), 'utf8')).to.equal('good');
    expect(readFileSync(inside(third, 'home', 'large')).equals(Buffer.alloc(200_000, 'g'))).to.equal(true);
    expect((await run.run(['restore', 'in', third, 'out'])).code).to.equal(0);
  });

  it('cannot number what comes after it, and no number is written that nobody reads', async () => {
    const first = await backup();
    const place = plant(future, first);
    const { entries, totals, head } = parseManifest(readFileSync(path.join(place, 'MANIFEST')));
    writeFileSync(
      path.join(place, 'MANIFEST'),
      encoded({ entries, totals, head: { ...head, id: future as never, number: 2 ** 32 - 1 } }),
    );
    const second = await backup();
    expect(parseManifest(readFileSync(inside(second, 'MANIFEST'))).head.number).to.equal(2);
    expect((await run.run(['restore', 'in', 'laptop/latest', 'out'])).code).to.equal(0);
    expect(() => new ManifestEncoder().head({ ...head, number: 2 ** 32 })).to.throw();
  });

  it('of gigabytes of nothing costs the next backup neither time nor memory', async () => {
    const first = await backup();
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
    for (const take of Object.values(taken)) take();
    const backups = Object.keys(taken).map(
      async (name) =>
        [
          name,
          await Promise.all(
            [keys['writer'] ?? '', 'in'].map((target) =>
              run.run(['backup', 'home', target, '--name', name, '--json'], { env }),
            ),
          ),
        ] as const,
    );
    for (const [name, all] of await Promise.all(backups)) {
      for (const ended of all) {
        expect(ended.code, `${name} ${ended.stdout}`).to.equal(6);
        expect(
          eventsOf(ended).flatMap((event) =>
            event.event === 'failed' ? [event.code] : event.event === 'progress' ? [] : [event.event],
          ),
        ).to.deep.equal(['exists']);
      }
      expect(existsSync(inside('.sendall', 'snapshots', name))).to.equal(false);
    }
    expect(readdirSync(run.at('elsewhere'))).to.deep.equal([]);
  });
});

/** In MiB. */
function residentOf(pid: number): number {
  try {
    return Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0; // it has ended
  }
}
