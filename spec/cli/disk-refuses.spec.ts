import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mountExfat } from './exfat-disk';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

const words = (...command: string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/** Names of files below a directory, relative to it. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(directory.length + 1));
}

describe('cli: a disk that refuses one file of many', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let unmount: (() => void) | undefined;
  beforeEach(() => (run = new SessionRun()));
  afterEach(async () => {
    const { directory } = run;
    unmount?.();
    unmount = undefined;
    await run.end();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Where this machine, or this user, cannot mount such a disk, the test is said to be pending. */
  const mount = (context: Mocha.Context, attempt: () => void): void => {
    try {
      attempt();
    } catch {
      context.skip();
    }
    unmount = () => void words('umount', '-l', run.at('in'));
  };

  it('because of its name, or that of its directory, stores all others (exFAT)', async function () {
    mount(this, () => mountExfat(run.at('image'), run.at('in'), 'umask=077'));
    mkdirSync(run.at('tree/d?'), { recursive: true });
    mkdirSync(run.at('tree/ok'));
    const good = ['f1', 'f2', 'ok/k', 'ok/large'];
    const bad = ['q?x', 'd?/y', 'st*r', 'ok/large?'];
    for (const name of [...good, ...bad])
      writeFileSync(run.at('tree', name), name.includes('large') ? Buffer.alloc(100_000, name) : name);
    const { receiver, ticket } = await run.receive();
    const sent = await run.run(['send', 'tree', ticket, '--json']);
    expect(sent.code).to.equal(8);
    const failed = eventsOf(sent).flatMap((event) =>
      event.event === 'failed' && event.file_name ? [[event.file_name, event.code]] : [],
    );
    expect(failed.sort()).to.deep.equal([...bad, 'd?'].map((name) => [`tree/${name}`, 'name']).sort());
    expect(filesIn(run.at('in/tree')).sort()).to.deep.equal(good);
    for (const name of good)
      expect(readFileSync(run.at('in/tree', name)).equals(readFileSync(run.at('tree', name)))).to.equal(true);
    receiver.child.kill('SIGTERM');
    await receiver.ended;
  });

  it('because there is no room left ends, keeps what it has told of, and goes on when there is room again', async function () {
    const count = 400;
    mount(this, () => words('mount', '-t', 'tmpfs', '-o', 'size=2m,mode=0755', 'none', run.at('in')));
    mkdirSync(run.at('tree'));
    for (let at = 0; at < count; at++)
      writeFileSync(run.at('tree', String(at)), Buffer.alloc(4_096 + (at % 7) * 1_024, at));
    const { receiver, ticket } = await run.receive();
    // Every page is taken in the end: nothing can be written about what was stored either.
    for (const turn of ['first', 'again']) {
      const sent = await run.run(['send', 'tree', ticket, '--json']);
      expect(sent.code, `${turn}: ${sent.stderr}`).to.equal(8);
      const events = eventsOf(sent);
      const stored = events.flatMap((event) =>
        event.event === 'sent' && event.file_name.includes('/') ? [event.file_name] : [],
      );
      const failed = events.flatMap((event) => (event.event === 'failed' ? [event.code] : []));
      expect([...new Set(failed)], turn).to.deep.equal(['space']);
      expect(stored.length + failed.length, turn).to.be.within(count, count + 1);
      expect(filesIn(run.at('in/tree')).sort(), turn).to.deep.equal(
        stored.map((name) => name.slice('tree/'.length)).sort(),
      );
      for (const name of filesIn(run.at('in/tree')))
        expect(readFileSync(run.at('in/tree', name)).equals(readFileSync(run.at('tree', name))), name).to.equal(true);
    }
    rmSync(run.at('in/tree'), { recursive: true });
    rmSync(run.at('tree'), { recursive: true });
    writeFileSync(run.at('one'), 'one');
    expect((await run.run(['send', 'one', ticket])).code).to.equal(0);
    receiver.child.kill('SIGTERM');
    expect((await receiver.ended).stderr).to.not.match(/receipts cannot be kept/);
  });
});
