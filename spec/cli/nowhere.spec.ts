import { expect } from 'chai';
import { mkdirSync } from 'node:fs';
import { SendallProcess } from './sendall-process';
import { SessionRun, ticketOf } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: a command whose surroundings are gone', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let receiver: SendallProcess | undefined;
  beforeEach(() => (run = new SessionRun({ file: 'content' })));
  afterEach(async () => {
    receiver?.child.kill('SIGKILL');
    await receiver?.ended;
    receiver = undefined;
    await run.end();
  });

  it('goes on in a directory that was removed, where paths are absolute', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    const ended = (...words: string[]): SendallProcess['ended'] => {
      mkdirSync(run.at('gone'));
      const cwd = run.at('gone');
      const env = { XDG_CACHE_HOME: run.at('cache') };
      return new SendallProcess(words, { cwd, env, under: ['sh', '-c', 'rmdir "$PWD" && exec "$@"', 'sh'] }).ended;
    };
    const { code, stderr } = await ended('backup', run.at('file'), run.at('in'), '--name', 'b');
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/The working directory was removed/);
    const relative = await ended('backup', 'file', run.at('in'), '--name', 'b');
    expect(relative.code, relative.stderr).to.equal(2);
  });

  for (const [what, script, times] of [
    ['on a disk that is full', 'exec "$@" >/dev/full', 2],
    ['closed', 'exec "$@" >&-', 1],
    ['read by nobody any more', 'exec "$@"', 2],
  ] as const)
    it(`receives on, as it should, with a standard output that is ${what}`, async function () {
      if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
      receiver = new SendallProcess(['receive', 'in', '--listen', '127.0.0.1:0'], {
        cwd: run.directory,
        under: ['sh', '-c', script, 'sh'],
      });
      const ticket = await ticketOf(receiver);
      receiver.child.stdout?.destroy();
      for (let time = 0; time < times; time++) {
        const sent = await run.run(['send', 'file', ticket, '--name', String(time)]);
        expect(sent.code, sent.stderr).to.equal(0);
      }
      receiver.child.kill('SIGTERM');
      const { code, stderr } = await receiver.ended;
      expect(code, stderr).to.equal(130);
      expect(stderr.match(/cannot be written/g) ?? []).to.have.length(times - 1);
    });
});
