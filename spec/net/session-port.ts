import net from 'node:net';
import tls from 'node:tls';
import { TransferError } from '../../lib/errors';
import { type Address, parseAddress } from '../../lib/net/address';
import { type Listening, listen } from '../../lib/net/socket';
import type { SessionKey, Ticket } from '../../lib/net/ticket';
import { acceptSecured, beginsTls, type Secured } from '../../lib/net/tls';

/** Listens, and makes a session of every connection, with the keys it has at that moment. */
export class SessionPort {
  readonly keys = new Map<string, Uint8Array>();
  /** The ids it was asked for. */
  readonly asked: string[] = [];
  readonly opened: Secured[] = [];
  private readonly ended: (Secured | TransferError)[] = [];
  private wake: () => void = () => undefined;

  private listening: Listening | undefined;

  static async open(...keys: readonly SessionKey[]): Promise<SessionPort> {
    return SessionPort.at('127.0.0.1:0', 5000, ...keys);
  }

  static async at(address: string, deadline: number, ...keys: readonly SessionKey[]): Promise<SessionPort> {
    const port = new SessionPort();
    for (const { id, key } of keys) port.keys.set(id, key);
    port.listening = await listen(parseAddress(address), (accepted) => {
      const secured = (async () => {
        let tls: boolean | undefined;
        while ((tls = beginsTls(accepted.stream.peek())) === undefined) await accepted.stream.more();
        if (!tls) throw new TransferError('bad-frame', 'Not TLS.');
        return acceptSecured(accepted, (id) => port.lookup(id), { deadline });
      })();
      secured.then(
        (session) => port.opened.push(session) && port.end(session),
        (error: unknown) => port.end(error as TransferError),
      );
    });
    return port;
  }

  get address(): Address {
    if (!this.listening) throw new Error('not listening');
    return this.listening.address;
  }

  get number(): number {
    return this.address.kind === 'tcp' ? this.address.port : 0;
  }

  ticket(key: SessionKey): Ticket {
    return { ...key, address: this.address };
  }

  /** What the next connection came to, in the order in which they end. */
  async next(): Promise<Secured | TransferError> {
    for (;;) {
      const first = this.ended.shift();
      if (first) return first;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  async nextOpened(): Promise<Secured> {
    const next = await this.next();
    if (next instanceof TransferError) throw next;
    return next;
  }

  /** The code with which the next connection failed. */
  async nextFailed(): Promise<string> {
    const next = await this.next();
    return next instanceof TransferError ? next.code : 'no error';
  }

  async close(): Promise<void> {
    for (const { stream } of this.opened) stream.destroy();
    await this.listening?.close();
  }

  private lookup(id: string): Uint8Array | undefined {
    this.asked.push(id);
    return this.keys.get(id);
  }

  private end(outcome: Secured | TransferError): void {
    this.ended.push(outcome);
    this.wake();
  }
}

/** Passes bytes on in both directions, and remembers them. */
export class Wiretap {
  readonly toServer: Buffer[] = [];
  readonly toClient: Buffer[] = [];
  private readonly sockets = new Set<net.Socket>();

  private constructor(private readonly server: net.Server) {}

  /** `change` may alter what goes to the server. */
  static async before(port: number, change: (bytes: Buffer) => Buffer = (bytes) => bytes): Promise<Wiretap> {
    const server = net.createServer({ allowHalfOpen: true });
    const tap = new Wiretap(server);
    server.on('connection', (client) => {
      const far = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      for (const socket of [client, far]) tap.sockets.add(socket.on('error', () => undefined));
      client.on('data', (bytes) => tap.toServer.push(bytes) && far.write(change(bytes))).on('end', () => far.end());
      far.on('data', (bytes) => tap.toClient.push(bytes) && client.write(bytes)).on('end', () => client.end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return tap;
  }

  get address(): Address {
    return { kind: 'tcp', host: '127.0.0.1', port: (this.server.address() as net.AddressInfo).port };
  }

  close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

/** Node's own TLS with a key, as another implementation would dial. */
export function dialTls(port: number, { id, key }: SessionKey, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  const pskCallback = (): tls.PSKCallbackNegotation => ({ identity: id, psk: key });
  const usual = {
    host: '127.0.0.1',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    pskCallback,
    checkServerIdentity: () => undefined,
    allowHalfOpen: true,
  };
  return tls.connect({ ...usual, port, ...options });
}

/** What went wrong with `socket` until it closed, if anything did. */
export function endOf(socket: net.Socket): Promise<NodeJS.ErrnoException | undefined> {
  let failure: NodeJS.ErrnoException | undefined;
  socket.resume().on('error', (error) => (failure = error));
  return new Promise((resolve) => socket.once('close', () => resolve(failure)));
}

export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof TransferError ? error.code : error),
  );
}

/** Exactly `count` bytes, as text. */
export async function hear({ stream }: Secured, count: number): Promise<string> {
  const memory = Buffer.alloc(count);
  return memory.subarray(0, await stream.fill(memory)).toString();
}
