import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { SendallProcess } from './sendall-process';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

/** A user that no passwd has. */
const nobody = '54321';
const without = ['env', '-u', 'HOME', '-u', 'XDG_CONFIG_HOME', '-u', 'XDG_CACHE_HOME'];

describe('cli: a user without HOME and without an entry in passwd', function () {
  this.timeout(30_000);

  it('sends, since nothing of that is needed', async function () {
    if (process.getuid?.() !== 0) skipTest(this, 'only root can do this');
    const run = new SessionRun();
    try {
      const { ticket } = await run.receive();
      const sender = new SendallProcess(['send', '-', ticket, '--name', 'f'], {
        cwd: '/',
        under: ['setpriv', '--reuid', nobody, '--clear-groups', ...without],
      });
      sender.child.stdin?.end('content');
      const { code, stderr } = await sender.ended;
      expect(code, stderr).to.equal(0);
      expect(readFileSync(run.at('in/f'), 'utf8')).to.equal('content');
    } finally {
      await run.end();
    }
  });
});
