import { expect } from 'chai';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

describe('cli: the addresses of a ticket (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'a.txt': 'hello\n' })));
  afterEach(() => run.end());

  const announced = ['--address', 'nowhere.invalid', '--address', '127.0.0.1'];

  it('are those that --address says, with the port that is listened on, and the one that answers is taken', async () => {
    const { receiver, ticket } = await run.receive(['--listen', '[::]:0', '--json', ...announced]);
    expect(ticket).to.match(/^sendall:\/\/nowhere\.invalid:(\d+),127\.0\.0\.1:\1\//);
    expect((await run.run(['send', 'a.txt', ticket])).code).to.equal(0);
    receiver.child.kill();
    const { addresses, port } = lastOf(eventsOf(await receiver.ended), 'listening');
    expect(addresses).to.deep.equal([`tcp://nowhere.invalid:${String(port)}`, `tcp://127.0.0.1:${String(port)}`]);
  });

  it('are those of a sender that listens too', async () => {
    const sender = run.start(['send', 'a.txt', '--listen', '[::]:0', ...announced]);
    const [, ticket = ''] = await sender.says(/^ {4}sendall receive --from (sendall:\S+)$/m);
    await sender.says(/That finds this machine at nowhere\.invalid:\d+, 127\.0\.0\.1:\d+ \(--address/);
    expect((await run.run(['receive', 'in', '--from', ticket])).code).to.equal(0);
    expect((await sender.ended).code).to.equal(0);
  });

  it('are not taken twice: --listen chooses another', async () => {
    const { ticket } = await run.receive();
    const [, port = ''] = /:(\d+)\//.exec(ticket) ?? [];
    const { code, stderr } = await run.run(['receive', 'in2', '--listen', `127.0.0.1:${port}`]);
    expect(code).to.equal(3);
    expect(stderr).to.match(/the address is already in use\.\nhint: .*--listen/);
  });

  it('are said one by one where none answers, and need --listen on the sending side', async () => {
    const { receiver, ticket } = await run.receive(['--listen', '[::]:0', ...announced]);
    receiver.child.kill();
    await receiver.ended;
    const { code, stderr } = await run.run(['send', 'a.txt', ticket]);
    expect(code).to.equal(3);
    expect(stderr).to.match(
      /No address of the other side can be reached\. .*nowhere\.invalid.*not known.*127\.0\.0\.1.*nothing listens there/,
    );
    expect((await run.run(['send', 'a.txt', ticket, '--address', 'a'])).code).to.equal(2);
    expect((await run.run(['receive', 'in', '--listen', '127.0.0.1:0', '--address', '0.0.0.0'])).code).to.equal(2);
  });
});
