import { expect } from 'chai';
import { type Going, noticedWay } from '../net/noticed-way';
import { Heard, ReceiveDirectory } from '../receive/receive-directory';
import { type Sent, sending, SourceTree } from '../send/source-tree';
import { MiB, noise } from '../session/pair';
import { SendallProcess } from './sendall-process';

const large = noise(2 * MiB + 1);
const deadlines = { heartbeat: 200, silence: 2000 } as const;

/**
 * When the relay is stopped or killed: at a piece of the handshake, before the relay gets it from the side that says
 * it; when the sender has said all, and when the receiver has said that it has the file, but not that it is done.
 */
const stages = {
  'the hello of TLS': 'sender',
  'its answer': 'receiver',
  'the last receipts': 'receipts',
  done: 'done',
} as const;
type Stage = (typeof stages)[keyof typeof stages];
const ways = { stopped: 'SIGSTOP', killed: 'SIGKILL' } as const;
type Way = (typeof ways)[keyof typeof ways];

interface Ended {
  readonly sent: Sent;
  /** The same command again, with a relay that runs; undefined where the first one went on by itself. */
  readonly again: Sent | undefined;
  readonly receiver: ReceiveDirectory;
}

describe('cli: a relay that ends while a session begins or ends (the built command)', function () {
  this.timeout(30_000);
  let tree: SourceTree;
  const closing: (() => unknown)[] = [];
  const all = new Map<string, Ended>();

  // They wait for deadlines: all at the same time.
  before(async () => {
    tree = await SourceTree.make({ 'd/large': large });
    closing.push(() => tree.remove());
    const cases = Object.entries(ways).flatMap(([way, signal]) =>
      Object.entries(stages).map(async ([name, stage]) => all.set(`${way} at ${name}`, await endAt(stage, signal))),
    );
    await Promise.all(cases);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function openRelay(port = '0'): Promise<{ relay: SendallProcess; port: string }> {
    const relay = new SendallProcess(['relay', '--listen', `127.0.0.1:${port}`, '--json']);
    closing.push(() => relay.child.kill('SIGKILL') && relay.ended);
    return { relay, port: (await relay.says(/"relaying".*"port":(\d+)/))[1] ?? '' };
  }

  async function endAt(stage: Stage, signal: Way): Promise<Ended> {
    const { relay, port } = await openRelay();
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      end = () => {
        // Once: a session that goes on may tell of the same file again.
        end = () => undefined;
        relay.child.kill(signal);
        resolve();
      };
    });
    const wanted = ({ pieces, before, bytes }: Going): boolean =>
      stage === 'receipts' ? before + bytes > large.length : stage !== 'done' && pieces === 1;
    const way = await noticedWay(Number(port), wanted, end);
    closing.push(way.close);
    const direct = `127.0.0.1:${port}`;
    const link = { link: deadlines };
    const receiver = await ReceiveDirectory.open({
      relayAt: stage === 'receiver' ? way.where : direct,
      deadlines: link,
    });
    closing.push(() => receiver.close());
    receiver.heard.also(({ event }) => {
      if (stage === 'done' && event === 'received') end();
    });
    const [, token = ''] = /\/([^/]+)\?relay=/.exec(receiver.ticket) ?? [];
    const ticket = `sendall://127.0.0.1:1/${token}?relay=${stage === 'receiver' ? direct : way.where}`;
    const options = { paths: [tree.at('d')], target: ticket, retryFor: 60_000, deadlines };
    const heard = new Heard();
    const first = sending(options, heard);
    await ended;
    const goOn = async (): Promise<void> => {
      if (signal === 'SIGSTOP') relay.child.kill('SIGCONT');
      else await relay.ended.then(() => openRelay(port));
    };
    if (stage === 'receipts' || stage === 'done') {
      await heard.first('connection', ({ state }) => state === 'lost');
      await goOn();
      return { sent: await first, again: undefined, receiver };
    }
    const sent = await first;
    await goOn();
    return { sent, again: await sending(options), receiver };
  }

  for (const way of Object.keys(ways))
    for (const [name, stage] of Object.entries(stages)) {
      const goesOn = stage === 'receipts' || stage === 'done';
      it(`${way} at ${name}: ${goesOn ? 'the session goes on' : 'the sender says so, and the same command does it'}`, async () => {
        const { sent, again, receiver } = all.get(`${way} at ${name}`) as Ended;
        if (goesOn) {
          expect(sent.error?.message).to.equal(undefined);
          expect(sent.heard.all('connection').at(-1)?.state).to.equal('back');
          expect(sent.result?.summary.files).to.equal(1);
        } else {
          const { code, message = '', hint } = sent.error ?? {};
          expect(code, message).to.equal('cannot-connect');
          expect(message).to.match(
            way === 'stopped'
              ? /\. The other side \(through the relay 127\.0\.0\.1:\d+\) did not answer within 10 s\.$/
              : /\. The other side \(through the relay 127\.0\.0\.1:\d+\) hung up before it was known who is there\.$/,
          );
          expect(hint).to.equal('Do the other command, and the relay, still run? Then start the same command again.');
          expect(again?.error?.message).to.equal(undefined);
        }
        // What was told before the end may be told again, as what is there already.
        const received = receiver.heard.all('received');
        expect(received[0]).to.include({ file_name: 'd/large', file_size: large.length });
        for (const { verified_at } of received.slice(1)) expect(verified_at).to.be.a('string');
        expect((await receiver.read('d/large')).equals(large)).to.equal(true);
      });
    }
});
