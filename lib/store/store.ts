import type { DigestAlgorithm } from '../digest/digest';
import type { EntryName } from '../name';
import type { Digests, DiskVerified, Verified } from '../progress';
import type { LostPart } from '../wire/session-list';

/** What to do when something else stands under the final name. Identical content is success under every rule. */
export type IfExists = 'refuse' | 'skip' | 'rename' | 'replace';

export interface NewFile {
  readonly name: EntryName;
  /** In bytes, exactly. */
  readonly size: number;
  /** What the content must match; their algorithms are what is computed while reading back. */
  readonly digests: Digests;
  readonly ifExists: IfExists;
}

/** What whoever runs a receiver lets entries have. */
export interface MetadataUse {
  /** By name where this machine has such a one, else by number; or by number alone. */
  readonly owner: 'none' | 'name' | 'number';
  /** Extended attributes, POSIX ACLs among them. */
  readonly xattrs: boolean;
  /** setuid and setgid, and capabilities: what lets a program do more than who starts it. */
  readonly setIds: boolean;
}

/** What of an entry's metadata did not come to be. PROTOCOL.md 17.2. */
export type Lost = LostPart;

/** The end of a file that was committed. */
export interface Committed {
  /** Under which name it is now, relative to the store; differs from the file's name only under `rename`. */
  readonly path: string;
  readonly verified: Verified;
  readonly outcome: 'stored' | 'replaced' | 'renamed' | 'identical';
  /** Where its disk does not hold the mode or the mtime that it was to have: what it has instead. */
  readonly kept?: Kept;
  /** What of its metadata it does not have, `kept` included. */
  readonly lost?: readonly Lost[];
}

/**
 * What a disk made of a mode (permission bits), of an mtime (ns since 1970), or of a hard link; each absent where it is
 * as it was to be.
 */
export interface Kept {
  readonly mode?: number;
  readonly mtime?: bigint;
  /** A hard link became a file of its own. */
  readonly apart?: true;
}

/**
 * A place that keeps whole, verified files. Every store keeps these promises, and the conformance suite runs them on
 * each:
 *
 * 1. Under a final name there is a whole, verified file or nothing new, at any instant.
 * 2. What was staged and not committed leaves nothing behind, not even a directory.
 * 3. A file that stands there is never replaced, unless `ifExists` says so.
 * 4. Nothing is written outside the store, whatever stands in the way of a name.
 * 5. A failure while writing, flushing or reading back is final for that staged file.
 */
export interface Store {
  /** How far reading back goes in this store. */
  readonly verified: DiskVerified;
  /**
   * Promises room for a file and stages it. Rejects with `space`, `exists` (where that is known this early), `name` or
   * `disk`.
   */
  stage(file: NewFile): Promise<StagedFile>;
  /** Throws away what is still staged and releases the store. */
  close(): Promise<void>;
}

/**
 * A file on its way into a store. Either `commit` or `discard` ends it; `discard` may be called at any time, any number
 * of times.
 */
export interface StagedFile {
  /**
   * Takes the next bytes: `fill` gets memory to put them in (never more than the file still lacks) and returns how many
   * it
   * put there; 0 is allowed. `hurry` tells that others wait for this memory. Waits while the disk is behind. Rejects
   * with
   * `space` or `disk`, with what `fill` rejects with, or because it was discarded.
   */
  write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number>;
  /**
   * When every byte is written: compares them with their digests; a large file is made durable and read back for that,
   * a small one is so by `commit`, in a batch. Rejects with `mismatch`, or with `space` or `disk` if the bytes could not
   * be made durable. `onProgress` gets the bytes compared so far.
   */
  verify(onProgress?: (done: number) => void): Promise<void>;
  /**
   * After `verify`: puts the file under its final name, durable and read back. Rejects with `exists`, `name` or `disk`;
   * a small file with what its batch fails with, too.
   */
  commit(): Promise<Committed>;
  discard(): Promise<void>;
}

/** The algorithms that `digests` names. */
export function algorithmsOf(digests: Digests): DigestAlgorithm[] {
  return Object.keys(digests) as DigestAlgorithm[];
}

/** The first algorithm by which `actual` is not what was `expected`. */
export function firstDifference(expected: Digests, actual: Digests): DigestAlgorithm | undefined {
  return algorithmsOf(expected).find((algorithm) => actual[algorithm] !== expected[algorithm]);
}
