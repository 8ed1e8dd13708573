import type { Duplex } from 'node:stream';
import { TransferError } from '../errors';
import { sendall } from './sendall';

/** The part of a socket's handle that lets a read land in memory of our choice. Not documented, so it is tested for. */
interface UserBufferHandle {
  useUserBuffer(memory: Uint8Array): void;
}

const scratchSize = 64 * 1024;
/**
 * A remainder shorter than this goes through the scratch memory, so that the next header comes along in the same read.
 */
const shortestDirectRead = 16 * 1024;
/** One for all streams: what lands here is moved before the callback returns. Idle connections thus cost no memory. */
const scratch = new Uint8Array(new ArrayBuffer(scratchSize));
/**
 * The first read of a stream is short: it brings a header, and what it brings besides is kept for as long as its sender
 * waits for its turn.
 */
const firstRead = scratch.subarray(0, 4096);
const nothing = new Uint8Array(0);
/** Window in ms for the next bytes, in `moreSoon`. */
const moment = 50;

/**
 * A duplex stream, read by asking: nothing is read from the operating system while nobody waits for it, so the peer
 * feels at once when we are slow. At most one of `more` and `fill` may be pending at a time.
 *
 * Bytes come in through `landed`, either from a socket's `onread` (straight into the memory of `fill`) or from 'data'
 * events.
 */
export class ByteStream {
  private kept: Uint8Array = nothing;
  private target: Uint8Array | undefined;
  private filled = 0;
  private wake: (() => void) | undefined;
  private landing: Uint8Array = firstRead;
  private ended = false;
  private failure: Error | undefined;
  private duplex: Duplex | undefined;
  private handle: UserBufferHandle | undefined;
  /** Ends `moreSoon`. */
  private late: NodeJS.Timeout | undefined;
  /** Bytes that have arrived since the connection was made. */
  bytesRead = 0;
  /** Bytes handed to `write` so far. */
  bytesWritten = 0;

  /** For sockets: options that make reads land where `fill` wants them. Give them to net.connect or net.Socket. */
  readonly onread = {
    buffer: (): Uint8Array => this.landing,
    callback: (count: number): boolean => this.landed(this.landing, count),
  };

  /** What it listens for while it is attached. */
  private readonly heard = {
    data: (bytes: Uint8Array): void => {
      if (!this.landed(bytes, bytes.length)) this.duplex?.pause();
    },
    end: (): void => {
      this.ended = true;
      this.wake?.();
    },
    error: (error: Error): void => {
      this.failure ??= error;
      this.wake?.();
    },
  };

  /** Takes over `duplex`, paused. `intake` tells whether it was made with `onread` or speaks through 'data' events. */
  attach(duplex: Duplex, reading: 'onread' | 'events'): this {
    this.duplex = duplex;
    // Every write that is under way listens for the end.
    duplex.setMaxListeners(0);
    if (reading === 'onread') {
      const handle = (duplex as { _handle?: Partial<UserBufferHandle> })._handle;
      if (typeof handle?.useUserBuffer === 'function') this.handle = handle as UserBufferHandle;
    } else {
      duplex.on('data', this.heard.data);
    }
    duplex.on('end', this.heard.end).on('error', this.heard.error).on('close', this.heard.end);
    duplex.pause();
    return this;
  }

  /**
   * Hands out the duplex, paused and with the bytes that were not taken put back in front, to whoever speaks over it
   * from now on. Nothing may be pending. Of this stream only `destroy` is of use afterwards. Throws `connection-lost`
   * where the peer has finished, or the connection failed.
   */
  detach(): Duplex {
    const { duplex, heard, kept } = this;
    if (!duplex || this.ended || this.failure) throw this.lost();
    for (const [event, listener] of [
      ['data', heard.data],
      ['end', heard.end],
      ['error', heard.error],
      ['close', heard.end],
    ] as const)
      duplex.off(event, listener);
    duplex.pause();
    if (kept.length > 0) duplex.unshift(kept);
    this.kept = nothing;
    return duplex;
  }

  /**
   * Gives the connection up to whoever takes its descriptor with `take`, which must duplicate it: this stream closes
   * its own. Nothing may be pending, and everything written must have been taken by the system. Returns also the bytes
   * that have arrived and were not taken. Throws `connection-lost` where the peer has finished, or what `take` throws.
   */
  handOver<T>(take: (fd: number) => T): { readonly taken: T; readonly early: Uint8Array } {
    const fd = (this.duplex as { _handle?: { readonly fd?: number } } | undefined)?._handle?.fd;
    if (this.ended || this.failure || fd === undefined || fd < 0) throw this.lost();
    const taken = take(fd);
    const early = this.kept;
    this.destroy();
    return { taken, early };
  }

  /** What has arrived and was not taken yet; possibly nothing. Valid until the next call of `more` or `fill`. */
  peek(): Uint8Array {
    return this.kept;
  }

  /** Whether it can still be that the peer speaks: it has neither finished nor failed. */
  get open(): boolean {
    return !this.ended && this.failure === undefined;
  }

  /** Takes `count` bytes off the front of what `peek` shows. */
  take(count: number): void {
    this.kept = count === this.kept.length ? nothing : this.kept.subarray(count);
  }

  /** Waits until `peek` shows more than now; false when the peer has finished. Rejects with `connection-lost`. */
  async more(): Promise<boolean> {
    const before = this.kept.length;
    while (this.kept.length === before) {
      if (this.failure) throw this.lost();
      if (this.ended) return false;
      await this.arrival();
    }
    return true;
  }

  /** Waits `moment` at most; whether `peek` shows more than before. Never rejects. */
  async moreSoon(): Promise<boolean> {
    const before = this.kept.length;
    if (this.ended || this.failure) return false;
    // One for the whole stream, since many wait so. Whoever waits in another way when it fires goes on waiting.
    this.late ??= setTimeout(() => this.wake?.(), moment).unref();
    this.late.refresh();
    await this.arrival();
    return this.kept.length > before;
  }

  /** Fills `target`, in one go where possible; fewer bytes only after `interrupt` or when the peer has finished. */
  async fill(target: Uint8Array): Promise<number> {
    const ready = Math.min(this.kept.length, target.length);
    target.set(this.kept.subarray(0, ready));
    this.take(ready);
    if (ready === target.length) return ready;
    this.target = target;
    this.filled = ready;
    try {
      while (this.target && this.filled < target.length) {
        if (this.failure) throw this.lost();
        if (this.ended) break;
        await this.arrival();
      }
      return this.filled;
    } finally {
      this.target = undefined;
      this.land(scratch);
    }
  }

  /** Ends a pending `fill` with what it has. */
  interrupt(): void {
    if (!this.target) return;
    this.target = undefined;
    this.land(scratch);
    this.wake?.();
  }

  /** Writes all of it; see `sendall`. */
  write(...pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) this.bytesWritten += piece.length;
    return this.duplex ? sendall(this.duplex, ...pieces) : Promise.reject(this.lost());
  }

  /** Sends FIN after everything written; the peer may still speak. */
  finish(): Promise<void> {
    const { duplex } = this;
    return new Promise((resolve) => {
      if (!duplex || duplex.destroyed || duplex.writableEnded) resolve();
      else duplex.once('close', resolve).end(resolve);
    });
  }

  /** Whoever reads, now or later, gets `reason`; writing goes on. */
  stopReading(reason: Error): void {
    this.failure ??= reason;
    this.wake?.();
  }

  /**
   * Throws away what still comes, after `stopReading` too. Resolves when the peer has finished or the stream is closed.
   */
  async discard(): Promise<void> {
    while (!this.ended) {
      this.kept = nothing;
      await this.arrival();
    }
  }

  /** Closes both directions at once; whoever waits gets `reason`, or `connection-lost`. */
  destroy(reason?: Error): void {
    if (reason) this.failure ??= reason;
    this.ended = true;
    clearTimeout(this.late);
    this.interrupt();
    this.duplex?.destroy();
    this.wake?.();
  }

  /** Whether the peer has finished, and everything that it sent was taken. */
  get atEnd(): boolean {
    return this.ended && this.kept.length === 0;
  }

  /** Resolves when the connection is closed in both directions. */
  whenClosed(): Promise<void> {
    const { duplex } = this;
    return new Promise((resolve) => {
      if (!duplex || duplex.destroyed) resolve();
      else duplex.once('close', resolve);
    });
  }

  /** Whether the connection is closed in both directions. */
  get closed(): boolean {
    return this.duplex?.destroyed ?? false;
  }

  private landed(memory: Uint8Array, count: number): boolean {
    this.bytesRead += count;
    const { target } = this;
    if (memory.buffer !== scratch.buffer && memory === this.landing) {
      this.filled += count;
    } else {
      const used = target ? Math.min(count, target.length - this.filled) : 0;
      if (target) target.set(memory.subarray(0, used), this.filled);
      this.filled += used;
      if (used < count) this.keep(memory.subarray(used, count));
    }
    const wanted = target !== undefined && this.filled < target.length;
    const rest = wanted ? target.subarray(this.filled) : nothing;
    this.landing = this.handle && rest.length >= shortestDirectRead ? rest : scratch;
    if (!wanted) this.wake?.();
    return wanted;
  }

  private keep(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.kept.length + bytes.length);
    joined.set(this.kept);
    joined.set(bytes, this.kept.length);
    this.kept = joined;
  }

  /** Lets the socket read, and waits until something happened. */
  private arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = () => {
        this.wake = undefined;
        resolve();
      };
      this.duplex?.resume();
    });
  }

  private land(memory: Uint8Array): void {
    if (this.landing === memory) return;
    this.landing = memory;
    if (!this.closed) this.handle?.useUserBuffer(memory);
  }

  private lost(): TransferError {
    if (this.failure instanceof TransferError) return this.failure;
    return new TransferError('connection-lost', 'The connection was lost.', { cause: this.failure });
  }
}
