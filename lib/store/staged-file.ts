// What a file that comes whole, from its first byte to its last, is to whoever brings it.
import type { EntryName } from '../name';
import type { Committed } from './store';

/** A file that comes whole. */
export interface NewFile {
  readonly name: EntryName;
  /** In bytes, exactly. */
  readonly size: number;
  /** What the content must match, of the store's algorithm; lower-case hex. */
  readonly digest: string;
}

/**
 * A file on its way into a store. Either `commit` or `discard` ends it; `discard` may be called at any time, any number
 * of times.
 */
export interface StagedFile {
  /**
   * Takes the next bytes: `fill` gets memory to put them in (never more than the file still lacks) and returns how many
   * it put there; 0 is allowed. `hurry` tells that others wait for this memory. Waits while the disk is behind. Rejects
   * with `space` or `disk`, with what `fill` rejects with, or with `interrupted` because it was discarded.
   */
  write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number>;
  /**
   * When every byte is written: compares them with the digest; a large file is made durable and read back for that, a
   * small one is so by `commit`, in a batch. Rejects with `mismatch`, or with `space` or `disk` if the bytes could not
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
