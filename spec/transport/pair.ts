import net from 'node:net';
import { ByteStream } from '../../lib/transport/byte-stream';
import { dial, listen } from '../../lib/transport/net';

/** How a stream under test came about. */
export type Making = 'dialed' | 'accepted' | 'events';

/** A byte stream over real TCP, and the plain socket at its other end. */
export interface Pair {
  readonly stream: ByteStream;
  readonly peer: net.Socket;
  close(): Promise<void>;
}

export async function pair(making: Making): Promise<Pair> {
  return making === 'accepted' ? accepted() : dialed(making);
}

async function accepted(): Promise<Pair> {
  let take: (stream: ByteStream) => void = () => undefined;
  const stream = new Promise<ByteStream>((resolve) => {
    take = resolve;
  });
  const listening = await listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (made) => take(made.stream));
  const port = listening.address.kind === 'tcp' ? listening.address.port : 0;
  const peer = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }).on('error', () => undefined);
  return ending(await stream, peer, () => listening.close());
}

async function dialed(making: Making): Promise<Pair> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const peer = new Promise<net.Socket>((resolve) => server.once('connection', (socket) => resolve(socket.on('error', () => undefined))));
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  if (making === 'dialed') return ending((await dial({ kind: 'tcp', host: '127.0.0.1', port })).stream, await peer, close);
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await new Promise((resolve) => socket.once('connect', resolve));
  return ending(new ByteStream().attach(socket, 'events'), await peer, close);
}

function ending(stream: ByteStream, peer: net.Socket, close: () => Promise<void>): Pair {
  return {
    stream,
    peer,
    close: () => {
      stream.destroy();
      peer.destroy();
      return close();
    },
  };
}
