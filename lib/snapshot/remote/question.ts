import type { Digests } from '../../progress';
import type { SessionSource } from '../../send/finding';
import type { Ask, RestoreAsk } from '../../wire/ask';
import type { AskDone } from '../../wire/keeper-message';
import type { MissingEntry } from '../../wire/session-list';

/** What is asked of snapshots here, and whom to tell. */
export interface SnapshotQuestion {
  readonly ask: Exclude<Ask, RestoreAsk>;
  /** The receive directory that has them. */
  readonly directory: string;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Takes one more event for the other side. */
  readonly tell: (event: object) => void;
  /** Resolves when what was told is on its way, and no more of it waits here. */
  readonly heard: () => Promise<void>;
}

/** What a restore sends, and by which digest the manifest knows it. */
export interface RestoreSource {
  readonly algorithm: keyof Digests;
  readonly source: SessionSource;
  /** What the snapshot never had. */
  readonly missing: readonly MissingEntry[];
}

/** What answers the questions about the snapshots in a receive directory. */
export interface SnapshotAnswers {
  /** Does what is asked. Resolves when everything was told; rejects with what the side that asked is to learn. */
  readonly answer: (question: SnapshotQuestion) => Promise<Omit<AskDone, 'type'>>;
  /** Finds what is asked for in the receive directory at `directory`. Rejects with `usage` and `mismatch`. */
  readonly source: (ask: RestoreAsk, directory: string) => Promise<RestoreSource>;
}
