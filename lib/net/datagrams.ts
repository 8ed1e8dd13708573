import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { errnoOf, TransferError } from '../errors';
import { type Address, formatHost, parseAddress } from './address';

export interface Datagram {
  readonly bytes: Buffer;
  /** `HOST:PORT` of whoever sent it, as far as that can be believed. */
  readonly from: string;
}

/**
 * How many datagrams wait for `next` before further ones are lost, as they are when the system's own buffer is full.
 */
const mostWaiting = 1_000;

/**
 * A UDP socket, read by asking. Each datagram stays one message; whether it arrives, once, and in order, nobody says.
 * Addresses are `HOST:PORT`, IPv6 hosts in brackets.
 */
export class Datagrams {
  private readonly waiting: Datagram[] = [];
  private failure: TransferError | undefined;
  private wake: (() => void) | undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('message', (bytes: Buffer, { address, port }: RemoteInfo) => {
      if (this.waiting.length < mostWaiting) this.waiting.push({ bytes, from: written(address, port) });
      this.wake?.();
    });
    socket.on('error', (cause) => {
      this.failure = failureOf(cause);
      this.wake?.();
    });
  }

  /** Takes datagrams from anyone at `address`; port 0 takes a free one. Rejects with `cannot-connect`. */
  static bind(address: string): Promise<Datagrams> {
    return Datagrams.open(address, 'listening', (socket, host, port) => socket.bind(port, host));
  }

  /** Exchanges datagrams with `address` alone, and learns where the system can tell that nothing listens there. */
  static dial(address: string): Promise<Datagrams> {
    return Datagrams.open(address, 'connect', (socket, host, port) => socket.connect(port, host));
  }

  private static async open(
    address: string,
    ready: 'listening' | 'connect',
    start: (socket: Socket, host: string, port: number) => void,
  ): Promise<Datagrams> {
    const { host, port } = tcpAddress(address);
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    return new Promise((resolve, reject) => {
      const failed = (cause: Error): void => {
        socket.close();
        reject(failureOf(cause));
      };
      socket.once('error', failed);
      socket.once(ready, () => {
        socket.off('error', failed);
        resolve(new Datagrams(socket));
      });
      start(socket, host, port);
    });
  }

  /** Our own end. */
  get address(): string {
    const { address, port } = this.socket.address();
    return written(address, port);
  }

  /**
   * Hands one datagram to the system: to `to`, or to whom it dialed. Rejects with `usage` where it is too long for one.
   */
  async send(bytes: Uint8Array, to?: string): Promise<void> {
    const where = to === undefined ? undefined : tcpAddress(to);
    return new Promise((resolve, reject) => {
      const sent = (error: Error | null): void => (error ? reject(failureOf(error)) : resolve());
      if (where) this.socket.send(bytes, where.port, where.host, sent);
      else this.socket.send(bytes, sent);
    });
  }

  /**
   * The next datagram. Rejects with `timeout` if none comes within `within` ms; without it, waits. With `most`, what a
   * datagram has beyond that many bytes is thrown away, as `recvfrom(most)` does. One call at a time.
   */
  async next({ within, most }: { readonly within?: number; readonly most?: number } = {}): Promise<Datagram> {
    const late = (ms: number): void =>
      this.fail(new TransferError('timeout', `Nothing came within ${String(ms / 1000)} s.`, { hint: '' }));
    const timer = within === undefined ? undefined : setTimeout(late, within, within);
    try {
      for (;;) {
        const datagram = this.waiting.shift();
        if (datagram) return most === undefined ? datagram : { ...datagram, bytes: datagram.bytes.subarray(0, most) };
        this.throwFailure();
        await new Promise<void>((resolve) => (this.wake = resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.fail(new TransferError('interrupted', 'The socket was closed.'));
    this.socket.close();
  }

  private fail(reason: TransferError): void {
    this.failure ??= reason;
    this.wake?.();
  }

  /** Said once: after silence, or after a port was closed, the next datagram may well come. */
  private throwFailure(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
  }
}

function tcpAddress(text: string): Extract<Address, { kind: 'tcp' }> {
  const address = parseAddress(text);
  if (address.kind === 'tcp') return address;
  throw new TransferError('usage', 'Datagrams go to HOST:PORT.');
}

const written = (host: string, port: number): string => `${formatHost(host)}:${String(port)}`;

function failureOf(cause: Error): TransferError {
  switch (errnoOf(cause)) {
    case 'ECONNREFUSED':
      return new TransferError('cannot-connect', 'Nothing listens there.', { cause, hint: '' });
    case 'EADDRINUSE':
      return new TransferError('cannot-connect', 'The address is already in use.', {
        cause,
        hint: 'Another program listens there. Stop it, or choose another port; port 0 takes a free one.',
      });
    case 'EMSGSIZE':
      return new TransferError('usage', 'That is too long for one datagram.', { cause });
    default:
      return new TransferError('unexpected', `The datagram socket failed: ${cause.message}`, { cause });
  }
}
