// 4. A chat from one to one by datagrams, with an address book of nicknames:  {"ann": "127.0.0.1:4001", "bob": "127.0.0.1:4002"}
// Type `bob: hello` to write to bob, then just `how are you` to go on with him, `q` to leave.
// It teaches: with UDP everybody is a server and nobody is connected. Each datagram says where it comes from, and the
// address book makes a name of that; who is not in it is shown by address. That is a courtesy, not a proof: a sender's
// address can be forged.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { styleText } from 'node:util';
import { Datagrams, printable, TransferError } from '../lib/index';

export const options = { book: 'book.json', me: '' };

/** Read anew each time it is asked, so that a friend can be added while chatting. */
function addressBook(path: string): ReadonlyMap<string, string> {
  try {
    const entries = Object.entries(JSON.parse(readFileSync(path, 'utf8')) as Readonly<Record<string, string>>);
    if (entries.every(([, address]) => /^127\.0\.0\.1:\d{1,5}$/.test(address))) return new Map(entries);
  } catch (cause) {
    throw new TransferError('usage', `${path} cannot be read as an address book.`, { cause });
  }
  throw new TransferError('usage', `${path} is no address book: it has addresses that are not 127.0.0.1:PORT.`);
}

async function show(socket: Datagrams, book: string): Promise<never> {
  const coloured = process.stdout.isTTY || process.env['FORCE_COLOR'] === '1';
  for (;;) {
    const { bytes, from } = await socket.next();
    const nickname = [...addressBook(book)].find(([, address]) => address === from)?.[0] ?? from;
    const line = printable(`${nickname}: ${bytes.toString()}`);
    console.log(coloured ? styleText('cyan', line) : line);
  }
}

async function write(socket: Datagrams, book: string): Promise<void> {
  let to = '';
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'q') return;
    const [, name = to, text = ''] = /^(?:(\w+): ?)?(.*)$/.exec(line) ?? [];
    const address = addressBook(book).get(name);
    if (address === undefined) throw new TransferError('usage', `Nobody called "${name}" is in ${book}: begin with a name and a colon.`);
    to = name;
    await socket.send(Buffer.from(text), address);
  }
}

export async function chat({ book, me }: typeof options): Promise<void> {
  const mine = addressBook(book).get(me);
  if (mine === undefined) throw new TransferError('usage', `--me ${me} is not in ${book}.`);
  const socket = await Datagrams.bind(mine);
  console.log(`listening on ${socket.address}`);
  await Promise.race([show(socket, book), write(socket, book)]);
}
