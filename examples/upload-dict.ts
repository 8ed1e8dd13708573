// 10. A foreign dialect: files whose header is a Python literal behind four bytes, {'filename': 'a.txt', 'filesize': 5}, with no md5.
// It teaches: another habit is adapted at the edge. Here it is translated, and everything behind the edge stays as it is: the library
// checks the name, stores the file durably or not at all, and knows nothing of the dialect. A literal from outside is
// read by a grammar, never by eval. And what nobody announced cannot be compared: stored as it arrived is not
// "verified", and is not called so.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { type Conversation, converse, createReceiver, printable, send, serve, type Serving, TransferError } from '../lib/index';

export const options = { port: 0, most: 100_000_000, patience: 5000 };
type Options = typeof options;

const piece = 64 * 1024;
const literal = /^\{'filename': ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"), 'filesize': (-?\d+)\}$/;
const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

function parseLiteral(text: string): { readonly name: string; readonly size: number } {
  const [, quoted, size] = literal.exec(text) ?? [];
  if (quoted === undefined) throw new TransferError('bad-header', "The header is not {'filename': …, 'filesize': …}.", { hint: '' });
  const unescape = (_: string, code: string): string =>
    code.length > 1 ? String.fromCodePoint(parseInt(code.slice(1), 16)) : (escapes[code] ?? code);
  return { name: quoted.slice(1, -1).replace(/\\(x[\da-f]{2}|u[\da-f]{4}|U000[\da-f]{5}|.)/g, unescape), size: Number(size) };
}

async function* payload(peer: Conversation, size: number): AsyncGenerator<Buffer> {
  for (let left = size; left > 0; left -= piece) yield await peer.read(Math.min(left, piece));
}

/** Takes uploads into `directory`, one on each connection. */
export async function receive({ port, most, patience }: Options, directory = '.'): Promise<Serving> {
  const receiver = await createReceiver({ directory });
  const door = mkdtempSync(join(tmpdir(), 'upload-dict-'));
  process.once('exit', () => rmSync(door, { recursive: true, force: true })).once('SIGINT', () => process.exit(130));
  const { address } = await receiver.listen(`unix:${join(door, 'socket')}`);
  const translate = async (peer: Conversation): Promise<void> => {
    const length = (await peer.read(4)).readInt32LE();
    const { name, size } = parseLiteral((await peer.read(length, 4096)).toString());
    if (size < 0 || size > most) throw new TransferError('size', `A file of ${size} bytes: 0 to ${most} are taken.`, { hint: '' });
    const { files } = await send({ paths: ['-'], name, input: Readable.from(payload(peer, size)), target: address });
    for (const stored of files) console.log(printable(`${stored.file_name}: ${stored.file_size} bytes, stored, not verified`));
  };
  const failed = ({ message }: TransferError, peer: string): void => console.error(printable(`${peer}: ${message}`));
  return serve(`127.0.0.1:${port}`, translate, { patience, failed });
}

const escaped = (text: string): string => text.replace(/[\\']/g, '\\$&').replace(/[\n\r\t]/g, (sign) => JSON.stringify(sign).slice(1, -1));

/** Speaks the dialect itself. It knows no answer: that the other side has closed after the last byte is all that can be known. */
export async function upload({ port, patience }: Options, path = ''): Promise<void> {
  const { size } = statSync(path);
  const header = Buffer.from(`{'filename': '${escaped(basename(path))}', 'filesize': ${size}}`);
  await converse(`tcp://127.0.0.1:${port}`, async (peer) => {
    const file = await open(path);
    await peer.send(Buffer.from(Int32Array.of(header.length).buffer), header);
    for await (const bytes of file.createReadStream({ highWaterMark: piece })) await peer.send(bytes as Buffer);
    await peer.finish();
    await peer.readToEnd(0);
  }, { patience });
  console.log(printable(`${basename(path)}: ${size} bytes, sent, not confirmed: the dialect has no answer`));
}
