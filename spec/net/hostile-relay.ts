import net from 'node:net';

/**
 * What becomes of a piece of bytes that goes to `to`, after `before` bytes in that direction: undefined ends both
 * connections, `stop` keeps them open and carries nothing any more.
 */
export type Treatment = (piece: Buffer, to: 'dialing' | 'listening', before: number) => Buffer | 'stop' | undefined;

const honest: Treatment = (piece) => piece;
const request = /^please relay ([0-9a-f]{64}) for side ([0-9a-f]{16})\n/;

interface Asker {
  readonly socket: net.Socket;
  readonly token: string;
  readonly dials: boolean;
}

/** A relay that does to what it carries whatever a spec wants, and keeps all that it has seen. */
export class HostileRelay {
  treat: Treatment = honest;
  /** Who is joined: by default those who name the same token. */
  joins: (one: Asker, other: Asker) => boolean = (one, other) => one.token === other.token;
  pairs = 0;
  private readonly seen: Buffer[] = [];
  private waiting: Asker[] = [];
  private readonly sockets = new Set<net.Socket>();

  private constructor(private readonly server: net.Server) {
    server.on('connection', (socket) => this.accept(socket));
  }

  static async open(): Promise<HostileRelay> {
    const server = net.createServer({ noDelay: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new HostileRelay(server);
  }

  get where(): string {
    return `127.0.0.1:${String((this.server.address() as net.AddressInfo).port)}`;
  }

  /** All bytes that came in, in both directions, requests too. */
  get captured(): Buffer {
    return Buffer.concat(this.seen);
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(socket: net.Socket): void {
    this.sockets.add(socket);
    socket.on('error', () => socket.destroy()).once('close', () => this.sockets.delete(socket));
    socket.once('data', (bytes) => {
      this.seen.push(bytes);
      const [, token = '', side = ''] = request.exec(bytes.toString('latin1')) ?? [];
      const asker = { socket, token, dials: side.endsWith('1') };
      const other = this.waiting.find((each) => each.dials !== asker.dials && this.joins(each, asker));
      if (!other) {
        this.waiting.push(asker);
        socket.once('close', () => (this.waiting = this.waiting.filter((each) => each !== asker)));
        return;
      }
      this.waiting = this.waiting.filter((each) => each !== other);
      this.join(other, asker);
    });
  }

  private join(first: Asker, second: Asker): void {
    this.pairs++;
    let stopped = false;
    for (const [from, to] of [
      [first, second],
      [second, first],
    ] as const) {
      let before = 0;
      from.socket.on('data', (piece) => {
        this.seen.push(piece);
        if (stopped) return;
        const treated = this.treat(piece, to.dials ? 'dialing' : 'listening', before);
        before += piece.length;
        if (treated === 'stop') stopped = true;
        else if (treated) to.socket.write(treated);
        else for (const each of [from, to]) each.socket.destroy();
      });
      from.socket.once('close', () => to.socket.destroySoon());
      from.socket.write('ok\n');
    }
  }
}
