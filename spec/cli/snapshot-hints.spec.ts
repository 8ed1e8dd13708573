import { chmodSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { SessionRun } from './session-run';

describe('cli: what helps where a snapshot is not as it was asked for (the built command)', () => {
  let run: SessionRun;
  beforeEach(async () => {
    run = new SessionRun({ 'a.txt': 'hello\n' });
    chmodSync(run.at('in'), 0o700);
    expect((await run.run(['backup', 'a.txt', 'in', '--name', 'box'])).code).to.equal(0);
  });
  afterEach(() => run.end());

  it('of one that is not there, how to list those that are', async () => {
    const mistyped = await run.run(['restore', 'in', 'box/2020-01-01T000000Z', 'out']);
    expect(mistyped.stderr).to.include('hint: sendall snapshots DIR box lists what there is.');
  });

  it('of one whose manifest is damaged, that this is not repaired', async () => {
    writeFileSync(run.at('in', 'box', 'latest', 'MANIFEST'), '');
    const manifest = await run.run(['verify', 'in']);
    expect(manifest.code).to.equal(4);
    expect(manifest.stderr).to.include('A manifest is not repaired').and.not.to.include('--repair');
  });
});
