import type { Connection } from '../net/connection';
import { TransferError } from '../errors';
import { encodeFrame, type JsonObject } from '../wire/frame';
import { encodeList } from '../wire/session-list';
import { longestList } from '../wire/session-message';
import { leavesWithin, usualLinkDeadlines } from './deadlines';
import { ignored } from '../trace';

/** How a session's connections are kept alive, in ms. */
export interface LinkDeadlines {
  /** How long we say nothing until we say that we are alive. */
  readonly heartbeat: number;
  /** How long the other side may say nothing at all. */
  readonly silence: number;
  /** How long connection 0 may carry nothing but heartbeats, in both directions; absent: for ever. */
  readonly idle?: number | undefined;
}

/** The same for the other connections of a session: contents may come on one of them alone. */
export function furtherDeadlines({ heartbeat, silence }: LinkDeadlines): LinkDeadlines {
  return { heartbeat, silence };
}

/** Checks per heartbeat interval whether one is due, so that it is late by a fifth of the interval at most. */
const looks = 5;

/** A message in which there is nothing but the sign of life. */
const heartbeat = encodeFrame({ type: 'heartbeat' });
/** The last one of a side that is stopped. PROTOCOL.md 12.9. */
const lastHeartbeat = encodeFrame({ type: 'heartbeat', stopping: true });

/**
 * One connection of a session: messages with their lists, and heartbeats in both directions. "A peer from which nothing
 * came for 30 seconds, while something was awaited, is gone": time in which we do not read, because our disk is slow,
 * does not count.
 */
export class Link {
  private readonly timer: NodeJS.Timeout;
  private sentBefore = 0;
  /** Looks since something was sent. */
  private quiet = 0;
  /** Bytes of heartbeats, in both directions. */
  private beats = 0;
  /** The most bytes that were not heartbeats, and since when there are no more, by performance.now(). */
  private moved = 0;
  private movedAt = performance.now();
  /** Resolves when the last frame that was given in slices is gone. */
  private inTurn: Promise<void> = Promise.resolve();
  /** See `CarryingLink`. */
  readonly sealed = false;
  /** Whether the other side said that whoever runs it stops it. */
  isPeerStopped = false;

  constructor(
    readonly connection: Connection,
    readonly deadlines: LinkDeadlines = usualLinkDeadlines,
    /** "The first heartbeat comes after `hello`": false where that is not answered yet; see `greeted`. */
    private hasGreeted = true,
    /**
     * Bytes of a frame that are given to the system at once, where connections are many: what TLS has sealed and the
     * system has not taken yet is memory. Absent: whole frames.
     */
    private readonly atOnce = Infinity,
  ) {
    this.timer = setInterval(() => this.look(), deadlines.heartbeat / looks);
    this.timer.unref();
  }

  /** Our `hello` is on its way. */
  greeted(): void {
    this.hasGreeted = true;
  }

  /**
   * The next message's header that is more than a heartbeat; undefined when the peer has finished. Rejects like
   * `Connection.readHeader`, and with `timeout` where nothing but heartbeats came for too long.
   */
  async receive(): Promise<JsonObject | undefined> {
    const { silence } = this.deadlines;
    for (;;) {
      const before = this.connection.consumed;
      const header = await this.connection.readHeader({ silence, whole: silence });
      if (header?.['type'] !== 'heartbeat') return header;
      this.beats += this.connection.consumed - before;
      this.isPeerStopped ||= header['stopping'] === true;
    }
  }

  /** The list behind a header, `length` bytes. Rejects like `Connection.fill`. */
  async receiveList(length: number): Promise<Uint8Array> {
    const list = new Uint8Array(length);
    await this.connection.fill(list);
    return list;
  }

  /** Sends a message; resolves when the system has taken it. Messages go out in the order of the calls. */
  async send(header: object, ...payload: readonly Uint8Array[]): Promise<number> {
    const frame = encodeFrame(header);
    await this.sendInTurn(frame, ...payload);
    return frame.length;
  }

  private async sendInTurn(...bytes: readonly Uint8Array[]): Promise<void> {
    if (this.atOnce === Infinity) return this.connection.sendBytes(...bytes);
    const before = this.inTurn;
    let done: () => void = () => undefined;
    this.inTurn = new Promise((resolve) => (done = resolve));
    await before;
    try {
      for (const each of bytes)
        for (let at = 0; at < each.length; at += this.atOnce)
          await this.connection.sendBytes(each.subarray(at, at + this.atOnce));
    } finally {
      done();
    }
  }

  /**
   * Sends a list as the payload of one message, or of several where it is too long for one; resolves with the bytes
   * that took.
   */
  async sendList(header: object, list: readonly unknown[]): Promise<number> {
    const encoded = encodeList(list);
    if (encoded.length > longestList && list.length > 1) {
      const half = list.length >> 1;
      return (await this.sendList(header, list.slice(0, half))) + (await this.sendList(header, list.slice(half)));
    }
    return (await this.send({ ...header, list: encoded.length }, encoded)) + encoded.length;
  }

  /** Sends FIN after everything sent so far; heartbeats end. */
  async finish(): Promise<void> {
    clearInterval(this.timer);
    await this.connection.finish();
  }

  /** Resolves when it has ended, whyever: for a connection on which the other side says nothing but heartbeats. */
  async ended(): Promise<void> {
    await this.receive().catch(ignored('why it ended is told by close, or learned by whoever sends'));
  }

  /** Ends it with a last word from us; see `Connection.linger`. */
  async linger(): Promise<void> {
    clearInterval(this.timer);
    await this.connection.linger();
  }

  /** Says that whoever runs this side stops it, and ends the connection like `linger`. Never rejects. */
  async leave(): Promise<void> {
    clearInterval(this.timer);
    this.connection.sendBytes(lastHeartbeat).catch(ignored('a peer that does not take our last word is gone'));
    await this.connection.linger(leavesWithin);
  }

  close(reason?: TransferError): void {
    clearInterval(this.timer);
    this.connection.close(reason);
  }

  private look(): void {
    const { stream } = this.connection;
    if (stream.closed) clearInterval(this.timer);
    this.lookForIdleness();
    this.quiet = stream.bytesWritten === this.sentBefore ? this.quiet + 1 : 0;
    this.sentBefore = stream.bytesWritten;
    if (!this.hasGreeted || this.quiet < looks) return;
    this.quiet = 0;
    this.beats += heartbeat.length;
    // A failed heartbeat is noticed where the connection is read.
    this.sendInTurn(heartbeat).catch(() => clearInterval(this.timer)); // whoever reads is told
  }

  /** Ends a connection on which nothing moves but heartbeats: whoever holds it may keep others from something. */
  private lookForIdleness(): void {
    const { idle, silence } = this.deadlines;
    if (idle === undefined) return;
    const { consumed, stream } = this.connection;
    const now = performance.now();
    // A partly received heartbeat counts as movement once; no more than that.
    if (consumed + stream.bytesWritten - this.beats > this.moved) {
      this.moved = consumed + stream.bytesWritten - this.beats;
      this.movedAt = now;
    } else if (now - this.movedAt > idle + silence) {
      this.connection.close();
    } else if (now - this.movedAt > idle) {
      this.connection.stopReading(
        new TransferError('timeout', `Nothing but signs of life came for ${String(Math.round(idle / 1000))} s.`),
      );
    }
  }
}
