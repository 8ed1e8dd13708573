import type { NamesTaken } from '../name';
import type { Listener } from '../progress';
import type { BackupNames } from './backup-names';
import type { MetadataUse } from '../store/store';
import type { IfExists } from '../store/store';

/** What was asked for, where the peer sends what it is asked for. PROTOCOL.md 23.5. */
export interface AskedFor {
  /** Whether an entry of this name, and whatever it is, was asked for. */
  chosen(name: string): boolean;
}

/** What the receiver decides for the peer of one session. */
export interface SessionRules {
  /** The id of its key. */
  readonly peer: string;
  readonly ifExists: IfExists;
  /** Whether it may learn digests of files that it did not send: a `write` key may not. */
  readonly mayCompare: boolean;
  /** Which names it may store; default `any`. */
  readonly names?: NamesTaken | undefined;
  /** What entries get beside content, mode and time; absent: nothing. */
  readonly metadata?: MetadataUse | 'recorded' | undefined;
  /** Whether what has a receipt already is read back again before that is repeated. PROTOCOL.md 17.4. */
  readonly check?: boolean;
  readonly on: Listener;
  /**
   * Nothing else is taken, but the directories above it, and directories that were there keep the time that they had;
   * absent where the peer sends what it likes.
   */
  readonly asked?: AskedFor | undefined;
  /** The names that nothing is received under; absent where everything goes to a place of its own. */
  readonly backups?: BackupNames;
}
