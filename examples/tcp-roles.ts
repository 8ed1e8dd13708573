// 2. The four roles of a TCP connection as four commands: the client sends, the client receives, the server receives, the server sends.
// It teaches: who dials and who speaks are independent of each other, so two talks and two ways to meet make four programs.
// Bytes are not text: both sides have to mean the same encoding, and it is the whole text that is decoded, for a
// character may arrive in two halves. And sending is not arriving: the sender closes its half and waits until the other
// side has closed too.
import iconv from 'iconv-lite';
import { converse, printable, serve, type Serving, type Talk, TransferError } from '../lib/index';

export const options = { port: 0, encoding: 'utf-8', patience: 10_000 };
type Options = typeof options;

function say(text: string, { encoding }: Options): Talk<void> {
  const bytes = iconv.encode(text, encoding);
  return async (peer) => {
    await peer.send(bytes);
    await peer.finish();
    await peer.readToEnd(0);
  };
}

function hear({ encoding }: Options): Talk<void> {
  iconv.getDecoder(encoding); // throws at once where there is no such encoding
  return async (peer) => {
    const bytes = await peer.readToEnd(1_000_000);
    if (bytes.length === 0) throw new TransferError('connection-lost', 'The peer closed without a word.', { hint: '' });
    console.log(`${bytes.length} bytes of ${encoding}: ${printable(iconv.decode(bytes, encoding))}`);
  };
}

const dial = ({ port, patience }: Options, talk: Talk<void>): Promise<void> =>
  converse(`tcp://127.0.0.1:${port}`, talk, { patience });
const wait = ({ port, patience }: Options, talk: Talk<void>): Promise<Serving> =>
  serve(`127.0.0.1:${port}`, talk, { patience, once: true });

export const clientSends = async (given: Options, ...words: string[]): Promise<void> => dial(given, say(words.join(' '), given));
export const clientReceives = async (given: Options): Promise<void> => dial(given, hear(given));
export const serverReceives = async (given: Options): Promise<Serving> => wait(given, hear(given));
export const serverSends = async (given: Options, ...words: string[]): Promise<Serving> => wait(given, say(words.join(' '), given));
