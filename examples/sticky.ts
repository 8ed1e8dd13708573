// 6. The trap of every socket program, and three ways out. A server runs commands; the output of `long` has 1892 bytes.
// It teaches: TCP is a stream and knows no messages. A bare recv(1024) gets at most 1024 bytes of "the answer", and the
// rest sticks to the next one. So the length has to be told: as text, which needs a second round trip; as four bytes; or
// as four bytes and a JSON header, with room for all else there is to say. UDP never sticks, but what a buffer has no
// room for is lost. The server plays the delay of the link: a round trip, --delay ms, passes before it hears anything.
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Conversation, converse, Datagrams, serve, type Serving, TransferError } from '../lib/index';

export const options = { port: 0, cure: 'json|none|text|length', delay: 20, patience: 5000 };
type Hear = (peer: Conversation) => Promise<Buffer>;
type Cure = readonly [answer: (peer: Conversation, output: Buffer, hear: Hear) => Promise<void>, hear: Hear];
const most = 1_000_000;
const cures: Readonly<Record<string, Cure>> = {
  none: [(peer, output) => peer.send(output), (peer) => peer.receiveAnswer(1024)],
  text: [
    async (peer, output, hear) => {
      await peer.send(Buffer.from(String(output.length)));
      if ((await hear(peer)).toString() !== 'recv_ready') throw new TransferError('bad-frame', 'The peer was not ready.', { hint: '' });
      await peer.send(output);
    },
    async (peer) => {
      const length = Number((await peer.receiveAnswer(1024)).toString());
      await peer.send(Buffer.from('recv_ready'));
      return peer.read(length, most);
    },
  ],
  length: [
    (peer, output) => peer.send(Buffer.from(Int32Array.of(output.length).buffer), output),
    async (peer) => peer.read((await peer.read(4)).readInt32LE(), most),
  ],
  json: [(peer, output) => peer.sendMessage({}, output), async (peer) => (await peer.readAnswer(most)).payload],
};

const run = (command: Buffer): Buffer => execFileSync('seq', ['1', String(command) === 'long' ? '500' : '3']);
const glance = (text: string): string => `${text.length} bytes, ${JSON.stringify(`${text.slice(0, 8)}…${text.slice(-8)}`)}`;

export function listen({ port, cure, delay, patience }: typeof options): Promise<Serving> {
  const [answer] = cures[cure] as Cure;
  const hear: Hear = (peer) => peer.receive(1024).finally(() => sleep(delay)); // nobody says two things at once to the server
  return serve(`127.0.0.1:${port}`, async (peer) => {
    for (let asked = await hear(peer); asked.length > 0; asked = await hear(peer)) await answer(peer, run(asked), hear);
  }, { patience, failed: ({ message }) => console.error(message) });
}

export async function ask(given: typeof options, ...commands: string[]): Promise<void> {
  const [, hear] = cures[given.cure] as Cure;
  await converse(`tcp://127.0.0.1:${given.port}`, async (peer) => {
    for (const command of commands) {
      const began = performance.now();
      await peer.send(Buffer.from(command));
      const answer = glance((await hear(peer)).toString());
      console.log(`  ${command}: ${answer}, round trips: ${Math.floor((performance.now() - began) / given.delay)}`);
    }
  }, given);
}

export async function listenUdp({ port }: typeof options): Promise<void> {
  const socket = await Datagrams.bind(`127.0.0.1:${port}`);
  console.log(`listening on ${socket.address}`);
  for (let asked = await socket.next(); ; asked = await socket.next()) await socket.send(run(asked.bytes), asked.from);
}

export async function askUdp({ port, patience }: typeof options, ...commands: string[]): Promise<void> {
  const socket = await Datagrams.dial(`127.0.0.1:${port}`);
  for (const command of commands) {
    await socket.send(Buffer.from(command));
    console.log(`  ${command}: ${glance((await socket.next({ within: patience, most: 1024 })).bytes.toString())}`);
  }
}

/** All of them, side by side. */
export async function show({ delay, ...given }: typeof options): Promise<void> {
  for (const cure of Object.keys(cures)) {
    const serving = await listen({ ...given, delay, cure, port: 0 });
    console.log(`${cure}:`);
    await ask({ ...given, delay, cure, port: Number(serving.address.split(':').pop()) }, 'long', 'short');
    await serving.close();
  }
}
