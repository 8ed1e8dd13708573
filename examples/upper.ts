// 8. An echo in upper case that serves many at once.
// It teaches: one thread is enough for many clients, as long as nobody makes it wait. Each connection is a conversation of its own, an
// ordinary loop that reads, answers and reads on; while one waits for its client, the others run. An answer need not be
// as long as its question ("straße" becomes "STRASSE"), which is why it carries its own length.
import { type Conversation, converse, printable, serve, type Serving } from '../lib/index';

export const options = { port: 0, clients: 1, patience: 10_000 };
type Options = typeof options;

const most = 64 * 1024;

async function answer(client: Conversation): Promise<void> {
  for (let said = await client.readMessage(most); said; said = await client.readMessage(most)) {
    await client.sendMessage({}, Buffer.from(said.payload.toString().toUpperCase()));
  }
}

export function listen({ port, patience }: Options): Promise<Serving> {
  return serve(`127.0.0.1:${port}`, answer, { patience, failed: ({ message }, peer) => console.error(`${peer}: ${message}`) });
}

async function shoutAll(server: Conversation, words: readonly string[]): Promise<string> {
  const answers: string[] = [];
  for (const word of words) {
    await server.sendMessage({}, Buffer.from(word));
    answers.push((await server.readAnswer(most)).payload.toString());
  }
  return answers.join(' ');
}

/** Says each word to the server, as many clients at the same time, and shows what the clients were answered, and how many of them. */
export async function shout({ port, clients, patience }: Options, ...words: string[]): Promise<void> {
  const shoutOne = (): Promise<string> => converse(`tcp://127.0.0.1:${port}`, (server) => shoutAll(server, words), { patience });
  const everyone = Array.from({ length: clients }, shoutOne);
  const heard = new Map<string, number>();
  for (const line of await Promise.all(everyone)) heard.set(line, (heard.get(line) ?? 0) + 1);
  for (const [line, count] of heard) console.log(`${count} × ${printable(line)}`);
}
