import net from 'node:net';
import { encodeFrame, HeaderDecoder, type JsonObject } from '../../lib/wire/frame';

/** One connection as a raw receiver sees it. Nothing is read unless the script asks for it. */
export class RawConnection {
  private kept: Buffer = Buffer.alloc(0);
  /** Bytes taken from the socket so far. */
  bytesRead = 0;

  constructor(readonly socket: net.Socket) {
    socket.on('error', () => undefined);
  }

  /** Up to `most` bytes; none once the sender has finished. */
  async read(most: number): Promise<Buffer> {
    while (this.kept.length === 0) {
      const bytes = this.socket.read() as Buffer | null;
      if (bytes) {
        this.kept = bytes;
        this.bytesRead += bytes.length;
      } else if (this.socket.readableEnded || this.socket.destroyed) {
        return this.kept;
      } else {
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            for (const event of ['readable', 'end', 'close']) this.socket.off(event, wake);
            resolve();
          };
          for (const event of ['readable', 'end', 'close']) this.socket.once(event, wake);
        });
      }
    }
    const bytes = this.kept.subarray(0, most);
    this.kept = this.kept.subarray(bytes.length);
    return bytes;
  }

  async header(): Promise<JsonObject | undefined> {
    const decoder = new HeaderDecoder();
    while (!decoder.header) {
      const bytes = await this.read(65536);
      if (bytes.length === 0) return undefined;
      const taken = decoder.push(bytes);
      this.kept = Buffer.concat([bytes.subarray(taken), this.kept]);
    }
    return decoder.header;
  }

  /** The next file, whole; undefined when the sender has finished. */
  async file(): Promise<{ readonly header: JsonObject; readonly content: Buffer } | undefined> {
    const header = await this.header();
    if (!header) return undefined;
    const pieces: Buffer[] = [];
    for (let left = Number(header['file_size']); left > 0;) {
      const piece = await this.read(left);
      if (piece.length === 0) return undefined;
      pieces.push(piece);
      left -= piece.length;
    }
    return { header, content: Buffer.concat(pieces) };
  }

  answer(frame: object): void {
    this.socket.write(encodeFrame(frame));
  }

  confirm(header: JsonObject, more: object = {}): void {
    const { file_name, file_size, md5 } = header;
    this.answer({ type: 'receipt', file_name, file_size, md5, verified: 'device', path: file_name, ...more });
  }

  /** Confirms every file that comes, until the sender finishes; returns their names. */
  async confirmAll(): Promise<string[]> {
    const names: string[] = [];
    for (let file = await this.file(); file; file = await this.file()) {
      names.push(String(file.header['file_name']));
      this.confirm(file.header);
    }
    this.socket.end();
    return names;
  }
}

/**
 * A receiver that does what a test's script says: the first script for the first connection, the last for all others.
 */
export class RawReceiver {
  readonly connections: RawConnection[] = [];

  private constructor(
    private readonly server: net.Server,
    readonly target: string,
  ) {}

  static listen(...scripts: readonly ((connection: RawConnection) => unknown)[]): Promise<RawReceiver> {
    return new Promise((resolve) => {
      const server = net.createServer({ allowHalfOpen: true });
      server.listen(0, '127.0.0.1', () => {
        const receiver = new RawReceiver(
          server,
          `tcp://127.0.0.1:${String((server.address() as net.AddressInfo).port)}`,
        );
        server.on('connection', (socket) => {
          const connection = new RawConnection(socket);
          receiver.connections.push(connection);
          const script = scripts[Math.min(receiver.connections.length, scripts.length) - 1];
          void script?.(connection);
        });
        resolve(receiver);
      });
    });
  }

  close(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}
