import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { DigestPool } from '../digest-pool';
import { errnoOf } from '../errors';
import type { EntryName } from '../name';
import type { Digests, Verified } from '../progress';
import type { DirectoryTree } from './directory-tree';
import type { GroupStore } from './group';
import type { PartialFiles } from './partial-files';
import type { ReceiptIndex } from './receipt-index';

export type { Standing } from './group-look';

const { O_DIRECT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };

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
  /** Everything else, durable in groups. */
  readonly group: GroupStore;
  /** What this store has given receipts for. */
  readonly index: ReceiptIndex;
  /**
   * Promises room for a file; `size` in bytes, undefined where nobody knows. `there` are on the disk already, from an earlier try.
   * Rejects with `size`, `quota` or `space`.
   */
  admit(file: { readonly name: EntryName; readonly size: number | undefined; readonly there?: number }): Promise<Admitted>;
  /** What the regular file under `name` reads as from the disk, made durable before; undefined where there is none. */
  digestStanding(name: EntryName): Promise<string | undefined>;
  /** Ends the session's use of the store. */
  release(): Promise<void>;
}

/** See `SessionStore.digestStanding`. */
export async function digestStanding(name: EntryName, algorithm: keyof Digests, place: { readonly tree: DirectoryTree; readonly pool: DigestPool; readonly direct: boolean }): Promise<string | undefined> {
  const reached = await place.tree.find(name);
  if (!reached) return undefined;
  try {
    const direct = place.direct ? (O_DIRECT ?? 0) : 0;
    const handle = await open(reached.directory.at(path.posix.basename(name)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | direct);
    try {
      const { size } = await handle.stat();
      // Someone else may have written it a moment ago; a receipt for it needs it on the disk.
      await handle.sync();
      return (await place.pool.digestFile({ fd: handle.fd, size, algorithms: [algorithm] }).digests)[algorithm];
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (['ENOENT', 'ELOOP', 'EACCES', 'ENXIO'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  } finally {
    reached.release();
  }
}
