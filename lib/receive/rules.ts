import type { NamesTaken } from '../name';
import type { Listener } from '../progress';
import type { BackupNames } from './backup-names';
import type { IfExists } from '../store/store';

/** What the receiver decides for the peer of one session. */
export interface SessionRules {
  /** The id of its key. */
  readonly peer: string;
  readonly ifExists: IfExists;
  /** Whether it may learn digests of files that it did not send: a `write` key may not. */
  readonly mayCompare: boolean;
  /** Which names it may store; default `any`. */
  readonly names?: NamesTaken | undefined;
  /** Whether what has a receipt already is read back again before that is repeated. PROTOCOL.md 17.4. */
  readonly check?: boolean;
  readonly on: Listener;
  /** The names that nothing is received under; absent where everything goes to a place of its own. */
  readonly backups?: BackupNames;
}
