import type { Listener } from '../progress';
import type { IfExists } from '../store/store';

/** What the receiver decides for the peer of one session. */
export interface SessionRules {
  /** The id of its key. */
  readonly peer: string;
  readonly ifExists: IfExists;
  /** Whether it may learn digests of files that it did not send: a `write` key may not. */
  readonly mayCompare: boolean;
  readonly on: Listener;
}
