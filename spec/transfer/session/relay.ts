import net from 'node:net';
import { formatTicket, parseTicket } from '../../../lib/index';

/** From the one who dials, or back to it. */
export type Direction = 'there' | 'back';

export interface RelayOptions {
  /** How long every byte is under way in each direction, in ms. */
  readonly delay?: number;
  /** So many bytes of a connection may be under way in one direction while there is a delay: what a TCP window does. */
  readonly window?: number;
}

/** One connection through the relay. */
export class Line {
  /** What came from each side to be passed on. */
  readonly bytes = { there: 0, back: 0 };
  private readonly swallows = { there: false, back: false };

  constructor(
    private readonly near: net.Socket,
    private readonly far: net.Socket,
    private readonly options: RelayOptions,
    private readonly moved: () => void,
  ) {
    this.forward('there', near, far);
    this.forward('back', far, near);
  }

  get open(): boolean {
    return !this.near.destroyed && !this.far.destroyed;
  }

  /** Ends it on both sides: by a reset, or by what looks like an end. */
  cut(how: 'reset' | 'end' = 'reset'): void {
    for (const socket of [this.near, this.far]) {
      if (how === 'reset') socket.resetAndDestroy();
      else socket.destroy();
    }
  }

  /** From now on nothing goes through in this direction, and nobody is told. */
  swallow(direction: Direction): void {
    this.swallows[direction] = true;
  }

  private forward(direction: Direction, from: net.Socket, to: net.Socket): void {
    const { delay = 0, window = 256 * 1024 } = this.options;
    let underway = 0;
    const pass = (bytes: Buffer): void => {
      if (this.swallows[direction] || to.destroyed) return;
      if (!to.write(bytes)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    };
    from.on('data', (bytes: Buffer) => {
      if (this.swallows[direction]) return;
      this.bytes[direction] += bytes.length;
      this.moved();
      if (delay === 0) {
        pass(bytes);
        return;
      }
      underway += bytes.length;
      if (underway >= window) from.pause();
      setTimeout(() => {
        underway -= bytes.length;
        pass(bytes);
        if (underway < window) from.resume();
      }, delay);
    });
    from.on('end', () => setTimeout(() => void (this.swallows[direction] || to.end()), delay));
    from.on('error', () => undefined);
    from.on('close', () => setTimeout(() => void (this.swallows[direction] || to.destroy()), delay));
  }
}

/** A network of which every connection can be looked at and broken: it stands on a port of its own, in front of another one. */
export class Relay {
  readonly lines: Line[] = [];
  port = 0;
  private server: net.Server | undefined;
  private readonly watchers = new Set<() => void>();

  private constructor(
    private readonly target: number,
    private readonly options: RelayOptions,
  ) {}

  static async to(target: number, options: RelayOptions = {}): Promise<Relay> {
    const relay = new Relay(target, options);
    await relay.accept();
    return relay;
  }

  /** The ticket that leads through here. */
  through(ticket: string): string {
    return formatTicket({ ...parseTicket(ticket), address: { kind: 'tcp', host: '127.0.0.1', port: this.port } });
  }

  get open(): Line[] {
    return this.lines.filter((line) => line.open);
  }

  /** What has come from those who dial, in bytes, over all connections. */
  get there(): number {
    return this.lines.reduce((sum, { bytes }) => sum + bytes.there, 0);
  }

  /** Resolves as soon as `reached` is true, which is looked at whenever bytes move or connections come. */
  async until(reached: () => boolean): Promise<void> {
    while (!reached()) {
      await new Promise<void>((resolve) => {
        const watcher = (): void => {
          this.watchers.delete(watcher);
          resolve();
        };
        this.watchers.add(watcher);
      });
    }
  }

  cutAll(how: 'reset' | 'end' = 'reset'): void {
    for (const line of this.open) line.cut(how);
  }

  /** Whoever dials from now on is told that nobody listens. */
  async refuse(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  /** The network is gone: all connections are cut, and there are no new ones. */
  async fall(): Promise<void> {
    const refusing = this.refuse();
    for (const line of this.lines) line.cut();
    await refusing;
  }

  /** Takes connections again, on the same port. */
  async accept(): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      const far = net.connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
      this.lines.push(new Line(near, far, this.options, () => this.tell()));
      this.tell();
    });
    this.server = server;
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(this.port, '127.0.0.1', resolve));
    this.port = (server.address() as net.AddressInfo).port;
  }

  close(): Promise<void> {
    return this.fall();
  }

  private tell(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}
