import { asTransferError, TransferError } from '../errors';
import { encodeFrames, headerAt, HeaderDecoder, type JsonObject } from '../wire/frame';
import type { ByteStream } from './byte-stream';

/** How long a header may take, in ms; null where the peer may think as long as it likes. */
export interface HeaderDeadlines {
  /** Until its first byte; 0 if `whole` counts from now. */
  readonly silence: number | null;
  /** From its first byte until it is complete. */
  readonly whole: number;
}

/** Ms without any byte, while one is due, after which a connection has failed. */
export const usualStall = 30_000;
const watchEvery = 50;
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
    private readonly stall = usualStall,
  ) {}

  /**
   * The next header, or undefined when the peer finished between two frames. Rejects with `bad-frame` (also for an end
   * in the middle of a header), `timeout` or `connection-lost`.
   */
  async readHeader(deadlines: HeaderDeadlines): Promise<JsonObject | undefined> {
    const { decoder, stream } = this;
    const { silence, whole } = deadlines;
    decoder.reset();
    let timer = silence === 0 ? this.expire(whole, `A message from ${this.peer} did not arrive in time.`) : undefined;
    let wholeIsRunning = silence === 0;
    try {
      for (;;) {
        const bytes = stream.peek();
        if (bytes.length > 0) {
          stream.take(decoder.push(bytes));
          if (decoder.header) return decoder.header;
        }
        if (decoder.started && !wholeIsRunning) {
          clearTimeout(timer);
          timer = this.expire(whole, `A message from ${this.peer} did not arrive in time.`);
          wholeIsRunning = true;
        } else if (timer === undefined && silence !== null) {
          timer = this.expire(silence, 'Nothing arrived in time.');
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
   * The same for headers that nothing stands between: all that are here as a whole, at least one; none when the peer
   * has finished.
   */
  async readHeaders(deadlines: HeaderDeadlines): Promise<readonly JsonObject[]> {
    const first = await this.readHeader(deadlines);
    if (first === undefined) return [];
    const headers = [first];
    const bytes = this.stream.peek();
    let taken = 0;
    for (let next = headerAt(bytes, taken); next; next = headerAt(bytes, taken)) {
      headers.push(next.header);
      taken = next.end;
    }
    this.stream.take(taken);
    return headers;
  }

  /**
   * Waits until something of the next frame is here, or the peer has finished: `silence` ms at most, null for any time.
   * Rejects with `timeout` or `connection-lost`.
   */
  async begins(silence: number | null): Promise<void> {
    const { stream } = this;
    if (stream.peek().length > 0) return;
    const timer = silence === null ? undefined : this.expire(silence, 'Nothing arrived in time.');
    try {
      await stream.more();
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Puts payload bytes into `target` until it is full; returns how many. Fewer come back only when `hurry` answered
   * true, which is asked now and then while the peer is slow. Rejects with `connection-lost` when the peer finishes
   * before, and with `timeout` after 30 s without a byte.
   */
  async fill(target: Uint8Array, hurry?: () => boolean): Promise<number> {
    const { stream } = this;
    if (stream.peek().length >= target.length) return stream.fill(target);
    const count = await this.watch(stream.fill(target), hurry);
    if (count < target.length && stream.atEnd) throw this.cut();
    return count;
  }

  /** Waits until a payload byte is here. Rejects like `fill`. */
  async arrival(): Promise<void> {
    const { stream } = this;
    if (stream.peek().length === 0 && !(await this.watch(stream.more()))) throw this.cut();
  }

  /** Reads `count` payload bytes and throws them away, so that the next frame is found. Rejects like `fill`. */
  async skip(count: number): Promise<void> {
    const sink = new Uint8Array(Math.min(count, 256 * 1024));
    for (let left = count; left > 0;) left -= await this.fill(sink.subarray(0, Math.min(left, sink.length)));
  }

  /**
   * Sends headers, one after another. Resolves when the system has taken them; rejects with `timeout` when the peer
   * reads nothing for 30 s.
   */
  async send(...headers: readonly object[]): Promise<void> {
    const timer = setTimeout(
      () => this.close(new TransferError('timeout', `The peer read nothing for ${String(this.stall / 1000)} s.`)),
      this.stall,
    );
    try {
      await this.sendBytes(encodeFrames(headers));
    } catch (error) {
      throw this.failure ?? error;
    } finally {
      clearTimeout(timer);
    }
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
   * Ends a connection whose peer may still be sending: FIN, then what still comes is thrown away for `within` ms at
   * most. A socket closed with bytes unread answers with a reset, which would destroy our last frame on its way.
   */
  async linger(within = lingerFor): Promise<void> {
    const timer = setTimeout(() => this.stream.destroy(), within);
    try {
      await this.finish();
      await this.stream.discard();
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

  /** Our answers to such a peer still go out, so only reading ends. */
  private expire(ms: number, message: string): NodeJS.Timeout {
    return setTimeout(() => this.stopReading(new TransferError('timeout', message)), ms);
  }

  private async watch<T>(reading: Promise<T>, hurry?: () => boolean): Promise<T> {
    const { stream, stall } = this;
    let seen = stream.bytesRead;
    let quietFor = 0;
    const timer = setInterval(() => {
      quietFor = stream.bytesRead === seen ? quietFor + watchEvery : 0;
      seen = stream.bytesRead;
      if (quietFor >= stall)
        this.stopReading(new TransferError('timeout', `Nothing arrived for ${String(stall / 1000)} s.`));
      else if (hurry?.()) stream.interrupt();
    }, watchEvery);
    try {
      return await reading;
    } catch (error) {
      this.failure ??= asTransferError(error, 'connection-lost', 'The connection was lost');
      throw this.failure;
    } finally {
      clearInterval(timer);
    }
  }

  private cut(): TransferError {
    // A network that is gone sends no FIN: whoever sends it there has ended, or gave the file up (PROTOCOL.md 4.5).
    this.failure ??= new TransferError(
      'connection-lost',
      'The sender ended in the middle of the file: it was stopped, or gave it up.',
      { hint: 'Nothing of that file is stored: it comes whole when it is sent again.' },
    );
    return this.failure;
  }
}
