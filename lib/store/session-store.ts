import type { EntryName } from '../name';
import type { Digests, Verified } from '../progress';
import type { BatchStore } from './local/batch';
import type { PartialFiles } from './local/partial-files';
import type { ReceiptIndex } from './local/receipt-index';

export type { Standing } from './local/group-look';

/** Room that was promised to a file. */
export interface Admitted {
  /** It is `size` bytes by now, where nobody knew how many there would be. Rejects with `size`, `quota` or `space`. */
  grow(size: number): Promise<void>;
  /** So many more bytes of it have gone to the disk, and are not free there any more. */
  wrote(bytes: number): void;
  /** Once: what was promised is on the disk by now, and stays there if `kept`, or is not needed. */
  settle(kept: boolean): void;
}

/** A store as one session uses it: the same promises as `Store`, for pieces of large files and for groups of small ones. */
export interface SessionStore {
  /** Of the session. */
  readonly algorithm: keyof Digests;
  /** How far reading back goes in this store. */
  readonly verified: Verified;
  /** Large files, which survive an interruption. */
  readonly partials: PartialFiles;
  /** Everything else, durable in batches. */
  readonly group: BatchStore;
  /** What this store has given receipts for. */
  readonly index: ReceiptIndex;
  /**
   * Promises room for a file; `size` in bytes, undefined where nobody knows. `there` are on the disk already, from an earlier try.
   * Rejects with `size`, `quota` or `space`.
   */
  admit(file: { readonly name: EntryName; readonly size: number | undefined; readonly there?: number }): Promise<Admitted>;
  /** Ends the session's use of the store. */
  release(): Promise<void>;
}
