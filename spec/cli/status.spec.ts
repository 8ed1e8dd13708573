import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { StatusEvent } from '../../cli/status-event';
import { StatusFile } from '../../cli/status-file';
import { type Ended, expectEvent } from './sendall-process';
import { SessionRun } from './session-run';

describe('cli: status (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun({ 'a.txt': 'hello\n', large: Buffer.alloc(8 * 1024 ** 2, 1) });
    chmodSync(run.at('in'), 0o700);
  });
  afterEach(() => run.end());

  async function status(...words: readonly string[]): Promise<{ ended: Ended; said: StatusEvent }> {
    const ended = await run.run(['status', 'in', '--json', ...words]);
    const said = JSON.parse(ended.stdout.split('\n')[0] ?? '') as StatusEvent;
    expectEvent(said);
    return { ended, said };
  }

  it('says who sends and how far, and what came last once nothing runs any more', async () => {
    const { receiver, ticket } = await run.receive(['--quota', '1G']);
    expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
    const sender = run.start(['send', 'large', ticket, '--limit', '1M', '--json']);
    await sender.says(/"phase":"send","done":[1-9]/);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const { said } = await status();
    expect(said.receiver).to.include({ pid: receiver.child.pid, quota: 1024 ** 3 });
    expect(said.receiver?.transfers).to.have.length(1);
    expect(said.receiver?.transfers[0]).to.include({ from: null, file_name: 'large', total: 8 * 1024 ** 2 });
    expect(said.last_received).to.include({ file_name: 'a.txt' });
    const words = await run.run(['status', 'in']);
    expect(words.stdout).to.match(/^receiver +runs since .*\n {2}ticket +0 files, .*large \d+ % of 8\.0 MiB\n/m);
    sender.child.kill('SIGKILL');
    receiver.child.kill('SIGTERM');
    await receiver.ended;
    expect((await status()).said).to.deep.include({ receiver: null, problems: [] });
    expect((await run.run(['status', 'in'])).stdout).to.match(/^receiver +does not run$/m);
  });

  // Found by the fault experiment failing-calls.
  it('fails no receiver whose status cannot be removed', () => {
    mkdirSync(run.at('in/.sendall/status.json'), { recursive: true });
    new StatusFile(run.at('in'), undefined).close();
    expect(existsSync(run.at('in/.sendall/status.json'))).to.equal(true);
  });

  it('ends with 1 where there is no backup, and where one is too old', async () => {
    expect((await status('--max-age', '1h')).ended.code).to.equal(1); // there is none
    expect((await run.run(['backup', 'a.txt', 'in', '--name', 'box'])).code).to.equal(0);
    const fresh = await status('--max-age', '1h');
    expect(fresh.ended.code).to.equal(0);
    expect(fresh.said.backups).to.have.length(1);
    expect(fresh.said.backups[0]).to.include({ name: 'box', snapshots: 1, verified_at: null, drill: null });
    const old = await status('--max-age', '0s');
    expect({ code: old.ended.code, problems: old.said.problems.length }).to.deep.equal({ code: 1, problems: 1 });
  });

  it('tells of the last verification and the last drill, and ends with 1 where damage is known', async () => {
    expect((await run.run(['backup', 'a.txt', 'in', '--name', 'box'])).code).to.equal(0);
    expect((await run.run(['verify', 'in'])).code).to.equal(0);
    expect((await run.run(['restore', 'in', 'box/latest', '--drill', '100%'])).code).to.equal(0);
    const checked = await status();
    expect(checked.said.verified).to.include({ damaged: 0 });
    expect(checked.said.backups[0]?.drill).to.include({ failures: 0 });

    writeFileSync(run.at('in', 'box', 'latest', 'a.txt'), 'rotten\n');
    expect((await run.run(['verify', 'in'])).code).to.equal(4);
    const damaged = await run.run(['status', 'in']);
    expect(damaged.code).to.equal(1);
    expect(damaged.stderr).to.match(/The last verification found 1 damaged name\.\nhint: sendall verify names it/);
  });

  it('says which directory looks like a backup that is not registered', async () => {
    expect((await run.run(['backup', 'a.txt', 'in', '--name', 'box'])).code).to.equal(0);
    rmSync(run.at('in', '.sendall'), { recursive: true });
    expect((await run.run(['status', 'in', '--max-age', '1h'])).stderr).to.match(
      /There is no snapshot at all\. box looks like a backup and is not registered: sendall adopt/,
    );
  });
});
