import type { RelayFigures } from '../lib/internal';
import { MetricsServer } from './metrics-server';

/** What a relay tells Prometheus: asked for when it is scraped. */
export class RelayMetrics extends MetricsServer {
  constructor(figures: () => RelayFigures) {
    super();
    const registers = [this.registry];
    const gauges: readonly [string, string, keyof RelayFigures][] = [
      ['sendall_relay_waiting', 'Who waits for the other side.', 'waiting'],
      ['sendall_relay_open_pairs', 'Pairs that are carried now.', 'open'],
    ];
    const counters: readonly [string, string, keyof RelayFigures][] = [
      ['sendall_relay_pairs_total', 'Pairs that were joined.', 'pairs'],
      ['sendall_relay_bytes_total', 'Bytes that were carried, in both directions.', 'bytes'],
      ['sendall_relay_over_quota_total', 'Pairs that were ended because of the quota.', 'overQuota'],
      [
        'sendall_relay_refused_total',
        'Who was turned away: no request, too early, wrong password, no room.',
        'refused',
      ],
    ];
    for (const [name, help, key] of gauges)
      new this.prometheus.Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(figures()[key]);
        },
      });
    for (const [name, help, key] of counters)
      new this.prometheus.Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(figures()[key]);
        },
      });
  }
}
