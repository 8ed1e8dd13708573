import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import type { Digests } from '../progress';
import type { Entry, FileEntry, MissingEntry } from '../wire/session-list';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { EarlierFile } from '../store/local/batch';
import type { Kept } from '../store/store';
import type { Destination } from './destinations';

/** A file of an earlier snapshot, as far as its manifest tells. */
export interface Earlier {
  readonly file: EarlierFile;
  readonly digest: string;
  /** The same name, size and times, and the same file on the sender's disk: it need not be read. */
  readonly unchanged: boolean;
  /** It may stand for the new file if the content is the same, since mode and mtime are. */
  readonly linkable: boolean;
}

/**
 * A snapshot on its way: where a session puts what arrives, what it may link instead, and what becomes of it in the
 * end.
 */
export interface SnapshotStage {
  /** The id that it will have. */
  readonly id: string;
  readonly destination: Destination;
  /**
   * Resolves with why the session is to end, where another one of the same peer goes on with it, or too much of it is
   * missing.
   */
  readonly superseded: Promise<TransferError>;
  /** Whether the peer may learn digests of staged files: all of them came from it. */
  readonly mayKnow: boolean;
  /**
   * For each of these files what earlier snapshots have of it, at the same place; undefined where they have nothing.
   */
  earlier(entries: readonly FileEntry[]): Promise<(Earlier | undefined)[]>;
  /** Why nothing can be stored under a name; undefined where something can. */
  refusal(name: EntryName): TransferError | undefined;
  /** An entry is staged; a file with its digests; `kept` where the disk does not hold its mode or mtime. */
  stored(entry: Entry, digests?: Digests, kept?: Kept): void;
  /** An entry that was offered is not there. */
  missing(entry: MissingEntry): void;
  /** What belongs into the snapshot and was not offered. Rejects with `quota` where there is no room to say so. */
  unsent(entries: readonly MissingEntry[]): Promise<void>;
  /**
   * Whether a stored file has other content than an earlier one of the same size and mtime: then why that is alarming.
   */
  alarm(entry: FileEntry, digests: Digests): TransferError | undefined;
  /**
   * Makes it the newest snapshot, or heals what is there; resolves with the new one. `entries` is how many were offered
   * in all. Rejects with `connection-lost` where not all of them are known here any more, and with `disk` or `space`;
   * then it stays staged.
   */
  commit(entries: number): Promise<SnapshotDone | undefined>;
  /** The session is over: what is staged and was not committed is kept for the next one. */
  leave(): Promise<void>;
}

/** What a sender asks for that makes a snapshot, or heals existing ones. */
export interface StageRequest {
  /** Of the backup. */
  readonly name: EntryName;
  /** It brings what snapshots had that are there, and makes none. */
  readonly repairs: boolean;
  /** Read every file, changed or not. */
  readonly checksum: boolean;
  /** Sources that have lost most of their entries are not reported. */
  readonly allowShrink?: boolean;
  readonly algorithm: keyof Digests;
  /** Where backups are kept. */
  readonly destination: Pick<Destination, 'directory' | 'allowance'> & Partial<Pick<Destination, 'store'>>;
  /** The id of the sender's key, and whether it may learn digests of what others sent. */
  readonly peer: string;
  readonly mayCompare: boolean;
  /** The session: a conversation of the same one goes on with the same snapshot. */
  readonly session: string;
}

/** Takes a snapshot over from another session of the same peer. Rejects with `exists` while another peer makes one. */
export type OpenStage = (request: StageRequest) => Promise<SnapshotStage>;
