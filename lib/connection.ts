import { asTransferError, TransferError } from './errors';
import { encodeFrame, HeaderDecoder, type JsonObject } from './protocol/frame';
import type { ByteStream } from './transport/byte-stream';

/** How long a header may take, in ms; null where the peer may think as long as it likes. */
export interface HeaderDeadlines {
  /** Until its first byte. */
  readonly silence: number | null;
  /** From its first byte (or, for `silence` 0, from now) until it is complete. */
  readonly whole: number;
}

const stallDeadline = 30_000;
const watchEvery = 250;
const lingerFor = 1_000;

/**
 * One byte stream as frames and payloads, with a deadline for everything that is waited for and one reason for its end.
 * Reading and writing are independent of each other; each may have one call pending.
 */
export class Connection {
  private readonly decoder = new HeaderDecoder();
  /** Why nothing can be read from this connection any more, once that is so. */
  failure: TransferError | undefined;

  constructor(
    readonly stream: ByteStream,
    /** Who is at the other end, as text to show. */
    readonly peer: string,
  ) {}

  /**
   * The next header, or undefined when the peer finished between two frames. Rejects with `bad-frame` (also for an end in
   * the middle of a header), `timeout` or `connection-lost`.
   */
  async readHeader(deadlines: HeaderDeadlines): Promise<JsonObject | undefined> {
    const { decoder, stream } = this;
    decoder.reset();
    let timer: NodeJS.Timeout | undefined;
    let wholeIsRunning = false;
    try {
      for (;;) {
        const bytes = stream.peek();
        if (bytes.length > 0) {
          stream.take(decoder.push(bytes));
          if (decoder.header) return decoder.header;
        }
        if (decoder.started && !wholeIsRunning) {
          clearTimeout(timer);
          timer = this.expire(deadlines.whole, 'The header did not arrive in time.');
          wholeIsRunning = true;
        } else if (timer === undefined && deadlines.silence !== null) {
          timer = this.expire(deadlines.silence, 'Nothing arrived in time.');
        }
        if (!(await stream.more())) {
          decoder.finish();
          return undefined;
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Puts payload bytes into `target` until it is full; returns how many. Fewer come back only when `hurry` answered true,
   * which is asked now and then while the peer is slow. Rejects with `connection-lost` when the peer finishes before, and
   * with `timeout` after 30 s without a byte.
   */
  async fill(target: Uint8Array, hurry?: () => boolean): Promise<number> {
    const { stream } = this;
    if (stream.peek().length >= target.length) return stream.fill(target);
    let seen = stream.bytesRead;
    let quietFor = 0;
    const watch = setInterval(() => {
      quietFor = stream.bytesRead === seen ? quietFor + watchEvery : 0;
      seen = stream.bytesRead;
      if (quietFor >= stallDeadline) this.close(new TransferError('timeout', `Nothing arrived for ${String(stallDeadline / 1000)} s.`));
      else if (hurry?.()) stream.interrupt();
    }, watchEvery);
    try {
      const count = await stream.fill(target);
      if (count < target.length && stream.atEnd) {
        throw new TransferError('connection-lost', 'The sender stopped in the middle of the file.', { hint: '' });
      }
      return count;
    } catch (error) {
      this.failure ??= asTransferError(error, 'connection-lost', 'The connection was lost');
      throw this.failure;
    } finally {
      clearInterval(watch);
    }
  }

  /** Reads `count` payload bytes and throws them away, so that the next frame is found. Rejects like `fill`. */
  async skip(count: number): Promise<void> {
    const sink = new Uint8Array(Math.min(count, 256 * 1024));
    for (let left = count; left > 0; ) left -= await this.fill(sink.subarray(0, Math.min(left, sink.length)));
  }

  /** Sends a header, with the first payload bytes behind it if given. Resolves when the system has taken them. */
  send(header: object, ...payload: readonly Uint8Array[]): Promise<void> {
    return this.sendBytes(encodeFrame(header), ...payload);
  }

  /** Sends payload bytes; the memory is free again when this resolves. */
  sendBytes(...pieces: readonly Uint8Array[]): Promise<void> {
    return this.stream.write(...pieces);
  }

  /** Sends FIN. */
  finish(): Promise<void> {
    return this.stream.finish();
  }

  /**
   * Ends a connection whose peer may still be sending: FIN, then what still comes is thrown away for a second at most. A
   * socket closed with bytes unread answers with a reset, which would destroy our last frame on its way.
   */
  async linger(): Promise<void> {
    await this.finish();
    const timer = setTimeout(() => this.stream.destroy(), lingerFor);
    try {
      do this.stream.take(this.stream.peek().length);
      while (await this.stream.more());
    } catch {
      // The peer closed first, or the second is over: either way it has ended, which is all that was wanted.
    } finally {
      clearTimeout(timer);
      this.stream.destroy();
    }
  }

  /** Bytes of the connection that were taken by `readHeader`, `fill` and `skip` so far. */
  get consumed(): number {
    return this.stream.bytesRead - this.stream.peek().length;
  }

  /** Stops reading: whoever reads gets `reason`; what is being written still goes out. */
  stopReading(reason: TransferError): void {
    this.failure ??= reason;
    this.stream.stopReading(this.failure);
  }

  /** Closes both directions at once. The first reason stays. */
  close(reason?: TransferError): void {
    this.failure ??= reason;
    this.stream.destroy(this.failure);
  }

  private expire(ms: number, message: string): NodeJS.Timeout {
    return setTimeout(() => this.close(new TransferError('timeout', message)), ms);
  }
}
