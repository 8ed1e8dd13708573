import { Connection } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import { encodeFrame } from '../wire/frame';
import { ownValue, quoted, type JsonObject } from '../wire/json-object';
import type { Dialed } from '../net/socket';

/** A header and the payload behind it. */
export interface Message {
  readonly header: JsonObject;
  /** As many bytes as the header's `data_size` says; none where it has no such key. */
  readonly payload: Buffer;
}

/** Window in ms for a peer to send what is being read, or to take what is being sent. */
export const usualPatience = 10_000;

const noAnswer = 'The peer closed without an answer.';

/**
 * Small things said over one connection: bytes, texts, messages. Each is held in memory whole, so the caller says how
 * large it may be, and nothing is allocated for more; and each has to be complete within `patience` ms, so that no peer
 * holds up anyone by silence or by dribbling. Reads and sends are independent; of each kind only one at a time.
 *
 * Rejects with `timeout`, `connection-lost`, and `bad-frame` or `bad-header` for what makes no sense. After that
 * nothing more can be read. Files belong to `send` and `createReceiver`.
 */
export class Conversation {
  private readonly connection: Connection;
  /** Who is at the other end, as an address to show. */
  readonly peer: string;
  /** Our own end of it. */
  readonly own: string;

  constructor(
    { stream, peer, own }: Dialed,
    private readonly patience = usualPatience,
  ) {
    this.connection = new Connection(stream, peer, patience);
    this.peer = peer;
    this.own = own;
  }

  /**
   * What `recv(most)` returns: some bytes, at most so many, cut wherever the network happened to; none once the peer
   * has finished.
   */
  async receive(most: number): Promise<Buffer> {
    return this.within(() => this.some(most));
  }

  /** Like `receive`, where the peer must not finish yet. */
  async receiveAnswer(most: number): Promise<Buffer> {
    const bytes = await this.receive(most);
    if (bytes.length === 0) throw this.broken('connection-lost', noAnswer);
    return bytes;
  }

  /**
   * Exactly `count` bytes. A `count` that the peer announced is refused here if it is not a whole number from 0 to
   * `most`.
   */
  async read(count: number, most = count): Promise<Buffer> {
    if (!Number.isSafeInteger(count) || count < 0 || count > most) {
      throw this.broken(
        'bad-frame',
        `The peer announced ${String(count)} bytes; from 0 to ${String(most)} are taken here.`,
      );
    }
    const bytes = Buffer.alloc(count);
    const filled = await this.within(() => this.connection.stream.fill(bytes));
    if (filled < count)
      throw this.broken('connection-lost', `The peer closed after ${String(filled)} of ${String(count)} bytes.`);
    return bytes;
  }

  /** Everything up to the end of the stream, which may be nothing; `bad-frame` if that is more than `most` bytes. */
  async readToEnd(most: number): Promise<Buffer> {
    return this.within(async () => {
      let all = Buffer.alloc(0);
      for (;;) {
        const bytes = await this.some(most + 1);
        if (bytes.length === 0) return all;
        all = Buffer.concat([all, bytes]);
        if (all.length > most)
          throw this.broken('bad-frame', `The peer sent more than the ${String(most)} bytes that are taken here.`);
      }
    });
  }

  /**
   * The next message, with a payload of at most `most` bytes; undefined when the peer has finished. With `idle` it may
   * take as long as it likes to begin, and has to be complete in time only from then on.
   */
  async readMessage(most: number, { idle = false } = {}): Promise<Message | undefined> {
    const header = await this.connection
      .readHeader({ silence: idle ? null : 0, whole: this.patience })
      .catch((error: unknown) => {
        throw this.because(error);
      });
    if (header === undefined) return undefined;
    const size = ownValue(header, 'data_size') ?? 0;
    if (typeof size !== 'number')
      throw this.broken('bad-header', `The header's data_size is ${quoted(size)}, not a number.`);
    return { header, payload: await this.read(size, most) };
  }

  /** Like `readMessage`, where the peer must not finish yet. */
  async readAnswer(most: number): Promise<Message> {
    const message = await this.readMessage(most);
    if (message === undefined) throw this.broken('connection-lost', noAnswer);
    return message;
  }

  /** Sends a header and, where there is a payload, its length as `data_size` in it and the payload behind. */
  sendMessage(header: object, payload?: Uint8Array): Promise<void> {
    return payload
      ? this.send(encodeFrame({ ...header, data_size: payload.length }), payload)
      : this.send(encodeFrame(header));
  }

  /** Sends all of it, as sendall does: resolves once the system has taken every byte. */
  async send(...pieces: readonly Uint8Array[]): Promise<void> {
    const late = new TransferError('timeout', `The peer did not take what was sent within ${this.seconds}.`, {
      hint: '',
    });
    const timer = setTimeout(() => this.close(late), this.patience);
    try {
      await this.connection.sendBytes(...pieces);
    } catch (error) {
      throw this.because(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends FIN: nothing more will be said from here. The peer may still speak. */
  finish(): Promise<void> {
    return this.connection.finish();
  }

  /** Ends it in peace: FIN, and at most a second for the peer to finish too. */
  end(): Promise<void> {
    return this.connection.linger();
  }

  /** Ends it at once. Whoever still reads or sends gets `reason`. */
  close(reason?: TransferError): void {
    this.connection.close(reason);
  }

  private get seconds(): string {
    return `${String(this.patience / 1000)} s`;
  }

  private async some(most: number): Promise<Buffer> {
    const { stream } = this.connection;
    if (stream.peek().length === 0) await stream.more();
    const bytes = Buffer.from(stream.peek().subarray(0, most));
    stream.take(bytes.length);
    return bytes;
  }

  private async within<T>(reading: () => Promise<T>): Promise<T> {
    const late = new TransferError('timeout', `The peer did not send what was expected within ${this.seconds}.`, {
      hint: '',
    });
    const timer = setTimeout(() => this.connection.stopReading(late), this.patience);
    try {
      return await reading();
    } catch (error) {
      throw this.because(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Why it broke, where that is known, rather than how that showed. */
  private because(error: unknown): TransferError {
    return this.connection.failure ?? asTransferError(error, 'unexpected', 'The conversation failed');
  }

  private broken(code: 'bad-frame' | 'bad-header' | 'connection-lost', message: string): TransferError {
    const error = new TransferError(code, message, { hint: '' });
    this.connection.stopReading(error);
    return error;
  }
}
