import { createServer, request, type Server } from 'node:http';
import { mkdirSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { once } from 'node:events';
import { SendallProcess } from '../cli/sendall-process';

/** The built command that serves a page. */
export class ServedPage {
  private constructor(
    readonly process: SendallProcess,
    readonly url: string,
  ) {}

  /** `sendall receive DIRECTORY --web ADDRESS`; the token stays the same where `token` is given. */
  static async receive(
    directory: string,
    words: readonly string[] = [],
    { address = '127.0.0.1:0', token }: { readonly address?: string; readonly token?: string } = {},
  ): Promise<ServedPage> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const own = token === undefined ? {} : { env: { SENDALL_WEB_TOKEN: token } };
    return ServedPage.of(
      new SendallProcess(['receive', directory, '--listen', '127.0.0.1:0', '--web', address, '--json', ...words], own),
    );
  }

  static async of(process: SendallProcess): Promise<ServedPage> {
    const [, url = ''] = await process.says(/"url":"(http[^"]+)"/);
    return new ServedPage(process, url);
  }

  get token(): string {
    return new URL(this.url).hash.slice(1);
  }

  async end(signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
    this.process.child.kill(signal);
    await this.process.ended;
  }
}

/** A port that was free a moment ago: the page has to come back on the same one. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** A web server in front, which serves the page below `/drop/` and can be cut off. */
export class Front {
  /** Nobody gets through. */
  cut = false;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
    /** HOST:PORT that the page behind is to listen on. */
    readonly behind: string,
  ) {}

  static async open(): Promise<Front> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const front = new Front(server, `http://127.0.0.1:${String(port)}/drop/`, `127.0.0.1:${String(await freePort())}`);
    server.on('connection', (socket: Socket) => {
      if (front.cut) socket.destroy();
      front.sockets.add(socket);
      socket.once('close', () => front.sockets.delete(socket));
    });
    server.on('request', (asked, response) => {
      const [host = '', port = ''] = front.behind.split(':');
      const path = (asked.url ?? '').replace(/^\/drop\//, '/');
      const passed = request({ host, port, path, method: asked.method, headers: asked.headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
        answer.once('error', () => response.destroy());
      });
      passed.once('error', () => response.destroy());
      response.once('close', () => passed.destroy());
      asked.pipe(passed);
    });
    return front;
  }

  /** Every connection ends, and none begins until `mend`. */
  break(): void {
    this.cut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend(): void {
    this.cut = false;
  }

  async close(): Promise<void> {
    this.break();
    this.server.close();
    await once(this.server, 'close');
  }
}
