import net from 'node:net';
import tls from 'node:tls';
import { ByteStream } from '../../lib/net/byte-stream';
import { adoptSecured, dial, listen } from '../../lib/net/socket';
import { createKey } from '../../lib/net/ticket';
import { dialSecured } from '../../lib/net/tls';
import { dialTls, SessionPort } from './session-port';

/** How a stream under test came about. */
export const makings = ['dialed', 'accepted', 'events', 'TLS dialed', 'TLS accepted', 'TLS events'] as const;
export type Making = (typeof makings)[number];

/** A byte stream over real TCP, and the socket at its other end. */
export interface Pair {
  readonly stream: ByteStream;
  readonly peer: net.Socket;
  /** Closes the connection from the peer's side with a reset. */
  reset(): void;
  close(): Promise<void>;
}

export async function pair(making: Making): Promise<Pair> {
  switch (making) {
    case 'accepted':
      return accepted();
    case 'TLS accepted':
      return tlsAccepted();
    case 'TLS dialed':
    case 'TLS events':
      return tlsDialed(making);
    case 'dialed':
    case 'events':
      return dialed(making);
  }
}

async function accepted(): Promise<Pair> {
  let take: (stream: ByteStream) => void = () => undefined;
  const stream = new Promise<ByteStream>((resolve) => {
    take = resolve;
  });
  const listening = await listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (made) => take(made.stream));
  const port = listening.address.kind === 'tcp' ? listening.address.port : 0;
  const peer = net
    .connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    .on('error', () => undefined);
  return ending(await stream, peer, () => listening.close());
}

async function dialed(making: Making): Promise<Pair> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const peer = new Promise<net.Socket>((resolve) =>
    server.once('connection', (socket) => resolve(socket.on('error', () => undefined))),
  );
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  if (making === 'dialed')
    return ending((await dial({ kind: 'tcp', host: '127.0.0.1', port })).stream, await peer, close);
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await new Promise((resolve) => socket.once('connect', resolve));
  return ending(new ByteStream().attach(socket, 'events'), await peer, close);
}

async function tlsAccepted(): Promise<Pair> {
  const key = createKey();
  const port = await SessionPort.open(key);
  const socket = net.connect({ port: port.number, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  const peer = dialTls(port.number, key, { socket }).on('error', () => undefined);
  return ending((await port.nextOpened()).stream, peer, () => port.close(), socket);
}

async function tlsDialed(making: Making): Promise<Pair> {
  const key = createKey();
  const server = tls.createServer({
    allowHalfOpen: true,
    ciphers: 'TLS_AES_128_GCM_SHA256',
    pskCallback: () => Buffer.from(key.key),
  });
  let raw: net.Socket | undefined;
  server.on('connection', (socket: net.Socket) => (raw = socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const peer = new Promise<tls.TLSSocket>((resolve) =>
    server.once('secureConnection', (socket) => resolve(socket.on('error', () => undefined))),
  );
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  const stream =
    making === 'TLS events'
      ? await withoutUserBuffer(dialTls(port, key))
      : (await dialSecured({ ...key, address: { kind: 'tcp', host: '127.0.0.1', port } })).stream;
  return ending(stream, await peer, close, raw);
}

/** As in a Node where TLS cannot read into memory of the caller. */
function withoutUserBuffer(socket: tls.TLSSocket): Promise<ByteStream> {
  return new Promise((resolve) => {
    socket.once('secureConnect', () => {
      Object.defineProperty((socket as unknown as { _handle: object })._handle, 'useUserBuffer', { value: undefined });
      resolve(adoptSecured(socket));
    });
  });
}

function ending(stream: ByteStream, peer: net.Socket, close: () => Promise<void>, raw = peer): Pair {
  return {
    stream,
    peer,
    reset: () => void raw.resetAndDestroy(),
    close: () => {
      stream.destroy();
      peer.destroy();
      return close();
    },
  };
}
