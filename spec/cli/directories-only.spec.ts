import { expect } from 'chai';
import { mkdirSync, symlinkSync } from 'node:fs';
import { SessionRun } from './session-run';

describe('cli: directories without a file (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('only/empty'), { recursive: true });
  });
  afterEach(() => run.end());

  it('are not sent and restored without a word', async () => {
    const { ticket } = await run.receive();
    const sent = await run.run(['send', 'only', ticket]);
    expect([sent.code, sent.stderr]).to.deep.equal([0, '']);
    expect(sent.stdout).to.match(/^no files {2}directories and links only, stored {2}[\d.]+ s\n$/);
    symlinkSync('nowhere', run.at('only/link'));
    mkdirSync(run.at('disk'), { mode: 0o755 });
    expect((await run.run(['backup', 'only', 'disk', '--name', 'b'])).code).to.equal(0);
    const restored = await run.run(['restore', 'disk', 'b/latest', 'out']);
    expect([restored.code, restored.stderr]).to.deep.equal([0, '']);
    expect(restored.stdout).to.match(/^no files {2}directories and links only, stored .* in \S+\/out\n$/);
  });

  it('are skipped by the plain wire, and the sum says so', async () => {
    const { receiver } = await run.receive();
    const sent = await run.run(['send', 'only', await receiver.address()]);
    expect(sent.code).to.equal(0);
    expect(sent.stdout).to.match(/^0 files {2}0 B .* 1 skipped\n$/);
  });

  it('say nothing of a transfer that failed', async () => {
    const sent = await run.run(['send', 'only', 'tcp://127.0.0.1:1', '--retry-for', '0s']);
    expect([sent.code, sent.stdout]).to.deep.equal([3, '']);
    const { ticket } = await run.receive();
    const text = await run.run(['send', '--text', 'hello', ticket]);
    expect(text.stdout).to.match(/^text of 5 characters .*\n$/);
  });
});
