import { expect } from 'chai';
import { linkSync, mkdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { exhaust } from '../many-names';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: a file that has as many names as its disk allows', function () {
  this.timeout(60_000);

  it('is copied where one more is needed, once for all of them, and verify knows it', async function () {
    const run = new SessionRun();
    try {
      mkdirSync(run.at('tree'));
      writeFileSync(run.at('tree/a'), 'content', { mode: 0o640 });
      const { ticket } = await run.receive();
      expect((await run.run(['send', 'tree', ticket])).code).to.equal(0);
      expect((await run.run(['backup', 'tree', ticket, '--name', 'b'])).code).to.equal(0);
      const before = run.at('in/b', readlinkSync(run.at('in/b/latest')), 'tree/a');
      if (!exhaust(run.at('in/tree/a'), run.at('one')) || !exhaust(before, run.at('two')))
        skipTest(this, 'this disk allows more names of a file than can be tried');

      for (const name of ['b', 'c']) linkSync(run.at('tree/a'), run.at('tree', name));
      const sent = await run.run(['send', 'tree', ticket, '--json']);
      expect(sent.code, sent.stderr).to.equal(0);
      expect(lastOf(eventsOf(sent), 'lost')).to.include({ what: 'link', entries: 2, file_name: 'tree/b' });
      const [a, b, c] = ['a', 'b', 'c'].map((name) => statSync(run.at('in/tree', name)));
      expect(run.read('tree/c').toString()).to.equal('content');
      expect([b?.ino === c?.ino, a?.ino === c?.ino, b?.mtimeMs, b?.mode]).to.deep.equal([
        true,
        false,
        a?.mtimeMs,
        a?.mode,
      ]);

      // The same for the link to the snapshot before.
      const backup = await run.run(['backup', 'tree', ticket, '--name', 'b', '--json']);
      expect(lastOf(eventsOf(backup), 'snapshot')).to.include({ missing: 0, new_bytes: 0 });
      expect((await run.run(['verify', 'in'])).code).to.equal(0);
    } finally {
      await run.end();
    }
  });
});
