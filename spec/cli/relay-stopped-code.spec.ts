import { rm } from 'node:fs/promises';
import { expect } from 'chai';
import { noticedWay } from '../net/noticed-way';
import { ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { type Ended, SendallProcess } from './sendall-process';

const closed = /The code was not taken: the connection to .* was closed\./;
const silent = /No word about the code came within 10 s/;
const broken = 'A try of the code broke off: 2 tries are left.';

/**
 * What is under way when the relay ends or stops: the side that says it, and its number among what that side says. Then
 * what the sender says at its end, and what the receiver says, which goes on.
 */
const stages = {
  'stopped at the request': { at: ['sender', 0], by: 'SIGSTOP', said: /Nobody waits for us at the relay/, told: '' },
  'stopped at the first frame': { at: ['sender', 1], by: 'SIGSTOP', said: silent, told: 'did not arrive in time' },
  'stopped at the answer': { at: ['receiver', 1], by: 'SIGSTOP', said: silent, told: broken },
  'stopped at the proof': { at: ['sender', 2], by: 'SIGSTOP', said: silent, told: broken },
  'stopped at the last frame': { at: ['receiver', 2], by: 'SIGSTOP', said: silent, told: '' },
  'killed at the first frame': { at: ['sender', 1], by: 'SIGKILL', said: closed, told: 'The relay cannot be used.' },
  'killed at the answer': { at: ['receiver', 1], by: 'SIGKILL', said: closed, told: '2 tries are left' },
  'killed at the last frame': { at: ['receiver', 2], by: 'SIGKILL', said: closed, told: '' },
} as const;
type Stage = (typeof stages)[keyof typeof stages];

interface Stopped {
  readonly receiver: ReceiveDirectory;
  readonly sent: Ended;
  /** How long the sender took, in s. */
  readonly took: number;
  /** Runs the same command with a relay that goes on. */
  readonly again: () => Promise<Ended>;
}

/** Each side is given 10 s by the other one; the rest is for programs that start on a slow machine. */
const inTime = 40;

describe('cli: a relay that stops while a code is exchanged (the built command)', function () {
  this.timeout(90_000);
  const closing: (() => unknown)[] = [];
  let settings: string;
  let all: Map<string, Stopped>;

  // Each waits for 10 s: all at the same time.
  before(async () => {
    settings = await temporaryDirectory();
    closing.push(() => rm(settings, { recursive: true }));
    const found = Object.entries(stages).map(async ([name, stage]) => [name, await stopAt(stage)] as const);
    all = new Map(await Promise.all(found));
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function stopAt({ at: [side, number], by }: Stage): Promise<Stopped> {
    const relay = new SendallProcess(['relay', '--listen', '127.0.0.1:0', '--json']);
    closing.push(() => relay.child.kill('SIGKILL') && relay.ended);
    const [, port = ''] = await relay.says(/"relaying".*"port":(\d+)/);
    const direct = `127.0.0.1:${port}`;
    const way = await noticedWay(
      Number(port),
      ({ pieces }) => pieces === number,
      () => relay.child.kill(by),
    );
    closing.push(() => way.close());
    const receiver = await ReceiveDirectory.open({ codeWords: 2, relayAt: side === 'receiver' ? way.where : direct });
    closing.push(() => receiver.close());
    const code = `${receiver.heard.all('listening')[0]?.code ?? ''}@127.0.0.1:1`;
    const began = performance.now();
    const send = (at: string): Promise<Ended> => {
      const sender = new SendallProcess(['send', __filename, code, '--relay', at], {
        env: { XDG_CONFIG_HOME: settings },
      });
      closing.push(() => sender.child.kill('SIGKILL'));
      return sender.ended;
    };
    const sent = await send(side === 'sender' ? way.where : direct);
    const took = (performance.now() - began) / 1000;
    return { receiver, sent, took, again: () => (relay.child.kill('SIGCONT'), send(direct)) };
  }

  for (const [name, { said, told }] of Object.entries(stages))
    it(`ends the sender in time, and both sides say what is known: ${name}`, async () => {
      const { sent, took, receiver } = all.get(name) as Stopped;
      expect(sent.code, sent.stderr).to.equal(3);
      expect(sent.stderr).to.match(said);
      expect(sent.stderr).to.match(/\nhint: .*(?:Start the same command again|with the same relay)/);
      expect(took).to.be.below(inTime);
      if (told) await receiver.heard.first('failed', ({ message }) => message.includes(told));
      else expect(receiver.heard.all('failed')).to.deep.equal([]);
    });

  for (const name of ['stopped at the answer', 'stopped at the last frame'])
    it(`and the same command goes on when the relay does: ${name}`, async () => {
      const { again, receiver } = all.get(name) as Stopped;
      const { code, stderr } = await again();
      expect(code, stderr).to.equal(0);
      expect(receiver.heard.all('received')).to.have.length(1);
    });
});
