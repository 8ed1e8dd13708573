import { timingSafeEqual } from 'node:crypto';
import net from 'node:net';
import type { Address } from './address';
import { mostDescriptors } from './descriptor-limit';
import { noRoom, RelayCrowd } from './relay-crowd';
import { relayPass } from './relay-pass';
import { cannotListen } from './socket';

export interface RelayServerOptions {
  /** How long one may wait for the other side, in ms. */
  readonly waitFor: number;
  /** The most bytes that a pair may carry, both directions together. */
  readonly quota?: number | undefined;
  /** Only whoever has this is joined; default: everybody. */
  readonly password?: string | undefined;
  /** Told of each pair that has ended. */
  readonly on: (pair: RelayedPair) => void;
  /** @internal Other limits than the usual ones. */
  readonly most?: Partial<RelayLimits> | undefined;
}

/**
 * How many connections there may be. "Of one" is of one IPv4 address, or of the first 64 bits of one of IPv6: a
 * stranger has so many of them. PROTOCOL.md 30.5.
 */
interface RelayLimits {
  /** That have not said yet what they want, or were refused and have not hung up. */
  readonly silent: number;
  readonly silentOfOne: number;
  /** That wait for the other side. */
  readonly waiting: number;
  readonly waitingOfOne: number;
  /** That were joined with another one. */
  readonly joinedOfOne: number;
}

export interface RelayedPair {
  /** In both directions. */
  readonly bytes: number;
  readonly seconds: number;
  /** Whether it was ended because of the quota. */
  readonly overQuota: boolean;
}

/** What it does at this moment, and has done. */
export interface RelayFigures {
  readonly waiting: number;
  /** That are carried now. */
  readonly open: number;
  /** That ever were. */
  readonly pairs: number;
  readonly bytes: number;
  /** Ended because of the quota. */
  readonly overQuota: number;
  /** Who was turned away: for words that are no request, or that came too early, for the password, for want of room. */
  readonly refused: number;
}

interface RelayWaiting {
  readonly socket: net.Socket;
  /** Undefined for those who say none: they meet anybody. */
  readonly side: string | undefined;
  readonly timer: NodeJS.Timeout;
  /** Hears what may not be said yet. */
  readonly hasty: () => void;
}

/** Window in ms for the first line, and its most bytes. */
const lineWithin = 10_000;
const longestLine = 160;
/** How long, in ms, one who was refused has to take that in and to hang up. */
const refusedFor = 1_000;
/** Ms of silence after which a pair is gone: sessions send a heartbeat every few seconds. */
const idleFor = 120_000;
const keepAliveAfter = 15_000;

const request = /^please relay ([0-9a-f]{64})(?: for side ([0-9a-f]{16})(?: pass ([0-9a-f]{32}))?)?$/;

function usualLimits(descriptors = mostDescriptors()): RelayLimits {
  return {
    silent: Math.min(1_024, descriptors / 8),
    silentOfOne: Math.min(128, descriptors / 16),
    waiting: Math.min(4_096, descriptors / 4),
    waitingOfOne: Math.min(256, descriptors / 16),
    joinedOfOne: Math.min(1_024, descriptors / 8),
  };
}

export class RelayServer {
  private readonly waiting = new Map<string, RelayWaiting[]>();
  private readonly sockets = new Set<net.Socket>();
  private readonly silent = new RelayCrowd();
  /** Who was told why, and has not hung up. */
  private readonly refused = new RelayCrowd();
  private readonly waiters = new RelayCrowd();
  private readonly joined = new RelayCrowd();
  private readonly most: RelayLimits;
  private figuresSoFar = { open: 0, pairs: 0, bytes: 0, overQuota: 0, refused: 0 };

  private constructor(
    private readonly server: net.Server,
    private readonly options: RelayServerOptions,
  ) {
    this.most = { ...usualLimits(), ...options.most };
    server.on('connection', (socket) => this.accept(socket));
  }

  /** Listens at `address`; port 0 takes a free one. Rejects with `cannot-connect`. */
  static async at({ host, port }: Address & { kind: 'tcp' }, options: RelayServerOptions): Promise<RelayServer> {
    const server = net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveAfter });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen({ host, port }, resolve);
      });
    } catch (error) {
      throw cannotListen({ kind: 'tcp', host, port }, error, '--listen');
    }
    return new RelayServer(server, options);
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  get figures(): RelayFigures {
    return { ...this.figuresSoFar, waiting: this.waiters.size };
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private accept(socket: net.Socket): void {
    this.sockets.add(socket);
    // Whatever went wrong with it, it closes, and that is dealt with below.
    socket.on('error', () => socket.destroy()).once('close', () => this.forget(socket));
    this.silent.add(socket);
    this.makeRoomFor(socket);
    const timer = setTimeout(() => socket.destroy(), lineWithin);
    let line = Buffer.alloc(0);
    const hear = (bytes: Buffer): void => {
      line = Buffer.concat([line, bytes]);
      const end = line.indexOf('\n');
      if (end < 0 && line.length <= longestLine) return;
      clearTimeout(timer);
      socket.off('data', hear);
      this.silent.delete(socket);
      const [, token, side, pass] = request.exec(line.subarray(0, Math.max(0, end)).toString('latin1')) ?? [];
      if (token === undefined) this.refuse(socket, 'bad handshake');
      else if (line.length > end + 1) this.refuse(socket, 'impatient');
      else if (!this.admits(token, side, pass)) this.refuse(socket, 'wrong password');
      else this.join(socket, token, side);
    };
    socket.on('data', hear).once('close', () => clearTimeout(timer));
  }

  private forget(socket: net.Socket): void {
    this.sockets.delete(socket);
    for (const crowd of [this.silent, this.refused, this.joined]) crowd.delete(socket);
  }

  /** The oldest go first, of its own network, then of all: those who were refused, then those that say nothing. */
  private makeRoomFor(socket: net.Socket): void {
    const { silent, refused, most } = this;
    for (;;) {
      const tooManyOfOne = silent.besides(socket) + refused.besides(socket) > most.silentOfOne;
      if (!tooManyOfOne && silent.size + refused.size <= most.silent) return;
      const crowd = (tooManyOfOne ? refused.besides(socket) : refused.size) > 0 ? refused : silent;
      const oldest = tooManyOfOne ? crowd.oldestBesides(socket) : crowd.oldest();
      if (!oldest) return;
      crowd.delete(oldest);
      oldest.destroy();
      if (crowd === silent) this.figuresSoFar.refused++;
    }
  }

  private admits(token: string, side = '', pass = ''): boolean {
    const { password } = this.options;
    if (password === undefined) return true;
    const expected = Buffer.from(relayPass(password, token, side));
    return pass.length === expected.length && timingSafeEqual(Buffer.from(pass), expected);
  }

  private refuse(socket: net.Socket, why: string): void {
    this.figuresSoFar.refused++;
    socket.end(`${why}\n`);
    // Whoever never hangs up would stay for ever.
    const timer = setTimeout(() => socket.destroy(), refusedFor);
    socket.resume().once('close', () => clearTimeout(timer));
    this.refused.add(socket);
    this.makeRoomFor(socket);
  }

  /** Two of one side never meet; those who still wait for a token that two have met by are told to come again. */
  private join(socket: net.Socket, token: string, side: string | undefined): void {
    const others = this.waiting.get(token) ?? [];
    const other = others.find((each) => side === undefined || each.side !== side);
    const { waiters, joined, most } = this;
    if (other) {
      if (joined.besides(socket) >= most.joinedOfOne) {
        this.refuse(socket, noRoom);
        return;
      }
      for (const each of others) {
        this.leave(token, each);
        if (each !== other) each.socket.destroy();
      }
      this.pair(other.socket, socket);
      return;
    }
    if (waiters.size >= most.waiting || waiters.besides(socket) >= most.waitingOfOne) {
      this.refuse(socket, noRoom);
      return;
    }
    const timer = setTimeout(() => socket.destroy(), this.options.waitFor);
    // Nothing may be said before `ok`, and whoever has hung up is noticed.
    const hasty = (): void => {
      this.leave(token, waiter);
      this.refuse(socket, 'impatient');
    };
    const waiter = { socket, side, timer, hasty };
    waiters.add(socket);
    this.waiting.set(token, [...others, waiter]);
    socket.once('close', () => this.leave(token, waiter));
    socket.once('data', hasty).resume();
  }

  private leave(token: string, waiter: RelayWaiting): void {
    const others = this.waiting.get(token) ?? [];
    if (!others.includes(waiter)) return;
    clearTimeout(waiter.timer);
    waiter.socket.off('data', waiter.hasty);
    this.waiters.delete(waiter.socket);
    const left = others.filter((each) => each !== waiter);
    if (left.length > 0) this.waiting.set(token, left);
    else this.waiting.delete(token);
  }

  /** The end of one is the end of both. */
  private pair(first: net.Socket, second: net.Socket): void {
    const began = performance.now();
    const { quota = Infinity } = this.options;
    const { figuresSoFar: figures } = this;
    let [bytes, ended] = [0, false];
    figures.pairs++;
    figures.open++;
    const end = (): void => {
      if (ended) return;
      ended = true;
      figures.open--;
      if (bytes > quota) figures.overQuota++;
      const seconds = (performance.now() - began) / 1000;
      this.options.on({ bytes: Math.min(bytes, quota), seconds, overQuota: bytes > quota });
    };
    for (const [from, to] of [
      [first, second],
      [second, first],
    ] as const) {
      this.joined.add(from);
      from.pause();
      from.setTimeout(idleFor, () => from.destroy());
      from.on('data', (piece: Buffer) => {
        figures.bytes += Math.min(piece.length, Math.max(0, quota - bytes));
        bytes += piece.length;
        if (bytes <= quota) return;
        first.destroy();
        second.destroy();
      });
      from.once('close', () => {
        end();
        to.destroySoon();
      });
      from.write('ok\n');
    }
    first.pipe(second).pipe(first);
  }
}
