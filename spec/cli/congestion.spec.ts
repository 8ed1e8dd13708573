import { expect } from 'chai';
import { socketCalls } from '../../lib/threads/socket-calls';
import { SessionRun } from './session-run';

(socketCalls() ? describe : describe.skip)('cli: send --congestion (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'a.txt': 'hello' })));
  afterEach(() => run.end());

  it('uses what is named, and says so with --verbose', async () => {
    const { ticket } = await run.receive();
    const { code, stderr } = await run.run(['send', 'a.txt', ticket, '--congestion', 'reno', '--verbose']);
    expect(code).to.equal(0);
    expect(stderr).to.include('congestion control: reno\n');
  });

  it('refuses what the system does not have, with what it allows', async () => {
    const { ticket } = await run.receive();
    const { code, stderr } = await run.run(['send', 'a.txt', ticket, '--congestion', 'nonsense']);
    expect(code).to.equal(2);
    expect(stderr).to.match(/This system has no congestion control "nonsense"\.[^]*It allows: reno/);
    expect(run.received()).to.deep.equal([]);
  });
});
