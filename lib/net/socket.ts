import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import type { TLSSocket } from 'node:tls';
import { asTransferError, errnoOf, TransferError } from '../errors';
import { socketCalls } from '../threads/socket-calls';
import { type Address, formatAddress, formatHost, isLoopback } from './address';
import { ByteStream } from './byte-stream';
import { chooseCongestion } from './congestion';
import { type PeerUser, userOfPeer } from './peer-user';
import { ignored } from '../trace';

/** A connected stream, and who is at the other end. */
export interface Dialed {
  readonly stream: ByteStream;
  /** As an address to show; for accepted unix connections the path listened on. */
  readonly peer: string;
  /** Our own end, as an address to show; a dialed unix connection has no name of its own and shows `unix:`. */
  readonly own: string;
  /** Whether the peer is on this machine for certain: loopback, or a unix socket. */
  readonly local: boolean;
  /** Of an accepted connection from this machine: whose process it is. */
  readonly user?: PeerUser | undefined;
  /** The relay that carries it; absent for none. */
  readonly relay?: Address | undefined;
}

export interface Listening {
  /** Where it listens, with the port that was taken. */
  readonly address: Address;
  /** Stops accepting; connections already accepted live on. Resolves when the address is free again. */
  close(): Promise<void>;
}

const keepAliveAfter = 15_000;

export interface DialOptions {
  /** In ms; default 10,000. */
  readonly timeout?: number;
  readonly signal?: AbortSignal | undefined;
  /**
   * For a sender: which congestion control is used, and `auto` for BBR where this user may choose it and the way is not
   * within this machine.
   */
  readonly congestion?: string | undefined;
}

/** How long, in ms, it took until the peer's system answered; 0 for a unix socket. The name was looked up before. */
export interface DialedPath {
  readonly rtt: number;
  /** The congestion control of the connection, where one was asked for and the system tells. */
  readonly congestion?: string | undefined;
}

/**
 * Connects, within `timeout` ms. Rejects with `cannot-connect`, or `interrupted` when `signal` aborts.
 */
export function dial(address: Address, options: DialOptions = {}): Promise<Dialed & DialedPath> {
  const { timeout = 10_000, signal, congestion } = options;
  const stream = new ByteStream();
  const where = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(new TransferError('interrupted', 'Interrupted.'));
      return;
    }
    const socket = net.connect({
      ...where,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveAfter,
      onread: stream.onread,
    } as net.NetConnectOpts);
    let asked = performance.now();
    socket.on('connectionAttempt', () => (asked = performance.now()));
    const give = (error: TransferError): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
      socket.destroy();
      reject(error);
    };
    const aborted = (): void => give(new TransferError('interrupted', 'Interrupted.'));
    const timer = setTimeout(
      () =>
        give(
          new TransferError(
            'cannot-connect',
            `${formatAddress(address)} did not answer within ${String(timeout / 1000)} s.`,
            { hint: unreachableHint },
          ),
        ),
      timeout,
    );
    signal?.addEventListener('abort', aborted, { once: true });
    socket.once('error', (cause) =>
      give(
        new TransferError('cannot-connect', `Cannot connect to ${formatAddress(address)}: ${reason(cause)}.`, {
          cause,
          ...(isUnreachable(cause) ? { hint: unreachableHint } : {}),
        }),
      ),
    );
    socket.once('connect', () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
      socket.removeAllListeners('error');
      const local = address.kind === 'unix' || isLoopback(socket.remoteAddress ?? '');
      let used: string | undefined;
      try {
        if (congestion !== undefined && address.kind === 'tcp' && !(congestion === 'auto' && local))
          used = chooseCongestion(socket, congestion === 'auto' ? undefined : congestion);
      } catch (error) {
        give(asTransferError(error, 'unexpected', 'The congestion control could not be chosen'));
        return;
      }
      const rtt = address.kind === 'unix' ? 0 : (measured(socket) ?? performance.now() - asked);
      resolve({
        stream: stream.attach(socket, 'onread'),
        peer: formatAddress(address),
        own: ownEnd(socket, 'unix:'),
        local,
        rtt,
        congestion: used,
      });
    });
  });
}

/** The round trip in ms, as the kernel has measured it: what we measure is longer where this machine is busy. */
function measured(socket: net.Socket): number | undefined {
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : socketCalls()?.roundTrip(fd);
}

/**
 * Listens, and gives every accepted connection to `accept`. A unix socket left over from a process that is gone is
 * replaced; a restart on the same port succeeds at once. The system keeps up to `backlog` connections waiting to be
 * accepted (Linux takes the smaller of that and net.core.somaxconn). Rejects with `cannot-connect`.
 */
export async function listen(
  address: Address,
  accept: (accepted: Dialed) => void,
  options: { readonly backlog?: number } = {},
): Promise<Listening> {
  const { backlog = address.kind === 'unix' ? 511 : 4096 } = options;
  if (address.kind === 'unix') await removeDeadSocket(address.path);
  const server = net.createServer({
    allowHalfOpen: true,
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveAfter,
  });
  server.on('connection', (socket) => {
    const peer =
      address.kind === 'unix'
        ? formatAddress(address)
        : formatAddress({ kind: 'tcp', host: socket.remoteAddress ?? '?', port: socket.remotePort ?? 0 });
    const local = address.kind === 'unix' || isLoopback(socket.remoteAddress ?? '');
    const own = ownEnd(socket, formatAddress(address));
    // At once: the system forgets it when the peer closes.
    const user = local ? userOfPeer(socket, address.kind === 'unix' ? address.path : undefined) : undefined;
    accept({ stream: adopt(socket), peer, own, local, user });
  });
  const open = (host?: string): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      const listening = (): void => {
        server.off('error', reject);
        resolve();
      };
      if (address.kind === 'unix') server.listen({ path: address.path, backlog }, listening);
      else server.listen({ host, port: address.port, backlog }, listening);
    });
  try {
    await open(address.kind === 'tcp' ? address.host : undefined).catch((error: unknown) => {
      // `[::]` also takes IPv4; where the system has no IPv6 at all, 0.0.0.0 is what was meant.
      const code = errnoOf(error);
      if (address.kind === 'tcp' && address.host === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL'))
        return open('0.0.0.0');
      throw error;
    });
  } catch (cause) {
    throw cannotListen(address, cause, '--listen');
  }
  // It must not end the process.
  server.on('error', ignored('an accept failed, out of descriptors: that peer sees a reset, the next one is served'));
  const bound = server.address();
  return {
    address:
      address.kind === 'tcp' && bound !== null && typeof bound === 'object'
        ? { kind: 'tcp', host: bound.address, port: bound.port }
        : address,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/**
 * Why nobody can listen there, as `cannot-connect`; `option` is the one of the command line that chooses another
 * address.
 */
export function cannotListen(address: Address, cause: unknown, option: string): TransferError {
  const message = `Cannot listen on ${formatAddress(address)}: ${reason(cause)}.`;
  return new TransferError('cannot-connect', message, { cause, hint: otherwise(address, errnoOf(cause), option) });
}

function otherwise(address: Address, errno: string | undefined, option: string): string {
  if (address.kind === 'unix')
    return errno === 'EADDRINUSE'
      ? `Another program listens there. Stop it, or choose another path with ${option}.`
      : '';
  const { host } = address;
  const another = `${option} ${host === '::' ? '' : `${formatHost(host)}:`}PORT`;
  switch (errno) {
    case 'EADDRINUSE':
      return `Another program listens there. Stop it, or choose another port: ${another}; port 0 takes a free one.`;
    case 'EACCES':
      return `The system lets nobody but root have this port. Choose another port: ${another}`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EADDRNOTAVAIL':
      return `Name an address of this machine with ${option}, or a port alone: ${option} PORT`;
    default:
      return '';
  }
}

function ownEnd({ localAddress: host, localPort: port }: net.Socket, otherwise: string): string {
  return host === undefined || port === undefined ? otherwise : formatAddress({ kind: 'tcp', host, port });
}

/**
 * Gives an accepted socket's handle to a new socket whose reads land in our memory: a third of the receiving thread's
 * work is saved that way. Node documents it for dialed sockets only, hence the test and the documented way as fallback.
 */
function adopt(accepted: net.Socket): ByteStream {
  const stream = new ByteStream();
  const carrier = accepted as unknown as { _handle: { useUserBuffer?: unknown } | null };
  const handle = carrier._handle;
  if (typeof handle?.useUserBuffer !== 'function') return stream.attach(accepted, 'events');
  carrier._handle = null;
  const socket = new net.Socket({
    handle,
    allowHalfOpen: true,
    pauseOnCreate: true,
    readable: true,
    writable: true,
    onread: stream.onread,
  } as net.SocketConstructorOpts);
  // The server counts the accepted socket as open until that one is destroyed.
  socket.once('close', () => accepted.destroy());
  return stream.attach(socket, 'onread');
}

/**
 * Makes a stream of a TLS connection at the moment its handshake is done, before anything of it was read. Node reads
 * TLS into memory of the caller for connections that it dials itself (`onread`), and ignores that option for TLS around
 * a socket that is there already; what the option would have set is therefore set here. A quarter of the reading
 * thread's time is saved that way. All of it is tested for; where something is missing the stream reads in the
 * documented way.
 */
export function adoptSecured(socket: TLSSocket): ByteStream {
  writeLargeAlone(socket);
  const stream = new ByteStream();
  const handle = (socket as unknown as { _handle: { useUserBuffer?(memory: Uint8Array): void } | null })._handle;
  const own = Object.getOwnPropertySymbols(socket);
  const [memory, callback, next] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map((name) =>
    own.find(({ description }) => description === name),
  );
  if (typeof handle?.useUserBuffer !== 'function' || !memory || !callback || !next)
    return stream.attach(socket, 'events');
  const { buffer, callback: landed } = stream.onread;
  const first = buffer();
  Object.assign(socket, { [memory]: first, [callback]: landed, [next]: buffer });
  handle.useUserBuffer(first);
  return stream.attach(socket, 'onread');
}

/** Bytes from which a piece is written to TLS by itself. */
const largeWrite = 64 * 1024;

/**
 * What Node is given together it joins before it encrypts it, in new memory: a sixth of the work of sending. Small
 * pieces go on being joined, so that a message is one record and one packet.
 */
function writeLargeAlone(socket: TLSSocket): void {
  socket._writev = (chunks, done) => {
    const left = joinSmall(chunks.map(({ chunk }) => chunk as Buffer));
    const next = (error?: Error | null): void => {
      const piece = left.shift();
      if (error || !piece) done(error);
      else socket._write(piece, 'buffer' as BufferEncoding, next); // what Node says of bytes
    };
    next();
  };
}

/** The same bytes, with all pieces that lie between large ones in one. */
function joinSmall(pieces: readonly Buffer[]): Buffer[] {
  const joined: Buffer[] = [];
  let small: Buffer[] = [];
  const join = (): void => {
    if (small.length > 0) joined.push(small.length === 1 ? (small[0] as Buffer) : Buffer.concat(small));
    small = [];
  };
  for (const piece of pieces) {
    if (piece.length < largeWrite) small.push(piece);
    else {
      join();
      joined.push(piece);
    }
  }
  join();
  return joined;
}

async function removeDeadSocket(path: string): Promise<void> {
  if (!existsSync(path) || !lstatSync(path).isSocket()) return;
  const alive = await new Promise<boolean>((resolve) => {
    const probe = net.connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => resolve(errnoOf(error) !== 'ECONNREFUSED'));
  });
  if (!alive) unlinkSync(path);
}

/** Where not even a refusal came back. */
const unreachableHint =
  'A firewall or NAT may keep it out: let the port in on that side, or let this side listen instead, with sendall send --listen on the one and receive --from on the other.';

function isUnreachable(error: unknown): boolean {
  return ['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH'].includes(errnoOf(error) ?? '');
}

function reason(error: unknown): string {
  switch (errnoOf(error)) {
    case 'ECONNREFUSED':
      return 'nothing listens there';
    case 'ENOENT':
      return 'there is no such socket';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name is not known';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no route leads there';
    case 'ETIMEDOUT':
      return 'it did not answer';
    case 'EADDRINUSE':
      return 'the address is already in use';
    case 'EACCES':
      return 'permission denied';
    case 'EADDRNOTAVAIL':
      return 'this machine does not have that address';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
