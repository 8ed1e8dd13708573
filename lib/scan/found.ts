import type { EntryName } from '../name';
import type { Metadata } from '../wire/metadata';
import type { Located } from '../threads/walker';

// What a scan of this machine finds.

/** What every entry that was found has. */
export interface FoundBase extends Located {
  readonly name: EntryName;
  /** Nanoseconds since 1970. */
  readonly mtime: bigint;
  readonly ctime: bigint;
  readonly metadata?: Metadata | undefined;
}

export interface FoundFile extends FoundBase {
  readonly type: 'file';
  /** Bytes. */
  readonly size: number;
  /** Permission bits, 0 to 0o777. */
  readonly mode: number;
  /** Whether it takes less room on its disk than its size: it may have holes. */
  readonly sparse: boolean;
  /** How many of its bytes are in no hole; absent where that is all of them, or not known. */
  readonly data?: number | undefined;
  /**
   * What is known of it from elsewhere: with any other digest it is not sent, and this is the mtime that it is stored
   * with.
   */
  readonly vouched?: { readonly digest: string; readonly mtime: bigint };
  /** Its number on its disk. */
  readonly inode?: bigint;
  /**
   * See `edgesIn`; of a file that the caller named, or that was written to within a day before it was found, as far as
   * they were read. Without them every change between the finding and the opening is one, also an append.
   */
  readonly edges?: bigint;
}

export interface FoundDirectory extends FoundBase {
  readonly type: 'directory';
  readonly mode: number;
}

export interface FoundSymlink extends FoundBase {
  readonly type: 'symlink';
  /** Where it points, as it is. */
  readonly target: string;
}

/** Another name of a file that was found before. */
export interface FoundLink extends FoundBase {
  readonly type: 'link';
  /** The name under which it was found first. */
  readonly target: EntryName;
}

export type FoundEntry = FoundFile | FoundDirectory | FoundSymlink | FoundLink;

/** Whether a file has the number that it was found with, as far as it was found with one. */
export function isInode(found: bigint | undefined, now: bigint): boolean {
  return found === undefined || found === 0n || found === BigInt.asUintN(64, now);
}
