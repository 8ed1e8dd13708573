/**
 * A transit relay: joins two connections that name the same token from different sides, and carries bytes between them.
 * It speaks the protocol of magic-wormhole's transit relay, and adds what that lacks: nobody waits for ever, and a pair
 * may carry no more than a quota. It knows no keys and keeps nothing. PROTOCOL.md 30.
 */
import { timingSafeEqual } from 'node:crypto';
import net from 'node:net';
import { asTransferError } from '../errors';
import type { Address } from './address';
import { relayPass } from './relay-pass';

export interface RelayServerOptions {
  /** How long one may wait for the other side, in ms. */
  readonly waitFor: number;
  /** The most bytes that a pair may carry, both directions together. */
  readonly quota?: number | undefined;
  /** Only whoever has this is joined; default: everybody. */
  readonly password?: string | undefined;
  /** Told of each pair that has ended. */
  readonly on: (pair: RelayedPair) => void;
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
}

/** How long the first line may take, in ms, and how many bytes it has at most. */
const lineWithin = 10_000;
const longestLine = 160;
/** A pair that carries nothing for so long is gone, in ms: sessions say that they live every few seconds. */
const idleFor = 120_000;
/** So many wait at most; who comes then is turned away. */
const mostWaiting = 4_096;
const keepAliveAfter = 15_000;

const request = /^please relay ([0-9a-f]{64})(?: for side ([0-9a-f]{16})(?: pass ([0-9a-f]{32}))?)?$/;

export class RelayServer {
  private readonly waiting = new Map<string, RelayWaiting[]>();
  private readonly sockets = new Set<net.Socket>();
  private figuresSoFar = { open: 0, pairs: 0, bytes: 0, overQuota: 0, refused: 0 };
  private waiters = 0;

  private constructor(
    private readonly server: net.Server,
    private readonly options: RelayServerOptions,
  ) {
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
      throw asTransferError(error, 'cannot-connect', 'The relay cannot listen there');
    }
    return new RelayServer(server, options);
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  get figures(): RelayFigures {
    return { ...this.figuresSoFar, waiting: this.waiters };
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private accept(socket: net.Socket): void {
    this.sockets.add(socket);
    // Whatever went wrong with it, it closes, and that is dealt with below.
    socket.on('error', () => socket.destroy()).once('close', () => this.sockets.delete(socket));
    const timer = setTimeout(() => socket.destroy(), lineWithin);
    let line = Buffer.alloc(0);
    const hear = (bytes: Buffer): void => {
      line = Buffer.concat([line, bytes]);
      const end = line.indexOf('\n');
      if (end < 0 && line.length <= longestLine) return;
      clearTimeout(timer);
      socket.off('data', hear);
      const [, token, side, pass] = request.exec(line.subarray(0, Math.max(0, end)).toString('latin1')) ?? [];
      if (token === undefined) this.refuse(socket, 'bad handshake');
      else if (line.length > end + 1) this.refuse(socket, 'impatient');
      else if (!this.admits(token, side, pass)) this.refuse(socket, 'wrong password');
      else this.join(socket, token, side);
    };
    socket.on('data', hear).once('close', () => clearTimeout(timer));
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
  }

  /** Two of one side never meet; those who still wait for a token that two have met by are told to come again. */
  private join(socket: net.Socket, token: string, side: string | undefined): void {
    const others = this.waiting.get(token) ?? [];
    const other = others.find((each) => side === undefined || each.side !== side);
    if (other) {
      for (const each of others) {
        this.leave(token, each);
        if (each !== other) each.socket.destroy();
      }
      this.pair(other.socket, socket);
      return;
    }
    if (this.waiters >= mostWaiting) {
      this.figuresSoFar.refused++;
      socket.destroy();
      return;
    }
    const timer = setTimeout(() => socket.destroy(), this.options.waitFor);
    const waiter = { socket, side, timer };
    this.waiters++;
    this.waiting.set(token, [...others, waiter]);
    socket.once('close', () => this.leave(token, waiter));
    // Nothing may be said before `ok`, and whoever has hung up is noticed.
    socket.once('data', impatient).resume();
  }

  private leave(token: string, waiter: RelayWaiting): void {
    const others = this.waiting.get(token) ?? [];
    if (!others.includes(waiter)) return;
    clearTimeout(waiter.timer);
    this.waiters--;
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
      from.off('data', impatient).pause();
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

function impatient(this: net.Socket): void {
  this.end('impatient\n');
}
