import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A file of the crowd: the same random bytes for all but the first four, which are its number. */
export interface CrowdFile {
  readonly name: string;
  readonly md5: string;
  readonly bytes: readonly Buffer[];
}

export function crowdFiles(count: number, common: Buffer): CrowdFile[] {
  return Array.from({ length: count }, (_, index) => {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(index);
    const bytes = [number, common.subarray(4)];
    const md5 = createHash('md5').update(number).update(common.subarray(4)).digest('hex');
    return { name: `f${String(index).padStart(4, '0')}`, md5, bytes };
  });
}

/**
 * Sends each file over a connection of its own, all at once, on the plain wire, spoken here without the library: what a
 * receiver has to bear is not to depend on how polite our own sender is.
 * @returns how many receipts came back. @throws Error if a connection breaks.
 */
export async function sendCrowd(files: readonly CrowdFile[], port: number): Promise<number> {
  const sockets = await Promise.all(files.map(() => dial(port)));
  const replies = await Promise.all(files.map((file, index) => sendOver(sockets[index] as Socket, file)));
  return replies.filter((reply) => reply['type'] === 'receipt').length;
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

/** Sends one file over a connection that is open. @returns the reply. @throws Error if there is none. */
export async function sendOver(socket: Socket, { name, md5, bytes }: CrowdFile): Promise<Record<string, unknown>> {
  const size = bytes.reduce((sum, { length }) => sum + length, 0);
  const header = Buffer.from(JSON.stringify({ file_name: name, file_size: size, md5, reply: true }));
  const length = Buffer.alloc(4);
  length.writeInt32LE(header.length);
  for (const piece of [length, header, ...bytes]) socket.write(piece);
  socket.end();
  const answer: Buffer[] = [];
  for await (const piece of socket) answer.push(piece as Buffer);
  const frame = Buffer.concat(answer);
  if (frame.length < 4) throw new Error(`No answer for ${name}.`);
  return JSON.parse(frame.toString('utf8', 4, 4 + frame.readInt32LE())) as Record<string, unknown>;
}
