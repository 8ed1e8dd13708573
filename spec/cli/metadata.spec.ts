import { chmodSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

const [day, other] = [86_400, 5 * 86_400];

describe('cli: modes and times of what is there already (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('tree', 'sub'), { recursive: true });
    writeFileSync(run.at('tree', 'sub', 'small'), 'hello\n');
    writeFileSync(run.at('tree', 'large'), randomBytes(2 * 1024 * 1024));
    writeFileSync(run.at('tree', 'sub', 'touched'), 'touched here\n');
    setAll('tree', 0o750, 0o640, day);
  });
  afterEach(() => run.end());

  /** Gives all of a tree these modes and this time. */
  function setAll(root: string, directories: number, files: number, time: number): void {
    for (const name of ['sub/small', 'sub/touched', 'large', 'sub', '.']) {
      const at = run.at(root, name);
      chmodSync(at, statSync(at).isDirectory() ? directories : files);
      utimesSync(at, time, time);
    }
  }

  /** Mode and time in s of each name below `root`. */
  function modesAndTimes(...root: readonly string[]): Record<string, string> {
    return Object.fromEntries(
      ['.', 'large', 'sub', 'sub/small', 'sub/touched'].map((name) => {
        const { mode, mtimeMs } = statSync(run.at(...root, name));
        return [name, `${(mode & 0o7777).toString(8)} ${String(mtimeMs / 1000)}`];
      }),
    );
  }

  it('are taken for files and directories with --if-exists replace, and for neither without', async () => {
    for (const rule of ['replace', 'refuse']) {
      const into = `in-${rule}`;
      mkdirSync(run.at(into), { mode: 0o755 });
      const receiver = run.start(['receive', into, '--listen', '127.0.0.1:0', '--if-exists', rule]);
      const [ticket = ''] = await receiver.says(/sendall:\S+/);
      expect((await run.run(['send', 'tree', ticket])).code).to.equal(0);
      const before = modesAndTimes('tree');
      expect(modesAndTimes(into, 'tree'), 'new').to.deep.equal(before);
      // The receipt of this one does not hold any more.
      chmodSync(run.at(into, 'tree', 'sub', 'touched'), 0o600);
      setAll('tree', 0o711, 0o604, other);
      for (const turn of ['compared', 'by receipts']) {
        const { code, stdout } = await run.run(['send', 'tree', ticket, '--json']);
        expect(code, turn).to.equal(0);
        expect(lastOf(eventsOf({ code, stdout, stderr: '' }), 'summary').bytes_on_wire).to.be.lessThan(10_000);
        const kept = { ...before, 'sub/touched': `600 ${String(day)}` };
        expect(modesAndTimes(into, 'tree'), `${rule}, ${turn}`).to.deep.equal(
          rule === 'replace' ? modesAndTimes('tree') : kept,
        );
      }
      receiver.child.kill('SIGTERM');
      await receiver.ended;
      setAll('tree', 0o750, 0o640, day);
    }
  });

  it('of directories that a broken off transfer has made are set by the one that goes on with it', async () => {
    writeFileSync(run.at('tree', 'slow'), randomBytes(6 * 1024 * 1024));
    setAll('tree', 0o750, 0o640, day);
    const first = await run.receive();
    const sending = run.start(['send', 'tree', first.ticket, '--limit', '1MB/s', '--retry-for', '0s']);
    for (let waited = 0; !readdirSync(run.at('in')).includes('tree') && waited < 400; waited++)
      await new Promise((resolve) => setTimeout(resolve, 25));
    first.receiver.child.kill('SIGKILL');
    await Promise.all([first.receiver.ended, sending.ended]);
    expect(modesAndTimesOf('in', 'tree').mode).not.to.equal(0o750);
    const second = await run.receive();
    expect((await run.run(['send', 'tree', second.ticket])).code).to.equal(0);
    expect(modesAndTimes('in', 'tree')).to.deep.equal(modesAndTimes('tree'));
  });

  function modesAndTimesOf(...names: readonly string[]): { readonly mode: number } {
    return { mode: statSync(run.at(...names)).mode & 0o7777 };
  }

  it('of directories stay where something is restored into them, and those that restore makes get theirs', async () => {
    mkdirSync(run.at('backups'), { mode: 0o755 });
    const keeping = run.start(['receive', 'backups', '--listen', '127.0.0.1:0']);
    const [ticket = ''] = await keeping.says(/sendall:\S+/);
    expect((await run.run(['backup', 'tree', ticket, '--name', 'b'])).code).to.equal(0);
    mkdirSync(run.at('out', 'tree'), { recursive: true });
    chmodSync(run.at('out'), 0o755);
    chmodSync(run.at('out', 'tree'), 0o700);
    expect((await run.run(['restore', 'backups', 'b/latest', 'out', 'tree/sub/small'])).code).to.equal(0);
    expect(modesAndTimesOf('out', 'tree').mode).to.equal(0o700);
    expect(modesAndTimesOf('out', 'tree', 'sub').mode).to.equal(0o750);
    expect(statSync(run.at('out', 'tree', 'sub')).mtimeMs).to.equal(day * 1000);
    expect((await run.run(['restore', 'backups', 'b/latest', 'out'])).code).to.equal(0);
    expect(modesAndTimesOf('out', 'tree').mode).to.equal(0o700);
    expect((await run.run(['restore', 'backups', 'b/latest', 'out', '--if-exists', 'replace'])).code).to.equal(0);
    expect(modesAndTimes('out', 'tree')).to.deep.equal(modesAndTimes('tree'));
  });

  it('of a stored file are as a snapshot says: one that somebody has changed is not linked', async () => {
    const { receiver, ticket } = await run.receive();
    expect((await run.run(['backup', 'tree', ticket, '--name', 'b'])).code).to.equal(0);
    const first = readdirSync(run.at('in', 'b')).find((name) => name !== 'latest') ?? '';
    for (const name of ['large', 'sub/small']) chmodSync(run.at('in', 'b', first, 'tree', name), 0o444);
    utimesSync(run.at('in', 'b', first, 'tree', 'sub', 'touched'), other, other);
    expect((await run.run(['backup', 'tree', ticket, '--name', 'b'])).code).to.equal(0);
    expect(modesAndTimes('in', 'b', 'latest', 'tree')).to.deep.equal(modesAndTimes('tree'));
    receiver.child.kill('SIGTERM');
    await receiver.ended;
    const { stdout } = await run.run(['verify', 'in', '--json']);
    const damaged = eventsOf({ code: 0, stdout, stderr: '' }).filter((event) => event.event === 'damaged');
    expect(damaged.map(({ snapshot }) => snapshot)).to.deep.equal(Array(3).fill(`b/${first}`));
  });
});
