import { TransferError } from '../../errors';
import type { Waits } from '../../progress';
import type { RateLimit } from '../rate-limit';
import type { Link } from './link';

/** A frame of segments or files on its way to the receiver. */
export interface Carried {
  readonly header: object;
  readonly payload: readonly Uint8Array[];
  /** Of the payload. */
  readonly size: number;
  /** Told once the system has taken it: the memory is free again. `wire` is what it cost in bytes, header included. */
  readonly sent: (wire: number) => void;
  /** Told when the connection died before the receiver had taken it: it must go again. */
  readonly lost: () => void;
}

interface Carrier {
  readonly link: Link;
  readonly number: number;
  /** Sent, and not taken by the receiver as far as we know; the oldest first. */
  readonly underway: Carried[];
  /** How many the receiver has taken. */
  taken: number;
  retiring: boolean;
}

/** Frames handed to the system at once for each connection: one is encrypted while the one before is copied by the kernel. */
const atOnce = 2;

/** The connections of a session that carry segments and bundles, and the frames that wait for one of them. */
export class Carriers {
  private readonly carriers = new Map<number, Carrier>();
  private readonly waiting: Carried[] = [];
  private wake: (() => void)[] = [];
  private closed = false;
  /** Payload bytes that the system has taken so far. */
  bytes = 0;

  constructor(
    private readonly limit: RateLimit,
    private readonly waits: Waits,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** How many connections carry now. */
  get count(): number {
    return [...this.carriers.values()].filter(({ retiring }) => !retiring).length;
  }

  /** Whether frames wait that no connection could take yet. */
  get busy(): boolean {
    return this.waiting.length > 0;
  }

  /** Adds a frame; some connection takes it when it can. */
  push(frame: Carried): void {
    this.waiting.push(frame);
    this.wake.shift()?.();
  }

  /** Lets `link` carry until it dies or retires; resolves then. Frames that it may have lost are told so. */
  async carry(link: Link, number: number): Promise<void> {
    const carrier: Carrier = { link, number, underway: [], taken: 0, retiring: false };
    this.carriers.set(number, carrier);
    try {
      await Promise.all(Array.from({ length: atOnce }, () => this.work(carrier)));
      if (!this.closed) await link.finish();
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      link.close(error);
    }
  }

  /** The receiver has taken `frames` frames off a connection by now. Throws `bad-header` for more than were sent. */
  taken(number: number, frames: number): void {
    const carrier = this.carriers.get(number);
    if (!carrier) return;
    const fresh = frames - carrier.taken;
    if (fresh < 0 || fresh > carrier.underway.length) throw new TransferError('bad-header', `The receiver took ${String(frames)} frames off a connection that had not brought so many.`);
    carrier.underway.splice(0, fresh);
    carrier.taken = frames;
  }

  /** The connection is gone: what was underway on it goes again. */
  gone(number: number): void {
    const carrier = this.carriers.get(number);
    if (!carrier) return;
    this.carriers.delete(number);
    carrier.retiring = true;
    this.wakeAll();
    for (const { lost } of carrier.underway.splice(0)) lost();
  }

  /** Lets the connection with the highest number end when its frames are sent. */
  retire(): void {
    const last = [...this.carriers.values()].filter(({ retiring, number }) => !retiring && number > 0).at(-1);
    if (last) last.retiring = true;
    this.wakeAll();
  }

  /** Nothing more is carried. */
  close(): void {
    this.closed = true;
    this.wakeAll();
    for (const frame of this.waiting.splice(0)) frame.sent(0);
  }

  private async work(carrier: Carrier): Promise<void> {
    while (!this.closed && !carrier.retiring) {
      const frame = this.waiting.shift();
      if (frame === undefined) {
        await new Promise<void>((resolve) => this.wake.push(resolve));
        continue;
      }
      try {
        await this.limit.pass(frame.size, this.signal);
        carrier.underway.push(frame);
        const sending = carrier.link.send(frame.header, ...frame.payload);
        const header = await this.waits.on('network', sending);
        this.bytes += frame.size;
        frame.sent(header + frame.size);
      } catch (error) {
        frame.sent(0);
        if (!carrier.underway.includes(frame)) frame.lost();
        throw error;
      }
    }
  }

  private wakeAll(): void {
    for (const wake of this.wake.splice(0)) wake();
  }
}
