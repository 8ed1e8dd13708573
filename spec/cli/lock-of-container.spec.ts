import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { SendallProcess } from './sendall-process';
import { SessionRun, ticketOf } from './session-run';
import { skipTest } from '../skip-test';

/** As in a container: a host name and process numbers of its own. */
const container = ['unshare', '--uts', '--pid', '--fork', '--mount-proc', '--kill-child'];
const called = ['sh', '-c', 'hostname "$0" && exec "$@"'];

describe('cli: the lock of a receiver in a container', function () {
  this.timeout(60_000);

  it('is one while that runs, and none once it was killed, whatever the next container is called', async function () {
    if (spawnSync(container[0] ?? '', [...container.slice(1), ...called, 'first', 'true']).status !== 0)
      skipTest(this, 'no containers can be made here');
    const run = new SessionRun();
    const words = ['receive', 'in', '--listen', '127.0.0.1:0'];
    const receiver = (host: string): SendallProcess =>
      new SendallProcess(words, { cwd: run.directory, under: [...container, ...called, host] });
    const first = receiver('first');
    let second: SendallProcess | undefined;
    try {
      await ticketOf(first);
      const refused = await run.run(words);
      expect(refused.code).to.equal(2);
      expect(refused.stderr).to.match(/process \d+ on first\) is using this directory/);
      expect(refused.stderr).to.match(/remove \.sendall\/lock in the receive directory/);
      first.child.kill('SIGKILL');
      await first.ended;
      second = receiver('second');
      await ticketOf(second);
    } finally {
      for (const each of [first, second]) each?.child.kill('SIGKILL');
      await Promise.all([first.ended, second?.ended]);
      await run.end();
    }
  });
});
