// What a tiny store of our own cannot prove: that servers which others made answer as is thought here.
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { backup } from '../../../lib/snapshot/backup/backup';
import { prune, restore, verify } from '../../../lib/snapshot/remote/anywhere';
import { eventsOf, SendallProcess } from '../../cli/sendall-process';
import { makeSmallSource } from '../../snapshot/object/small-source';
import { failureOf } from '../delivery';
import { sessionConformance } from '../session-conformance';
import { objectProperties, openObjects } from './object-place';
import { type ObjectServer, radosgw, type RealServer, swift } from './servers';

/** Which of them keeps two receivers from one name by itself. */
const servers: readonly { readonly real: RealServer; readonly keepsFree: boolean }[] = [
  { real: radosgw, keepsFree: true },
  { real: swift, keepsFree: false },
];

for (const { real, keepsFree } of servers) {
  const lacks = real.lacks();
  describe(`on ${real.name}${lacks === undefined ? '' : ` (skipped: ${lacks})`}`, function () {
    if (lacks !== undefined) {
      it.skip(lacks);
      return;
    }
    this.timeout(120_000);
    let server: ObjectServer;
    let root: string;
    const running: SendallProcess[] = [];
    before(async () => {
      server = await real.start();
    });
    after(() => server.stop());
    beforeEach(() => {
      root = mkdtempSync(path.join(tmpdir(), 'sendall-real-'));
    });
    afterEach(async () => {
      for (const { child } of running) child.kill();
      await Promise.all(running.splice(0).map(({ ended }) => ended));
      rmSync(root, { recursive: true, force: true });
    });
    const options = () => ({ ...server.options(), ...(keepsFree ? {} : { singleReceiver: true }) });

    describe('an object store keeps the promises of sessions:', () => {
      sessionConformance(() => openObjects(options()), objectProperties);
    });

    it('backups are made, read back, restored and pruned', async () => {
      const objects = options();
      const source = makeSmallSource(root, 9 * 1024 * 1024);
      const made = await backup({ paths: [source], objects, name: 'laptop' });
      writeFileSync(path.join(source, 'a'), randomBytes(3001));
      const second = await backup({ paths: [source], objects, name: 'laptop' });
      expect([made.missing, second.new_bytes]).to.deep.equal([0, 3001]);
      expect((await verify({ objects })).snapshots).to.equal(2);
      const pruned = await prune({ objects, keep: { last: 1 } });
      expect(pruned.map(({ event }) => event)).to.deep.equal(['removed', 'kept']);
      await restore({ objects, snapshot: 'laptop/latest', destination: path.join(root, 'back') });
      for (const name of ['a', 'big', 'sub/b', 'link'])
        expect(readFileSync(path.join(root, 'back/src', name)).equals(readFileSync(path.join(source, name)))).to.equal(
          true,
        );
    });

    if (keepsFree) return;

    it('a receiver says that it does not start, and what would help; so it is with a backup', async () => {
      const { bucket, prefix, endpoint, keys } = server.options();
      const url = `s3://${bucket}/${prefix.slice(0, -1)}`;
      const env = { AWS_ACCESS_KEY_ID: keys.accessKey, AWS_SECRET_ACCESS_KEY: keys.secretKey };
      const start = (...words: string[]): SendallProcess => {
        const started = new SendallProcess([...words, '--endpoint', endpoint.href], { cwd: root, env });
        running.push(started);
        return started;
      };
      const paths = [makeSmallSource(root)];
      const { code, message } = await failureOf(backup({ paths, objects: server.options(), name: 'laptop' }));
      expect([code, message]).to.deep.equal([
        'directory',
        'This object store does not keep two receivers from one name.',
      ]);
      const refused = await start('receive', url).ended;
      expect(refused.code).to.not.equal(0);
      expect(refused.stderr).to.contain('This object store does not keep two receivers from one name.');
      expect(refused.stderr).to.contain('--single-receiver');
      const receiver = start('receive', url, '--single-receiver', '--listen', '127.0.0.1:0', '--json');
      const [, ticket = ''] = await receiver.says(/"ticket":"([^"]+)"/);
      const sent = await new SendallProcess(['send', 'src', ticket, '--json'], { cwd: root }).ended;
      expect(sent.code, sent.stderr).to.equal(0);
      const receipts = eventsOf(sent).filter(({ event }) => event === 'sent');
      expect(receipts.map((each) => each.event === 'sent' && each.verified)).to.deep.equal(Array(4).fill('store'));
      const exported = await start('export', url, 'out').ended;
      expect(exported.code, exported.stderr).to.equal(0);
      for (const name of ['a', 'big', 'sub/b', 'sub/c'])
        expect(
          readFileSync(path.join(root, 'out/src', name)).equals(readFileSync(path.join(root, 'src', name))),
        ).to.equal(true);
    });
  });
}
