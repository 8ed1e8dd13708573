import net from 'node:net';
import { formatTicket, parseTicket } from '../../lib/index';

/** From the one who dials, or back to it. */
export type Direction = 'there' | 'back';

export interface RelayOptions {
  /** How long every byte is under way in each direction, in ms. */
  readonly delay?: number;
  /** So many bytes of a connection may be under way in one direction while there is a delay: what a TCP window does. */
  readonly window?: number;
}

/** What happens to a line when one of its bytes comes. */
export interface Trap {
  readonly direction: Direction;
  /** The place of that byte among those of its direction, from 0 on. */
  readonly at: number;
  /**
   * `flip` changes one bit of it. Otherwise it does not arrive, nor what is behind it: the line is cut by a `reset` or
   * an `end`, or it is silent from then on in this direction (`swallow`) or in `both`, or it stays open for the one who
   * was dialed alone (`leave`).
   */
  readonly what: 'flip' | 'reset' | 'end' | 'swallow' | 'both' | 'leave';
}

/** One connection through the relay. */
export class Line {
  /** What came from each side to be passed on. */
  readonly bytes = { there: 0, back: 0 };
  /** What whoever dialed said first, as anybody on the way sees it. */
  begins: Buffer = Buffer.alloc(0);
  private readonly swallows = { there: false, back: false };
  /** At most one for each direction; done once. */
  private readonly traps: Partial<Record<Direction, Trap>> = {};

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

  set(trap: Trap): void {
    this.traps[trap.direction] = trap;
  }

  /** What goes on of bytes of which the first is at `start`. */
  private trapped(bytes: Buffer, start: number, { direction, at, what }: Trap): Buffer {
    delete this.traps[direction];
    if (what === 'flip') {
      const changed = Buffer.from(bytes);
      changed[at - start] = (changed[at - start] ?? 0) ^ 1;
      return changed;
    }
    // What came before is on its way first.
    setImmediate(() => this.spring(direction, what));
    return bytes.subarray(0, at - start);
  }

  private spring(direction: Direction, what: Exclude<Trap['what'], 'flip'>): void {
    if (what === 'reset' || what === 'end') {
      this.cut(what);
      return;
    }
    this.swallow(direction);
    if (what === 'swallow') return;
    this.swallow(direction === 'there' ? 'back' : 'there');
    if (what === 'leave') this.near.resetAndDestroy();
  }

  private forward(direction: Direction, from: net.Socket, to: net.Socket): void {
    const { delay = 0, window = 256 * 1024 } = this.options;
    let underway = 0;
    let full = false;
    const pass = (bytes: Buffer): void => {
      if (this.swallows[direction] || to.destroyed) return;
      full = !to.write(bytes);
      if (full) from.pause();
    };
    const resume = (): void => {
      if (!full && underway < window) from.resume();
    };
    to.on('drain', () => {
      full = false;
      resume();
    });
    let caught = false;
    from.on('data', (came: Buffer) => {
      if (this.swallows[direction] || caught) return;
      const start = this.bytes[direction];
      if (start === 0 && direction === 'there') this.begins = Buffer.from(came);
      this.bytes[direction] += came.length;
      this.moved();
      const trap = this.traps[direction];
      const meets = trap !== undefined && trap.at < this.bytes[direction];
      caught = meets && trap.what !== 'flip';
      const bytes = meets ? this.trapped(came, start, trap) : came;
      if (delay === 0) {
        pass(bytes);
        return;
      }
      underway += bytes.length;
      if (underway >= window) from.pause();
      setTimeout(() => {
        underway -= bytes.length;
        pass(bytes);
        resume();
      }, delay);
    });
    from.on('end', () => setTimeout(() => void (this.swallows[direction] || to.end()), delay));
    from.on('error', () => undefined);
    from.on('close', () => setTimeout(() => void (this.swallows[direction] || to.destroy()), delay));
  }
}

/**
 * A network of which every connection can be looked at and broken: it stands on a port of its own, in front of another
 * one.
 */
export class Relay {
  readonly lines: Line[] = [];
  port = 0;
  /** Told of each new line, before anything moves on it. */
  onLine: (line: Line, number: number) => void = () => undefined;
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
      const line = new Line(near, far, this.options, () => this.tell());
      this.lines.push(line);
      this.onLine(line, this.lines.length - 1);
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
