import { expect } from 'chai';
import { Heard, ReceiveDirectory } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { MiB, noise } from '../session/pair';
import { SendallProcess } from './sendall-process';

const large = noise(12 * MiB + 7);
const deadlines = { heartbeat: 200, silence: 3000 } as const;

describe('cli: a relay that is stopped in the middle (the built command)', function () {
  this.timeout(60_000);
  let tree: SourceTree;
  let relay: SendallProcess;
  let receiver: ReceiveDirectory;
  let ticket: string;
  before(async () => {
    tree = await SourceTree.make({ large });
  });
  after(() => tree.remove());
  beforeEach(async () => {
    relay = new SendallProcess(['relay', '--listen', '127.0.0.1:0', '--json']);
    const [, port = ''] = await relay.says(/"relaying".*"port":(\d+)/);
    receiver = await ReceiveDirectory.open({ relayAt: `127.0.0.1:${port}`, deadlines: { link: deadlines } });
    ticket = receiver.ticket.replace(/127\.0\.0\.1:\d+\//, '127.0.0.1:1/');
  });
  afterEach(async () => {
    relay.child.kill('SIGKILL');
    await relay.ended;
    await receiver.close();
  });

  /** Sends through it, and stops it once the receiver has a third; resolves when it is stopped. */
  async function stopInTheMiddle(retryFor: number): Promise<{ sent: ReturnType<typeof sending>; heard: Heard }> {
    const heard = new Heard();
    const sent = sending({ paths: [tree.at('large')], target: ticket, limit: 4 * MiB, retryFor, deadlines }, heard);
    await receiver.heard.first('progress', ({ phase, done }) => phase === 'receive' && done > 4 * MiB);
    relay.child.kill('SIGSTOP');
    return { sent, heard };
  }

  it('is noticed by both sides, which go on when it does', async () => {
    const { sent, heard } = await stopInTheMiddle(50_000);
    await Promise.all([heard.first('connection', ({ state }) => state === 'lost'), receiver.heard.first('failed')]);
    expect(receiver.heard.all('received')).to.deep.equal([]);
    relay.child.kill('SIGCONT');
    const { error, result } = await sent;
    expect(error?.message).to.equal(undefined);
    expect((await receiver.read('large')).equals(large)).to.equal(true);
    expect(result?.summary.route).to.match(/^relay 127\.0\.0\.1:/);
    expect(receiver.heard.all('received')).to.have.length(1);
  });

  it('ends both with words where it stays so; the same command goes on later', async () => {
    const { sent } = await stopInTheMiddle(0);
    const { error } = await sent;
    expect(error?.code).to.be.oneOf(['connection-lost', 'timeout']);
    expect(error?.message).to.match(/Nothing arrived in time|lost/);
    const { code, message } = await receiver.heard.first('failed');
    expect([code, message]).to.satisfy(([code, message = '']: string[]) =>
      /lost|timeout/.test(`${String(code)} ${message}`),
    );
    relay.child.kill('SIGCONT');
    const again = await sending({ paths: [tree.at('large')], target: ticket, deadlines });
    expect(again.error?.message).to.equal(undefined);
    expect(again.heard.all('started')[0]?.resumed).to.be.greaterThan(MiB);
    expect((await receiver.read('large')).equals(large)).to.equal(true);
  });
});
