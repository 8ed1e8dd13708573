import { createHash } from 'node:crypto';
import net from 'node:net';
import { encodeFrame, HeaderDecoder, type JsonObject } from '../../lib/wire/frame';

export function md5(content: string | Uint8Array): string {
  return createHash('md5').update(content).digest('hex');
}

/** A whole frame; `more` adds keys to its header or replaces them. */
export function fileFrame(name: string, content: string | Uint8Array, more: object = { reply: true }): Buffer {
  const payload = Buffer.from(content);
  return Buffer.concat([
    encodeFrame({ file_name: name, file_size: payload.length, md5: md5(payload), ...more }),
    payload,
  ]);
}

/** A peer that writes what a test tells it to, byte for byte, and reads frames. */
export class RawSender {
  /** When both directions are closed. */
  readonly closed: Promise<void>;
  /** How the connection broke, if it did. */
  failure: Error | undefined;
  private readonly decoder = new HeaderDecoder();
  private readonly frames: JsonObject[] = [];
  private ended = false;
  private wake: () => void = () => undefined;

  private constructor(readonly socket: net.Socket) {
    socket.on('data', (bytes) => this.read(bytes));
    socket.on('error', (error) => {
      this.failure = error;
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.ended = true;
        this.wake();
        resolve();
      });
    });
  }

  static dial(port: number, host = '127.0.0.1'): Promise<RawSender> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host, noDelay: true, allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        socket.once('end', () => socket.end());
        resolve(new RawSender(socket));
      });
    });
  }

  /** Resolves when the system has taken the bytes; also when the other side no longer wants them. */
  send(...bytes: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve) => this.socket.write(Buffer.concat(bytes), () => resolve()));
  }

  finish(): void {
    this.socket.end();
  }

  /** The next frame from the other side; undefined when there are no more. */
  async frame(): Promise<JsonObject | undefined> {
    for (;;) {
      const frame = this.frames.shift();
      if (frame || this.ended) return frame;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** All frames until the other side has closed. */
  async framesToTheEnd(): Promise<JsonObject[]> {
    await this.closed;
    return this.frames.splice(0);
  }

  private read(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0;) {
      rest = rest.subarray(this.decoder.push(rest));
      if (!this.decoder.header) continue;
      this.frames.push(this.decoder.header);
      this.decoder.reset();
    }
    this.wake();
  }
}

/** Sends `frames` on a connection of its own, then FIN, and returns the answers. */
export async function exchange(port: number, ...frames: readonly Uint8Array[]): Promise<JsonObject[]> {
  const sender = await RawSender.dial(port);
  void sender.send(...frames);
  sender.finish();
  return sender.framesToTheEnd();
}
