import { asTransferError, TransferError } from '../errors';
import type { Waits } from '../progress';
import { CarriedRate, type Compression } from './compression';
import type { RateLimit } from './rate-limit';

/** A frame of segments or files on its way to the receiver. */
export interface Carried {
  readonly header: object;
  /**
   * The pieces of its payload, the content last, which may be coded. Undefined where it is not wanted any more. Called
   * when a connection can take it, so that a waiting frame costs no memory.
   */
  readonly payload: () => readonly Uint8Array[] | Promise<readonly Uint8Array[] | undefined>;
  /** Of the payload. */
  readonly size: number;
  /** Told before a byte of it goes: the bytes of the payload on the wire. */
  readonly goes?: (bytes: number) => void;
  /**
   * Called exactly once: when the system has taken the frame, or when it will not be sent. Then its memory is free
   * again. `wire` is its cost in bytes, header included.
   */
  readonly sent: (wire: number) => void;
  /** Told, at most once, when the connection died before the receiver had taken it: it must go again. */
  readonly lost: () => void;
}

/** A connection that carries frames: a link of TLS, or a sealed one. */
export interface CarryingLink {
  /** Whether a thread of its own does the work, so that this one has none. */
  readonly sealed: boolean;
  /** Resolves, when the system has taken it, with what it cost beside the payload, in bytes. */
  send(header: object, ...payload: readonly Uint8Array[]): Promise<number>;
  /** Sends FIN after everything sent so far. */
  finish(): Promise<void>;
  close(reason?: TransferError): void;
  /** Resolves when it has ended, whyever. */
  ended(): Promise<void>;
}

interface Carrier {
  readonly link: CarryingLink;
  readonly number: number;
  /** Handed to the link, and not taken by the receiver as far as we know; the oldest first. */
  readonly underway: Carried[];
  /** How many the receiver has taken. */
  taken: number;
  /** `retiring`: takes no more frames; `retired`: and everything that it was given was sent; `lost`: before that. */
  state: 'carrying' | 'retiring' | 'retired' | 'lost';
}

/**
 * Frames handed to the system at once for each connection: one is encrypted while the one before is copied by the
 * kernel.
 */
const atOnce = 2;
/** Bytes from which a thread that seals them is worth its start. */
const much = 16 * 1024 * 1024;

/** The connections of a conversation that carry segments and bundles, and the frames that wait for one of them. */
export class Carriers {
  private readonly carriers = new Map<number, Carrier>();
  private readonly waiting: Carried[] = [];
  private wake: (() => void)[] = [];
  private closed = false;
  private expected = 0;
  private sayMuch: () => void = () => undefined;
  /** Resolves once there is so much to carry that threads are worth their start. */
  readonly worthThreads = new Promise<void>((resolve) => {
    this.sayMuch = resolve;
  });
  /** What the connections carry. */
  readonly rate = new CarriedRate();
  /** Codes contents, once the receiver has said that it takes that. */
  compression: Compression | undefined;
  /** Payload bytes that the system has taken so far. */
  bytes = 0;
  /** When the system took the last of them, by performance.now(); 0 for never. */
  lastTaken = 0;

  constructor(
    private readonly limit: RateLimit,
    private readonly waits: Waits,
    /** Aborted at the end of the conversation, so that nothing waits for the limit any longer. */
    private readonly signal: AbortSignal,
  ) {}

  /** How many connections beside connection 0 carry now. */
  get further(): number {
    return this.alive.filter(({ number }) => number > 0).length;
  }

  private get alive(): Carrier[] {
    return [...this.carriers.values()].filter(({ state }) => state === 'carrying');
  }

  /** `bytes` more will be carried. */
  expect(bytes: number): void {
    this.expected += bytes;
    if (this.expected >= much) this.sayMuch();
  }

  /** Whether frames wait that no connection could take yet. */
  get busy(): boolean {
    return this.waiting.length > 0;
  }

  /** Adds a frame; some connection takes it when it can. */
  push(frame: Carried): void {
    if (this.closed) {
      frame.sent(0);
      return;
    }
    this.waiting.push(frame);
    // Connection 0 does not take frames while sealed ones exist, and a waiter does not say which connection it serves:
    // wake all.
    if (this.alive.some(({ link }) => link.sealed)) this.wakeAll();
    else this.wake.shift()?.();
  }

  /**
   * Sends a frame on connection 0 and no other, in the order of the calls; resolves when the system has taken it. It is
   * not `lost` unless the conversation is.
   */
  async sendInOrder(frame: Carried): Promise<void> {
    const first = this.carriers.get(0);
    if (!first) throw new TransferError('unexpected', 'Connection 0 carries nothing.');
    await this.pass(first, frame);
  }

  /**
   * Lets `link` carry until it dies or nothing more is carried, or until it retires: then it ends with FIN. Resolves
   * when nothing more is sent on it; never rejects.
   */
  async carry(link: CarryingLink, number: number): Promise<void> {
    const carrier: Carrier = { link, number, underway: [], taken: 0, state: 'carrying' };
    this.carriers.set(number, carrier);
    if (link.sealed) this.wakeAll();
    try {
      await Promise.all(Array.from({ length: atOnce }, () => this.work(carrier)));
      if (carrier.state !== 'retiring') return;
      carrier.state = 'retired';
      await link.finish();
    } catch (error) {
      // At the end of the conversation its owner closes the connections, and may send a last message on this one.
      if (!this.closed) link.close(asTransferError(error, 'connection-lost', 'The connection was lost'));
    }
  }

  /** The receiver has taken `frames` frames off a connection by now. Throws `bad-header` for more than were sent. */
  taken(number: number, frames: number): void {
    const carrier = this.carriers.get(number);
    if (!carrier) return;
    const fresh = frames - carrier.taken;
    if (fresh < 0 || fresh > carrier.underway.length)
      throw new TransferError(
        'bad-header',
        `The receiver took ${String(frames)} frames off a connection that had not brought so many.`,
      );
    carrier.underway.splice(0, fresh);
    carrier.taken = frames;
  }

  /**
   * The connection has ended and carries nothing more; what the receiver has taken off it may still be told by `taken`.
   * Returns whether it had retired, so that nothing is missing.
   */
  ended(number: number): boolean {
    const carrier = this.carriers.get(number);
    if (carrier && carrier.state !== 'retired') carrier.state = 'lost';
    this.wakeAll();
    return carrier?.state === 'retired';
  }

  /** The connection is forgotten: what is still underway on it goes again. */
  forget(number: number): void {
    const carrier = this.carriers.get(number);
    if (!carrier) return;
    this.ended(number);
    this.carriers.delete(number);
    for (const { lost } of carrier.underway.splice(0)) lost();
  }

  /** Lets the connection with the highest number end when its frames are sent. */
  retire(): void {
    const last = this.alive.filter(({ number }) => number > 0).at(-1);
    if (last) last.state = 'retiring';
    this.wakeAll();
  }

  /** Nothing more is carried. */
  close(): void {
    this.closed = true;
    this.sayMuch();
    this.wakeAll();
    for (const frame of this.waiting.splice(0)) frame.sent(0);
  }

  private async work(carrier: Carrier): Promise<void> {
    while (!this.closed && carrier.state === 'carrying') {
      const frame = this.rests(carrier) ? undefined : this.waiting.shift();
      if (frame) await this.pass(carrier, frame);
      else await new Promise<void>((resolve) => this.wake.push(resolve));
    }
  }

  private async pass(carrier: Carrier, frame: Carried): Promise<void> {
    let wire = 0;
    let handed = false;
    try {
      const payload = await frame.payload();
      if (payload === undefined) return;
      const { header, pieces, size } = await this.coded(frame, payload, carrier);
      await this.waits.on('limit', this.limit.pass(size, this.signal));
      // Died while this frame waited: another one takes it.
      if (carrier.state === 'lost') throw new TransferError('connection-lost', 'The connection was lost.');
      carrier.underway.push(frame);
      handed = true;
      frame.goes?.(size);
      wire = size + (await this.sent(size, carrier.link.send(header, ...pieces)));
      this.bytes += frame.size;
      this.lastTaken = performance.now();
    } catch (error) {
      // What was underway goes again when the connection is forgotten.
      if (!handed) frame.lost();
      throw error;
    } finally {
      frame.sent(wire);
    }
  }

  /** The frame as it goes; a sealed connection carries contents as they are. */
  private async coded(
    { header, size }: Carried,
    payload: readonly Uint8Array[],
    { link }: Carrier,
  ): Promise<{ readonly header: object; readonly pieces: readonly Uint8Array[]; readonly size: number }> {
    const content = payload.at(-1);
    const coded = link.sealed || !content ? undefined : await this.compression?.code(content);
    if (!coded || !content) return { header, pieces: content?.length === 0 ? payload.slice(0, -1) : payload, size };
    return {
      header: { ...header, ...coded.coded },
      pieces: [...payload.slice(0, -1), coded.bytes],
      size: size - content.length + coded.bytes.length,
    };
  }

  /** Waits until the system has taken `size` bytes, and measures that. */
  private async sent(size: number, sending: Promise<number>): Promise<number> {
    this.rate.begins();
    let carried = 0;
    try {
      const beside = await this.waits.on('network', sending);
      carried = size + beside;
      return beside;
    } finally {
      this.rate.ends(carried);
    }
  }

  /** Connection 0, whose work this thread does, leaves it to sealed ones where there are some. */
  private rests({ number }: Carrier): boolean {
    return number === 0 && this.alive.some(({ link }) => link.sealed);
  }

  private wakeAll(): void {
    for (const wake of this.wake.splice(0)) wake();
  }
}
