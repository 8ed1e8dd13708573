import type { Counter, Gauge } from 'prom-client';
import type { TransferEvent } from '../lib/index';
import { load } from '../lib/internal';
import { MetricsServer } from './metrics-server';

/** Counts what a receiver does, from its events, and serves it over HTTP at `/metrics`. */
export class Metrics extends MetricsServer {
  private readonly bytes: Counter;
  private readonly receipts: Counter<'verified'>;
  private readonly refusals: Counter<'code'>;
  private readonly sessions: Gauge;
  private readonly active = new Set<string>();

  constructor() {
    super();
    const { prometheus } = this;
    const registers = [this.registry];
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
}
