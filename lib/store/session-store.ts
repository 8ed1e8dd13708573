import type { DigestAlgorithm } from '../digest/digest';
import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import type { Digests, Verified } from '../progress';
import type { AlignedMemory, Lease } from '../threads/aligned-memory';
import type { EntryKind } from '../threads/entry-kind';
import type { BasisSegment } from '../wire/basis';
import type { DirectoryEntry, SymlinkEntry } from '../wire/session-list';
import type { EarlierFile } from './local/publish';
import type { Metadata } from '../wire/metadata';
import type { Committed, IfExists, MetadataUse } from './store';

export type { EarlierFile } from './local/publish';

/** How files are stored, and for whom; for one session, or for all of the plain wire. */
export interface StoreUse {
  /** Of all digests that are given and told. */
  readonly algorithm: DigestAlgorithm;
  /** Who sends: the id of a key. What one peer left unfinished, no other can go on with. */
  readonly peer: string;
  readonly ifExists: IfExists;
  /**
   * Each file comes from its first byte to its last, in runs of whole sectors (4 KiB) and a shorter one at its end,
   * once; nobody asks for any of it again, and no receipts are kept. The way of the plain wire.
   */
  readonly inOrder?: boolean;
  /** What entries get beside content, mode and time; absent: nothing. `recorded`: nothing, since a manifest has it. */
  readonly metadata?: MetadataUse | 'recorded' | undefined;
}

/** Room that is promised to one file. */
export interface Room {
  /** It is `size` bytes by now, where nobody knew how many there would be. Rejects with `size`, `quota` or `space`. */
  grow(size: number): Promise<void>;
  /** `bytes` more of it have gone to the disk, and are not free there any more. Throws `quota`. */
  wrote(bytes: number): void;
  /** Once: what was promised is stored, if `kept`, or is not needed. */
  settle(kept: boolean): void;
  /** In place of `settle`: the session is over, and what was written of it stays for another one, unfinished. */
  suspend(): void;
}

/** What is at a name already. */
export interface Existing {
  readonly kind: EntryKind;
  /** In bytes. */
  readonly size: number;
  /**
   * What a receipt of the same peer says that still holds for the offered entry: neither this file nor its source was
   * touched since.
   */
  readonly known: KnownContent | undefined;
  /** Whether it has the mode and mtime that are offered. */
  readonly asOffered: boolean;
  /** Where a symbolic link points; absent for everything else. */
  readonly target?: string | undefined;
  /** The same for all names of a file, and another one for another file. */
  readonly identity: bigint | string;
}

/** What is at the name of a directory already. */
export interface ExistingDirectory {
  /** In ns since 1970. */
  readonly mtime: bigint;
}

/** The mtime that a directory had when it was looked at, in ns since 1970. */
export interface DirectoryTime {
  /** The number of its entry. */
  readonly file: number;
  readonly name: EntryName;
  readonly mtime: bigint;
}

/** What a file read as when it was last read back, and when that was, as ISO 8601. */
export interface KnownContent {
  readonly digests: Digests;
  readonly verifiedAt: string;
}

/**
 * What a file at a name reads as. Goes back into a batch as it is, so that the store can tell whether the file was
 * touched since.
 */
export interface ExistingContent {
  /** In bytes. */
  readonly size: number;
  readonly digest: string;
}

/** A regular file that is to be stored, as its sender tells of it. */
export interface OfferedFile {
  /** The number of its entry. */
  readonly file: number;
  readonly name: EntryName;
  /** In bytes; undefined while nobody knows. */
  readonly size: number | undefined;
  /** How many of them are in no hole, where that is known. */
  readonly data?: number | undefined;
  /** Permission bits, 0 to 0o777; absent: those that any new file gets here. */
  readonly mode?: number | undefined;
  /**
   * When the source was modified, and changed in any way, in ns since 1970; absent: the file gets the time of its
   * arrival, and is never `known`.
   */
  readonly mtime?: bigint | undefined;
  readonly ctime?: bigint | undefined;
  readonly metadata?: Metadata | undefined;
}

/** A small file with the digest that the sender has of it, of the use's algorithm. */
export interface SmallFile {
  readonly entry: OfferedFile;
  readonly digest: string;
}

/**
 * A store as one session uses it: large files as partial files, everything else in batches. Every store keeps these
 * promises, and one conformance suite runs them on each:
 *
 * 1. Under a final name there is a whole, verified file or nothing new, at any instant.
 * 2. What was not committed leaves nothing behind, not even a directory; but a partial file that was suspended.
 * 3. What is at a name already is never replaced, unless `ifExists` says so. The same content is success under every
 *    rule.
 * 4. Nothing is written outside the store, whatever is in the way of a name.
 * 5. A failure while writing, flushing or reading back is final for that file, and for all of its batch.
 */
export interface SessionStore {
  readonly algorithm: DigestAlgorithm;
  /** How far reading back goes in this store. */
  readonly verified: Verified;
  /**
   * Looks up a whole offer at once: what is at the names of these files, in their order; undefined where nothing is.
   * Rejects with `disk`.
   */
  lookup(files: readonly OfferedFile[]): Promise<(Existing | undefined)[]>;
  /**
   * Reads the regular files at the names of these, in their order; undefined for anything else, and for what cannot be
   * read.
   */
  read(files: readonly OfferedFile[]): Promise<(ExistingContent | undefined)[]>;
  /**
   * Reads `known` files back from where a receipt says that they were read. Resolves with when that was, as ISO 8601,
   * which their receipts say from now on; undefined for one that does not read as it did, or cannot be read. Calls
   * `onProgress` now and then with the bytes read so far.
   */
  check(file: OfferedFile, digests: Digests, onProgress: (done: number) => void): Promise<string | undefined>;
  /**
   * What is at the names of directories, in their order; undefined where nothing is yet, or a directory that this store
   * has made and that was never finished: what it gets of mode and mtime changes nothing of anybody's.
   */
  directories(names: readonly EntryName[]): Promise<(ExistingDirectory | undefined)[]>;
  /** Whether this peer was given a receipt for the regular files at these names, and nobody has touched them since. */
  owns(names: readonly EntryName[]): Promise<boolean[]>;
  /** Promises room to files, in their order. Those that get none have a failure with `size`, `quota` or `space`. */
  admit(files: readonly OfferedFile[]): Promise<(Room | TransferError)[]>;
  /**
   * The unfinished file of this entry and peer, or a new one. One that is in use by an earlier session of the same peer
   * is suspended first. `basis` may be alike in part: what is at its name, or an earlier file. Rejects with `disk` or
   * `space`.
   */
  partial(entry: OfferedFile, basis: 'existing' | EarlierFile | undefined): Promise<PartialFile>;
  readonly batch: Batch;
  /**
   * Ends this use of the store. What is in the batch and not committed is thrown away; partial files are ended before.
   */
  release(): Promise<void>;
}

/** A place that sessions store into: a directory of a disk, or an object store. */
export interface StoreRoot {
  /** How far reading back goes in it. */
  readonly verified: Verified;
  /** Opens it for one session. Rejects with `disk`. */
  session(use: StoreUse): Promise<SessionStore>;
  /** Starts what small files will need. */
  warm(): void;
  /** Ends what is under way, and releases it. */
  close(): Promise<void>;
}

/** A segment that is here, and what it reads as from the disk. */
export interface SegmentDigest {
  readonly segment: number;
  readonly digest: string;
}

/**
 * A file on its way into a store, piece by piece, in any order. One of `commit`, `discard` and `suspend` ends it. What
 * is written survives `suspend` and the end of the process.
 */
export interface PartialFile {
  /** Page-aligned memory for pieces: a fixed number of them for all files of the store. */
  readonly memory: AlignedMemory;
  /**
   * The segments that are here, read back; from now on nothing counts as here until it is kept or put again. Rejects
   * with `disk`.
   */
  held(): Promise<readonly SegmentDigest[]>;
  /** What the basis reads as; until `held` is asked again, it can be copied. Empty where there is none. */
  basis(): Promise<readonly BasisSegment[]>;
  /** Waits until the disk can take a piece. Rejects with `disk`, `space`, or because it has ended. */
  room(): Promise<void>;
  /**
   * Takes a piece, or the next run where files come in order; gives the memory back when it is written. False if it was
   * not needed: it is here, or the file is being read back.
   */
  put(lease: Lease, offset: number, length: number): boolean;
  /** As `put`, for a run of zeros of whole pieces. */
  zero(offset: number, length: number): boolean;
  /** As `put`, for bytes at `from` in the basis. Throws `bad-header` for bytes that `basis` did not tell of. */
  copy(offset: number, length: number, from: number): boolean;
  /** These segments are as they should be. Throws `bad-header` for those that `held` did not tell of. */
  keep(first: number, count: number): void;
  /**
   * When the sender has sent everything: resolves once all `size` bytes are here and written. Rejects with what is
   * final for this file.
   */
  whole(size: number): Promise<void>;
  /**
   * Makes it durable, reads all of it back and compares. Rejects with `mismatch`, after which `held` tells what is
   * here, and with what is final for this file. `onProgress` gets the bytes read back so far.
   */
  verify(size: number, digests: Digests, onProgress?: (done: number) => void): Promise<void>;
  /** After `verify`: puts the file under its final name, durably. Rejects with `exists`, `name` or `disk`. */
  commit(): Promise<Committed>;
  /** Throws away all of it. */
  discard(): Promise<void>;
  /** Ends it for now: what is durable is kept for the next offer of the same name, size and mtime by the same peer. */
  suspend(): Promise<void>;
}

/** What became of an entry of a batch. */
export type BatchOutcome =
  /** It is under its own name now, by a write of this store. */
  | 'stored'
  /** It is at `path`, or was there already. */
  | Committed
  | TransferError;

/** When a batch is to be committed. */
export interface BatchLimits {
  /** Entries and bytes with which a batch is full. */
  readonly entries: number;
  readonly bytes: number;
  /** How long the first entry may wait for others, in ms. */
  readonly waits: number;
  /** How many commits may be under way at a time. */
  readonly commits: number;
}

/**
 * Entries that become durable together. One is open at any time; `commit` closes it, and the next one is open at once.
 * Where a write or a sync fails, nothing of the batch is believed.
 */
export interface Batch {
  /** For the contents of bundles. */
  readonly memory: AlignedMemory;
  /** How many entries and bytes are in the one that is open. */
  readonly open: { readonly entries: number; readonly bytes: number };
  /** How much this store commits best. */
  readonly limits: BatchLimits;
  /** Starts what will be needed: small files are coming. */
  warm(): void;
  /**
   * Takes files whose contents follow one another from `lease.bytes[0]` on. Resolves, and has given the memory back,
   * once they are written. Those that cannot be written come out of `commit` as failures.
   */
  write(lease: Lease, files: readonly SmallFile[]): Promise<void>;
  /**
   * Takes a file that is at its name already, as `read` read it: it becomes durable with the others, and gets its mode
   * and mtime where existing files may be replaced.
   */
  existing(file: SmallFile, content: ExistingContent): void;
  /** Takes a symbolic link. It is never followed. */
  symlink(entry: SymlinkEntry): void;
  /**
   * Takes a directory. One that exists is as good. It is made with the first thing that is stored in it, by the `commit`
   * of that, or by `finishDirectories` at the latest, which sets mode and mtime, and is to come for one that is `fresh`.
   */
  directory(entry: DirectoryEntry, fresh: boolean): void;
  /**
   * Commits the open batch; what became of its entries, by their number, in the order in which they came. A store may
   * leave some in the next one, never all of them, where more are better stored together. Another one may be committed
   * before this has resolved; no more than `limits` says.
   */
  commit(): Promise<ReadonlyMap<number, BatchOutcome>>;
  /** Makes hard links to what this store holds at `target`, once that is committed. */
  link(
    entries: readonly { readonly file: number; readonly name: EntryName; readonly target: EntryName }[],
  ): Promise<ReadonlyMap<number, BatchOutcome>>;
  /**
   * Makes files one more name of an earlier one, whose content, mode and mtime they share, in place of whatever is
   * there.
   */
  linkEarlier(
    files: readonly (SmallFile & { readonly earlier: EarlierFile })[],
  ): Promise<ReadonlyMap<number, BatchOutcome>>;
  /** Sets mode and mtime of files that are `known`. */
  retouch(files: readonly (OfferedFile & { readonly digests: Digests })[]): Promise<ReadonlyMap<number, BatchOutcome>>;
  /**
   * Sets mode and mtime of directories, when nothing will be stored in them any more. In the order that is given: the
   * deepest first, since what is above may become impassable.
   */
  finishDirectories(entries: readonly DirectoryEntry[]): Promise<ReadonlyMap<number, BatchOutcome>>;
  /**
   * Gives directories the mtime back that they had, when nothing will be stored in them any more; `lost` says `mtime`
   * where that cannot be.
   */
  putTimesBack(directories: readonly DirectoryTime[]): Promise<ReadonlyMap<number, BatchOutcome>>;
}
