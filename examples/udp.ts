// 3. Datagrams: send them, receive them, and an echo that answers `hello` with `hi` and everything else with itself.
// It teaches: UDP keeps the boundaries of messages. Three datagrams sent at once are three answers, never one of all and never two
// and a half; an empty one is a message too. What it does not keep is everything else: they may be lost, doubled or
// overtaken, and nobody says so. Who dials keeps strangers' datagrams out, and is told when the system knows that
// nobody listens there.
import iconv from 'iconv-lite';
import { type Datagram, Datagrams, printable } from '../lib/index';

export const options = { port: 0, encoding: 'utf-8', count: 0, patience: 3000 };
type Options = typeof options;

function show({ bytes }: Datagram, encoding: string): void {
  console.log(`${bytes.length} bytes: ${printable(iconv.decode(bytes, encoding))}`);
}

async function bind(port: number): Promise<Datagrams> {
  const socket = await Datagrams.bind(`127.0.0.1:${port}`);
  console.log(`listening on ${socket.address}`);
  return socket;
}

/** Each word is a datagram of its own. Nobody says whether they arrived. */
export async function send({ port, encoding }: Options, ...words: string[]): Promise<void> {
  const socket = await Datagrams.dial(`127.0.0.1:${port}`);
  for (const word of words) await socket.send(iconv.encode(word, encoding));
}

/** Shows --count datagrams, each of which has to come within --patience ms; without --count all, for as long as they come. */
export async function receive({ port, encoding, count, patience }: Options): Promise<void> {
  const socket = await bind(port);
  for (let seen = 0; count === 0 || seen < count; seen += 1) show(await socket.next(count === 0 ? {} : { within: patience }), encoding);
}

export async function echo({ port, encoding }: Options): Promise<void> {
  const socket = await bind(port);
  for (;;) {
    const { bytes, from } = await socket.next();
    const answer = iconv.decode(bytes, encoding) === 'hello' ? iconv.encode('hi', encoding) : bytes;
    await socket.send(answer, from);
  }
}

/** Sends all words at once, then shows one answer for each. */
export async function ask({ port, encoding, patience }: Options, ...words: string[]): Promise<void> {
  const socket = await Datagrams.dial(`127.0.0.1:${port}`);
  for (const word of words) await socket.send(iconv.encode(word, encoding));
  for (let missing = words.length; missing > 0; missing -= 1) show(await socket.next({ within: patience }), encoding);
}
