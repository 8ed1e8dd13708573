// What a receiver tells Prometheus. The client is loaded by whoever wants metrics, and by nobody else.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Counter, Gauge, Registry } from 'prom-client';
import type { TransferEvent } from '../lib/index';
import { formatAddress, load, parseAddress, TransferError } from '../lib/internal';
import { wrongUsage } from './usage';

/** Whoever asks has so long, in ms, and so many may ask at once. */
const answerWithin = 10_000;
const mostScrapers = 16;

/** Counts what a receiver does, from its events, and serves it over HTTP at `/metrics`. */
export class Metrics {
  private readonly registry: Registry;
  private readonly bytes: Counter;
  private readonly receipts: Counter<'verified'>;
  private readonly refusals: Counter<'code'>;
  private readonly sessions: Gauge;
  private readonly active = new Set<string>();
  private readonly server: Server;

  constructor() {
    const prometheus = require('prom-client') as typeof import('prom-client');
    const registry = new prometheus.Registry();
    const registers = [registry];
    this.registry = registry;
    this.bytes = new prometheus.Counter({
      name: 'sendall_received_bytes_total',
      help: 'Bytes of files that came and were verified, without those that were there before.',
      registers,
    });
    this.receipts = new prometheus.Counter({
      name: 'sendall_receipts_total',
      help: 'Files verified and committed, by how far the reading back went.',
      labelNames: ['verified'],
      registers,
    });
    this.refusals = new prometheus.Counter({
      name: 'sendall_refusals_total',
      help: 'Files and transfers that failed or were refused, by code.',
      labelNames: ['code'],
      registers,
    });
    this.sessions = new prometheus.Gauge({
      name: 'sendall_active_sessions',
      help: 'Transfers that have begun and not ended.',
      registers,
    });
    new prometheus.Counter({
      name: 'sendall_read_back_seconds_total',
      help: 'Seconds of reading back: of large files from the flush of their last byte on, of batches of small ones all.',
      registers,
      collect() {
        this.reset();
        this.inc(load.readBackTime().readBackTime());
      },
    });
    this.server = createServer((request, response) => void this.answer(request, response));
    this.server.requestTimeout = this.server.headersTimeout = answerWithin;
    this.server.maxConnections = mostScrapers;
  }

  note(event: TransferEvent): void {
    const { id } = event;
    if (event.event === 'received') {
      this.receipts.inc({ verified: event.verified ?? 'no' });
      if (event.verified_at === undefined) this.bytes.inc(Math.max(0, event.file_size - (event.kept ?? 0)));
    } else if (event.event === 'skipped') {
      this.refusals.inc({ code: 'exists' });
    } else if (event.event === 'failed' && event.code !== 'interrupted') {
      this.refusals.inc({ code: event.code });
    }
    if (id === undefined) return;
    if (event.event === 'summary' || (event.event === 'failed' && event.file_name === undefined))
      this.active.delete(id);
    else this.active.add(id);
    this.sessions.set(this.active.size);
  }

  /** Begins to serve; where, as a URL. Rejects with `cannot-connect`. */
  async listen(address: string): Promise<string> {
    const { host, port } = parseMetricsAddress(address);
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host, port }, resolve);
    }).catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TransferError('cannot-connect', `Metrics cannot be served: ${reason}.`, {
        cause,
        hint: 'Choose another address with --metrics.',
      });
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

  private async answer({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    const wanted = url?.replace(/\?.*/s, '') === '/metrics';
    if (!wanted || (method !== 'GET' && method !== 'HEAD')) {
      response.writeHead(wanted ? 405 : 404).end();
      return;
    }
    const text = await this.registry.metrics();
    response.writeHead(200, { 'content-type': this.registry.contentType }).end(method === 'GET' ? text : undefined);
  }
}

/** Reads `HOST:PORT`; a port alone is one of loopback, so that nobody else sees it who was not said to. Throws `usage`. */
export function parseMetricsAddress(text: string): { readonly host: string; readonly port: number } {
  const port = /^:?(\d{1,5})$/.exec(text)?.[1];
  const address = parseAddress(port === undefined ? text : `127.0.0.1:${port}`);
  if (address.kind !== 'tcp' || (port === undefined && !/:\d+$/.test(text)))
    throw wrongUsage(`Metrics are served at HOST:PORT or a port of this machine, and not at "${text}".`);
  return address;
}
