import type { Checks, LastReceived, ReceiverStatus } from './status-file';

/** The line of `--json` of `sendall status`; times are ISO 8601, sizes bytes. What is not known from afar is null. */
export interface StatusEvent {
  readonly event: 'status';
  /** Null where none runs. */
  readonly receiver: Omit<ReceiverStatus, 'last_received'> | null;
  readonly last_received: LastReceived | null;
  readonly free: number | null;
  /** The last verification of everything that was started there. */
  readonly verified: NonNullable<Checks['verify']> | null;
  readonly backups: readonly {
    readonly name: string;
    readonly snapshots: number;
    readonly newest: string;
    readonly verified_at: string | null;
    readonly drill: { readonly at: string; readonly failures: number } | null;
  }[];
  /** What makes the exit code 1. */
  readonly problems: readonly string[];
}
