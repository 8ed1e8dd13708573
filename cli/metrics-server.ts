// Figures for Prometheus over HTTP. The client is loaded by whoever wants metrics, and by nobody else.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Registry } from 'prom-client';
import { cannotListen, formatAddress, parseWebAddress, load, type UnidentifiedConnection } from '../lib/internal';
import { wrongUsage } from './usage';

/** Deadline of a request in ms. */
const answerWithin = 10_000;
/** Connections that ask for nothing and keep their whole window, and the most that there are. */
const calmUnidentified = 8;
const mostUnidentified = 16;
/** Most connections at a time. */
const mostConnections = 32;

/** Serves what is counted in its registry at `/metrics`. */
export class MetricsServer {
  protected readonly prometheus = require('prom-client') as typeof import('prom-client');
  protected readonly registry: Registry = new this.prometheus.Registry();
  private readonly server: Server;
  /** Who asks for nothing at this moment: nobody of them keeps a scraper out. */
  private readonly unidentified = new (load.unidentified().UnidentifiedConnections)(
    Infinity,
    calmUnidentified,
    mostUnidentified,
  );
  private readonly bySocket = new WeakMap<Socket, UnidentifiedConnection>();

  constructor() {
    this.server = createServer((request, response) => void this.answer(request, response));
    this.server.requestTimeout = this.server.headersTimeout = answerWithin;
    this.server.maxConnections = mostConnections;
    this.server.on('connection', (socket: Socket) => this.greet(socket));
  }

  /** Begins to serve; where, as a URL. Rejects with `cannot-connect`. */
  async listen(address: string): Promise<string> {
    const { host, port } = parseMetricsAddress(address);
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host, port }, resolve);
    }).catch((cause: unknown) => {
      throw cannotListen({ kind: 'tcp', host, port }, cause, '--metrics');
    });
    this.server.removeAllListeners('error').on('error', () => undefined); // an accept that failed: the next is served
    const bound = this.server.address() as AddressInfo;
    const where = formatAddress({ kind: 'tcp', host, port: bound.port });
    return `${where.replace(/^tcp:/, 'http:')}/metrics`;
  }

  async close(): Promise<void> {
    if (!this.server.listening) return;
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  private greet(socket: Socket): void {
    const connection = { close: () => void socket.destroy() };
    this.bySocket.set(socket, connection);
    this.unidentified.add(connection);
    socket.once('close', () => this.unidentified.delete(connection));
  }

  private async answer({ method, url, socket }: IncomingMessage, response: ServerResponse): Promise<void> {
    const connection = this.bySocket.get(socket);
    if (connection) this.unidentified.delete(connection);
    response.once('close', () => {
      if (connection && !socket.destroyed) this.unidentified.add(connection);
    });
    const wanted = url?.replace(/\?.*/s, '') === '/metrics';
    if (!wanted || (method !== 'GET' && method !== 'HEAD')) {
      response.writeHead(wanted ? 405 : 404).end();
      return;
    }
    const text = await this.registry.metrics();
    response.writeHead(200, { 'content-type': this.registry.contentType }).end(method === 'GET' ? text : undefined);
  }
}

/**
 * Reads `HOST:PORT`; a port alone is one of loopback, so that nobody else sees it who was not said to. Throws `usage`.
 */
export function parseMetricsAddress(text: string): { readonly host: string; readonly port: number } {
  if (/:\d+$|^\d+$/.test(text)) return parseWebAddress(text);
  throw wrongUsage(`Metrics are served at HOST:PORT or a port of this machine, and not at "${text}".`);
}
