// Bodies of requests, none of which takes longer, or is longer, than it may be.
import type { IncomingMessage } from 'node:http';
import { TransferError } from '../errors';
import { usualStall } from '../net/connection';

/** Window in ms for a short body. */
const shortWithin = 10_000;

/** The length that a request says that its body has. Throws `bad-header` where it says none. */
export function lengthOf(request: IncomingMessage): number {
  const length = request.headers['content-length'];
  if (length === undefined || !/^\d{1,15}$/.test(length))
    throw new TransferError('bad-header', 'The request does not say how long its body is.', { hint: '' });
  return Number(length);
}

/** Interval in ms at which a body that is awaited is checked. */
const watchEvery = 50;

/**
 * The body of a request, into memory of whoever asks: `fill` keeps the contract of a connection's. Nothing is read off
 * the connection while nobody asks. `release` it, so that what is left of it can be thrown away.
 */
export class RequestBody {
  /** What came with the last bytes that were wanted, and is not wanted yet. */
  private kept: Uint8Array = new Uint8Array(0);
  private target: Uint8Array | undefined;
  private filled = 0;
  private over = false;
  private failure: TransferError | undefined;
  private wake: () => void = () => undefined;
  private readonly heard = {
    data: (bytes: Uint8Array): void => this.landed(bytes),
    end: (): void => {
      this.over = true;
      this.wake();
    },
    error: (error: Error): void => {
      if (error instanceof TransferError) this.failure ??= error;
      this.heard.end();
    },
  };

  constructor(
    private readonly request: IncomingMessage,
    private readonly stall = usualStall,
  ) {
    const { end, error, data } = this.heard;
    this.over = request.destroyed;
    request.on('end', end).on('close', end).on('error', error).on('data', data).pause();
  }

  /**
   * Puts bytes into `target` until it is full; returns how many. Fewer only when `hurry` answered true, which is asked
   * every 50 ms. Rejects with `timeout` where nothing comes for `stall` ms, and with `connection-lost` where the body
   * ends before. One call at a time.
   */
  async fill(target: Uint8Array, hurry?: () => boolean): Promise<number> {
    const { kept, request } = this;
    this.target = target;
    this.filled = 0;
    this.kept = new Uint8Array(0);
    if (kept.length > 0) this.landed(kept);
    if (!this.isFull && !this.over) await this.wait(hurry);
    this.target = undefined;
    request.pause();
    if (this.filled < target.length && (this.over || this.failure))
      throw this.failure ?? new TransferError('connection-lost', 'The request was cut off.');
    return this.filled;
  }

  /** Takes `count` bytes and throws them away. Rejects like `fill`. */
  async skip(count: number): Promise<void> {
    const sink = new Uint8Array(Math.min(count, 64 * 1024));
    for (let left = count; left > 0;) left -= await this.fill(sink.subarray(0, Math.min(left, sink.length)));
  }

  /** Leaves the request to others. */
  release(): void {
    const { end, data } = this.heard;
    this.request.off('end', end).off('close', end).off('data', data);
    // One that fails later fails nobody: its error stays listened for.
  }

  private get isFull(): boolean {
    return this.filled === this.target?.length;
  }

  private async wait(hurry?: () => boolean): Promise<void> {
    let seen = 0;
    let quietFor = 0;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        quietFor = this.filled === seen ? quietFor + watchEvery : 0;
        seen = this.filled;
        if (quietFor >= this.stall) {
          this.failure = new TransferError('timeout', 'The body of a request did not go on.');
          this.wake();
        } else if (hurry?.() === true) this.wake();
      }, watchEvery);
      this.wake = () => {
        clearInterval(timer);
        this.wake = () => undefined;
        resolve();
      };
      this.request.resume();
    });
  }

  private landed(bytes: Uint8Array): void {
    const { target } = this;
    const wanted = target ? bytes.subarray(0, target.length - this.filled) : bytes.subarray(0, 0);
    target?.set(wanted, this.filled);
    this.filled += wanted.length;
    if (wanted.length < bytes.length) this.kept = bytes.subarray(wanted.length);
    if (target && !this.isFull) return;
    this.request.pause();
    this.wake();
  }
}

/** All of a body, of `most` bytes at most. Rejects like `RequestBody`, with `bad-header`, and with `size`. */
export async function wholeBody(request: IncomingMessage, most: number, within = shortWithin): Promise<Buffer> {
  const length = lengthOf(request);
  if (length > most) throw new TransferError('size', `The body has more than ${String(most)} bytes.`, { hint: '' });
  const late = (): void => void request.destroy(new TransferError('timeout', 'The body of a request took too long.'));
  const timer = setTimeout(late, within);
  const whole = Buffer.allocUnsafe(length);
  const body = new RequestBody(request);
  try {
    await body.fill(whole);
  } finally {
    clearTimeout(timer);
    body.release();
  }
  return whole;
}
