import http from 'node:http';
import type net from 'node:net';
import { expect } from 'chai';
import { SessionRun } from './session-run';

/** Of 36 s in which a store is tried again otherwise; the rest is for a slow machine. */
const soon = 8_000;

describe('cli: an object store that never has time (the built command)', function () {
  this.timeout(60_000);
  const run = new SessionRun({ a: 'content' });
  let asked: () => void = () => undefined;
  const server = http.createServer((_request, answer) => {
    asked();
    answer.writeHead(503).end();
  });
  before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
  after(async () => {
    server.close();
    await run.end();
  });

  for (const words of [
    ['receive', 's3://bucket/p', '--listen', '127.0.0.1:0'],
    ['backup', 'a', 's3://bucket/p', '--name', 'n'],
    ['snapshots', 's3://bucket/p'],
    ['export', 's3://bucket/p', 'out'],
    ['copy', 'in', 's3://bucket/p'],
  ])
    it(`does not keep ${words[0] ?? ''} from ending at Ctrl-C`, async () => {
      const first = new Promise<void>((resolve) => (asked = resolve));
      const { port } = server.address() as net.AddressInfo;
      const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' };
      const command = run.start([...words, '--endpoint', `http://127.0.0.1:${String(port)}`], keys);
      await first;
      const began = performance.now();
      command.child.kill('SIGINT');
      const { code, stderr } = await command.ended;
      expect(code, stderr).to.equal(130);
      expect(stderr).to.equal('sendall: Stopping. Press Ctrl-C again to stop at once.\n');
      expect(performance.now() - began).to.be.below(soon);
    });

  it('is told of within seconds, with how long it is tried', async () => {
    const { port } = server.address() as net.AddressInfo;
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' };
    const words = ['snapshots', 's3://bucket/p', '--endpoint', `http://127.0.0.1:${String(port)}`];
    const command = run.start(words, keys);
    await command.says(/^No answer, trying again for \d+ s\. The object store answered 503\.\n/);
    command.child.kill('SIGINT');
    expect((await command.ended).code).to.equal(130);
  });
});
