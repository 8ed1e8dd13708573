import type { Digests } from '../../progress';
import type { Destination } from '../../receive/destinations';
import type { SessionContents } from '../../send/transfer';
import type { Ask, RestoreAsk } from '../../wire/ask';
import type { AskDone } from '../../wire/keeper-message';

/** Where snapshots are that others ask about: a receive directory, or an object store. */
export type AskedDestination = Pick<Destination, 'directory' | 'store'>;

/** What is asked of snapshots here, and whom to tell. */
export interface SnapshotQuestion {
  readonly ask: Exclude<Ask, RestoreAsk>;
  readonly destination: AskedDestination;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Takes one more event for the other side. */
  readonly tell: (event: object) => void;
  /** Resolves when what was told is on its way, and no more of it waits here. */
  readonly heard: () => Promise<void>;
}

/** What a restore sends, and by which digest the manifest knows it. */
export interface RestoreSource extends Pick<SessionContents, 'source' | 'shared' | 'missing'> {
  readonly algorithm: keyof Digests;
}

/** What answers the questions about the snapshots of a receiver. */
export interface SnapshotAnswers {
  /** Does what is asked. Resolves when everything was told; rejects with what the side that asked is to learn. */
  readonly answer: (question: SnapshotQuestion) => Promise<Omit<AskDone, 'type'>>;
  /** Finds what is asked for. Rejects with `usage` and `mismatch`. */
  readonly source: (ask: RestoreAsk, destination: AskedDestination) => Promise<RestoreSource>;
}
