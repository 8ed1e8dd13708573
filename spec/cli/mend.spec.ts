import { expect } from 'chai';
import { chmodSync, linkSync, mkdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { eventsOf, type Ended } from './sendall-process';
import { SessionRun } from './session-run';

describe('cli: verify --repair where the source is not', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun()));
  afterEach(() => run.end());

  const told = (ended: Ended, name: 'damaged' | 'repaired'): string[] =>
    eventsOf(ended)
      .flatMap((event) => (event.event === name ? [event.path] : []))
      .sort();

  it('mends from the manifest alone, and tells what is foreign from what is damaged', async () => {
    mkdirSync(run.at('tree/d/empty'), { recursive: true });
    for (const name of ['a', 'd/b']) writeFileSync(run.at('tree', name), name);
    linkSync(run.at('tree/a'), run.at('tree/d/hard'));
    symlinkSync('a', run.at('tree/sym'));
    expect((await run.run(['backup', 'tree', 'in', '--name', 'b'])).code).to.equal(0);
    rmSync(run.at('tree'), { recursive: true });
    const stored = run.at('in/b', readlinkSync(run.at('in/b/latest')), 'tree');
    chmodSync(`${stored}/a`, 0o666);
    rmSync(`${stored}/sym`);
    rmSync(`${stored}/d/hard`);
    rmSync(`${stored}/d/empty`, { recursive: true });
    writeFileSync(`${stored}/d/foreign`, '');
    const repaired = await run.run(['verify', 'in', '--repair', '--json']);
    expect(repaired.code, repaired.stderr).to.equal(4);
    expect(told(repaired, 'repaired')).to.deep.equal(told(repaired, 'damaged').filter((path) => !/foreign/.test(path)));
    expect(told(repaired, 'repaired')).to.include.members(['tree/a', 'tree/d/empty', 'tree/d/hard', 'tree/sym']);
    const verified = await run.run(['verify', 'in']);
    expect(verified.code).to.equal(4);
    expect(verified.stdout).to.match(
      /^foreign .*\/tree\/d\/foreign {2}\(was not backed up\)\n.*no damage found {2}1 foreign\n$/,
    );
    expect(verified.stderr).to.match(/Nothing is damaged; 1 thing in 1 snapshot was not backed up\./);
    // It has left its mark on the time of its directory.
    rmSync(`${stored}/d/foreign`);
    expect(told(await run.run(['verify', 'in', '--repair', '--json']), 'repaired')).to.deep.equal(['tree/d']);
    expect((await run.run(['verify', 'in'])).code).to.equal(0);
    expect(statSync(`${stored}/d/hard`).ino).to.equal(statSync(`${stored}/a`).ino);
  });
});
