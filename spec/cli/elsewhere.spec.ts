import { execFileSync } from 'node:child_process';
import { appendFileSync, closeSync, mkdirSync, openSync, readdirSync, statSync, utimesSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import { noise } from '../session/pair';
import { eventsOf, expectEvent } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

describe('cli: the snapshots of another machine (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let ticket: string;
  let ids: string[];

  before(async () => {
    run = new SessionRun();
    mkdirSync(run.at('home', 'deep'), { recursive: true });
    appendFileSync(run.at('home', 'large'), noise(2_500_000));
    appendFileSync(run.at('home', 'deep', 'a.txt'), 'a');
    ({ ticket } = await run.receive());
    for (const more of ['one', 'two']) {
      appendFileSync(run.at('home', 'deep', 'a.txt'), more);
      expect((await run.run(['backup', 'home', ticket, '--name', 'laptop', '--quiet'])).code).to.equal(0);
    }
    ids = readdirSync(run.at('in', 'laptop'))
      .filter((name) => name !== 'latest')
      .sort();
  });
  after(() => run.end());

  it('are listed and compared with the ticket, in the environment or as an argument', async () => {
    const listed = await run.run(['snapshots', ticket, 'laptop']);
    expect(listed.code).to.equal(0);
    for (const id of ids) expect(listed.stdout).to.include(`laptop/${id}`);
    const compared = await run.run(['snapshots', ticket, 'laptop', '--diff', ids[0] ?? '', 'latest', '--json']);
    expect(eventsOf(compared)).to.deep.equal([
      { event: 'changed', path: 'home/deep/a.txt', type: 'file', bytes: 7, what: 'content' },
    ]);
  });

  it('are brought back as they were, which the standard tool then finds in order', async () => {
    const { code, stdout } = await run.run(['restore', ticket, 'laptop/latest', 'restored']);
    expect(code).to.equal(0);
    expect(stdout).to.match(/^2 files/m);
    execFileSync('sha256sum', ['--check', '--strict', run.at('in', 'laptop', 'latest', 'SHA256SUMS')], {
      cwd: run.at('restored'),
    });
    expect((await run.run(['restore', ticket, 'laptop/latest', '--drill', '1%'])).code).to.equal(2);
  });

  it('are verified, and what is damaged is brought again from where it was backed up', async () => {
    expect((await run.run(['verify', ticket])).code).to.equal(0);
    const place = run.at('in', 'laptop', ids[0] ?? '', 'home', 'large');
    const { atime, mtime } = statSync(place);
    const fd = openSync(place, 'r+');
    writeSync(fd, 'damaged', 1_234_567);
    closeSync(fd);
    utimesSync(place, atime, mtime);
    const damaged = await run.run(['verify', ticket, '--json']);
    expect(damaged.code).to.equal(4);
    expect(eventsOf(damaged).filter(({ event }) => event === 'damaged')).to.have.length(2);
    const repaired = await run.run(['verify', ticket, '--repair', '--json']);
    expect(repaired.code).to.equal(0);
    for (const event of eventsOf(repaired)) expectEvent(event);
    expect(lastOf(eventsOf(repaired), 'repaired').path).to.equal('home/large');
    expect((await run.run(['verify', ticket])).code).to.equal(0);
  });

  it('are not removed by whoever holds the ticket only', async () => {
    const { code, stderr } = await run.run(['prune', ticket, '--keep-last', '1']);
    expect(code).to.equal(3);
    expect(stderr).to.include('admin');
    expect(readdirSync(run.at('in', 'laptop'))).to.include.members(ids);
  });
});
