import type {
  AdoptEvent,
  ChangedEntry,
  FoundInSnapshot,
  GarbageCollected,
  OneSided,
  Pruned,
  TakenOut,
} from '../lib/index';

/**
 * The lines of `--json` of what becomes of snapshots and garbage, and is in them, of what is registered, and of what
 * differs between two of them.
 */
export type HistoryEvent =
  | ({ readonly event: 'added' } & OneSided)
  | ({ readonly event: 'removed' } & OneSided)
  | ({ readonly event: 'changed' } & ChangedEntry)
  | FoundInSnapshot
  | Pruned
  | GarbageCollected
  | TakenOut
  | AdoptEvent;
