// 5. A chat room over TCP: one server, many people, everybody sees every message and who comes and goes.
// It teaches: whoever speaks to many must never wait for the slowest. Each member has an outbox of its own; posting is putting
// something in, never waiting. When somebody does not read and the outbox is full, that one is dropped, with a reason,
// and the others have not noticed. And a name from outside is input: it is checked, and it is there only once.
import { createInterface } from 'node:readline';
import { type Conversation, converse, type Message, Outbox, printable, serve, type Serving, TransferError } from '../lib/index';

export const options = { port: 0, name: '', queue: 100, patience: 5000 };
type Options = typeof options;

const mostText = 4000;
const members = new Map<string, { readonly outbox: Outbox; readonly peer: Conversation }>();

function tellAll(message: object): void {
  for (const [name, { outbox, peer }] of members) {
    if (!outbox.post(message)) void drop(name, outbox, peer);
  }
}

async function drop(name: string, outbox: Outbox, peer: Conversation): Promise<void> {
  const reason = `${name} reads too slowly and was dropped`;
  members.delete(name);
  tellAll({ type: 'notice', text: reason });
  await outbox.close({ type: 'dropped', reason });
  peer.close(new TransferError('timeout', `${reason}.`));
}

async function attend(peer: Conversation, queue: number): Promise<void> {
  const hello = await peer.readAnswer(0);
  const name = hello.header['name'];
  if (hello.header['type'] !== 'join' || typeof name !== 'string' || !/^[\p{L}\p{N}_-]{1,20}$/u.test(name) || members.has(name)) {
    await peer.sendMessage({ type: 'dropped', reason: 'this name is taken, or is none' });
    throw new TransferError('bad-header', 'Somebody came without a name of their own.', { hint: '' });
  }
  const outbox = new Outbox(peer, queue);
  members.set(name, { outbox, peer });
  tellAll({ type: 'notice', text: `${name} joined` });
  try {
    for (let said = await peer.readMessage(0, { idle: true }); said; said = await peer.readMessage(0, { idle: true })) {
      const { text } = said.header;
      if (typeof text !== 'string' || text.length > mostText) throw new TransferError('bad-header', `${name} said what is no text.`);
      tellAll({ type: 'said', from: name, text });
    }
  } finally {
    if (members.delete(name)) tellAll({ type: 'notice', text: `${name} left` });
  }
}

export function listen({ port, queue, patience }: Options): Promise<Serving> {
  const failed = ({ message }: TransferError): void => console.error(printable(message));
  return serve(`127.0.0.1:${port}`, (peer) => attend(peer, queue), { patience, failed });
}

async function hear(room: Conversation, leaving: () => boolean): Promise<void> {
  let heard: Message | undefined = await room.readAnswer(0);
  for (; heard; heard = await room.readMessage(0, { idle: true })) {
    const { type, from, text, reason } = heard.header;
    if (type === 'dropped') throw new TransferError('not-authorized', `The room closed the door: ${String(reason)}.`);
    console.log(printable(type === 'said' ? `${String(from)}: ${String(text)}` : `* ${String(text)}`));
  }
  if (!leaving()) throw new TransferError('connection-lost', 'The room was closed.');
}

/** Lines typed are said in the room; `q` leaves. */
export async function join({ port, name, patience }: Options): Promise<void> {
  await converse(`tcp://127.0.0.1:${port}`, async (room) => {
    let leaving = false;
    const speak = async (): Promise<void> => {
      await room.sendMessage({ type: 'join', name });
      for await (const text of createInterface({ input: process.stdin })) {
        if (text === 'q') break;
        await room.sendMessage({ type: 'say', text });
      }
      leaving = true;
      await room.finish();
      setTimeout(() => room.close(new TransferError('timeout', 'The room does not let go.', { hint: '' })), patience).unref();
    };
    await Promise.all([speak(), hear(room, () => leaving)]);
  }, { patience });
}
