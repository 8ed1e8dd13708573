import { type ErrorCode, isErrorCode, TransferError } from '../errors';
import { type EntryName, type NamesTaken, parseEntryName, shortened } from '../name';
import { bytesOfName, isSoundName } from '../name-bytes';
import type { Digests, Verified } from '../progress';
import {
  countUnder,
  type DigestName,
  digestsUnder,
  instantUnder,
  isDigest,
  levelUnder,
  optionalSizeUnder,
  sizeUnder,
  textUnder,
  wrong,
} from './fields';
import { parseList } from './json-list';
import { type JsonObject, ownValue } from './json-object';
import { type Metadata, metadataKeys, metadataUnder } from './metadata';
import { mostSegments, smallFile } from './segment';

export { encodeList } from './json-list';

/** What every entry has. Times are nanoseconds since 1970; on the wire they are decimal strings. */
interface EntryBase {
  /** Its number: unique within the session, given by the sender. */
  readonly file: number;
  readonly name: EntryName;
  readonly mtime: bigint;
  readonly metadata?: Metadata | undefined;
}

/** A regular file. */
export interface FileEntry extends EntryBase {
  readonly type: 'file';
  /** Bytes; undefined where the sender does not know yet. */
  readonly size: number | undefined;
  /** Permission bits, 0 to 0o777. */
  readonly mode: number;
  /** When the sender's system says it was last changed in any way; absent where it cannot tell. */
  readonly ctime: bigint | undefined;
  /** Its number on the sender's disk; given for backups, where the system has such numbers. */
  readonly inode?: bigint | undefined;
  /**
   * How many of its bytes are in no hole, which is the room it takes. Absent where that is all of them, or not known.
   */
  readonly data?: number | undefined;
}

export interface DirectoryEntry extends EntryBase {
  readonly type: 'directory';
  readonly mode: number;
}

export interface SymlinkEntry extends EntryBase {
  readonly type: 'symlink';
  /** Where it points, as it is; never followed. */
  readonly target: string;
}

/** Another name of a file offered earlier in this session. */
export interface HardLinkEntry extends EntryBase {
  readonly type: 'link';
  /** The name under which that file was offered. */
  readonly target: EntryName;
}

/** One thing to be stored. */
export type Entry = FileEntry | DirectoryEntry | SymlinkEntry | HardLinkEntry;

/** An entry that cannot be stored under its name, and why. */
export interface BadEntry {
  readonly file: number;
  /** The name, shortened where it is too long. */
  readonly text: string;
  readonly error: TransferError;
}

/**
 * Something that belongs into a snapshot and cannot be sent, by its name as it was found, shortened where it is too
 * long, and why.
 */
export interface MissingEntry {
  readonly name: string;
  readonly code: ErrorCode;
  readonly message: string;
  /** By the sender of a snapshot that never had it: nothing is wrong here and now. */
  readonly skipped?: true;
}

export interface NameRule {
  readonly allowHidden: boolean;
  /** Default `portable`. */
  readonly names?: NamesTaken;
}

/** One whole small file of a bundle; the contents follow the list in its order. */
export interface BundledFile {
  readonly file: number;
  readonly size: number;
  /** Of the session's algorithm. */
  readonly digest: string;
}

/** A segment that the receiver has. */
export interface HeldSegment {
  readonly file: number;
  readonly segment: number;
  /** Of the session's algorithm. */
  readonly digest: string;
}

/** What the receiver says of an entry that is stored. */
export interface SessionReceipt {
  readonly file: number;
  /** Absent for what has no content. */
  readonly digests?: Digests;
  /** Null for what has no content to be read back. */
  readonly verified: Verified | null;
  /** Where it is, where that differs from its name. */
  readonly path?: string;
  /** When it was last read back, as ISO 8601, where the same content was there already. */
  readonly verified_at?: string;
  /** What of its metadata it does not have; see `Lost`. */
  readonly lost?: readonly LostPart[];
  /** Segments that were sent again because they were found damaged. */
  readonly repaired?: number;
}

/** What of an entry's metadata did not come to be: nobody allows it, or the disk, or the system, does not have it. */
export type LostPart = (typeof lostParts)[number];
const lostParts = ['mode', 'mtime', 'special', 'owner', 'xattrs', 'link'] as const;

/** The longest link target, in bytes of UTF-8: Linux's PATH_MAX. */
const longestTarget = 4095;
/** Why something is missing, in bytes; what is longer is told shortened. */
const longestMessage = 1024;

/**
 * The payload of `offer`, or a part of it. A name that cannot be stored makes a BadEntry, so that the others go on.
 * @throws TransferError `bad-header` for everything else that is not as it should be.
 */
export function parseEntries(list: Uint8Array | readonly unknown[], rule: NameRule): (Entry | BadEntry)[] {
  return elementsOf(list).map((element): Entry | BadEntry => {
    const entry = asObject(element);
    const file = countUnder(entry, 'file');
    const text = textUnder(entry, 'name');
    const type = ownValue(entry, 'type');
    if (type !== 'file' && type !== 'directory' && type !== 'symlink' && type !== 'link')
      throw wrong('type', 'a kind of entry', type);
    const mtime = timeUnder(entry, 'mtime');
    const target = type === 'symlink' || type === 'link' ? textUnder(entry, 'target') : '';
    const metadata = metadataUnder(entry);
    try {
      // The name comes last: what is mistyped is found whatever the name is.
      switch (type) {
        case 'file': {
          const ctime = Object.hasOwn(entry, 'ctime') ? timeUnder(entry, 'ctime') : undefined;
          const inode = Object.hasOwn(entry, 'inode') ? inodeUnder(entry) : undefined;
          const parsed: FileEntry = {
            type,
            file,
            mtime,
            size: optionalSizeUnder(entry, 'size'),
            mode: modeUnder(entry),
            ctime,
            inode,
            data: optionalSizeUnder(entry, 'data'),
            name: parseEntryName(text, rule),
          };
          return withMetadata(parsed, metadata);
        }
        case 'directory':
          return withMetadata(
            { type, file, mtime, mode: modeUnder(entry), name: parseEntryName(text, rule) },
            metadata,
          );
        case 'symlink':
          return withMetadata(
            { type, file, mtime, target: linkTarget(target), name: parseEntryName(text, rule) },
            metadata,
          );
        case 'link':
          return { type, file, mtime, target: parseEntryName(target, rule), name: parseEntryName(text, rule) };
      }
    } catch (error) {
      if (error instanceof TransferError && error.code === 'name') return { file, text: shortened(text), error };
      throw error;
    }
  });
}

/** Most have none, and then nothing is copied: spreading nothing into thousands of entries costs more than the rest. */
function withMetadata(entry: Entry, metadata: Metadata | undefined): Entry {
  return metadata ? { ...entry, metadata } : entry;
}

/** An entry as an element of the payload of `offer`. */
export function encodeEntry(entry: Entry): JsonObject {
  const { file, type, name, metadata } = entry;
  const mtime = String(entry.mtime);
  // Most have none.
  const more = metadata && metadataKeys(metadata);
  switch (entry.type) {
    case 'file':
      // What is undefined is left out when the list is written; spreading it in would cost more than all the rest.
      return {
        file,
        type,
        name,
        mtime,
        mode: entry.mode,
        size: entry.size,
        ctime: entry.ctime === undefined ? undefined : String(entry.ctime),
        inode: entry.inode?.toString(),
        data: entry.data,
        ...more,
      };
    case 'directory':
      return { file, type, name, mtime, mode: entry.mode, ...more };
    case 'symlink':
    case 'link':
      return { file, type, name, mtime, target: entry.target, ...more };
  }
}

/** The list before the contents of a `bundle`: `[number, size, digest]` each. @throws TransferError `bad-header` */
export function parseBundle(bytes: Uint8Array, algorithm: DigestName): BundledFile[] {
  return parseList(bytes).map((element) => {
    const found = triple(element);
    // By their places: an array is taken apart by an iterator, and here are thousands.
    const file = found[0];
    const size = found[1];
    const digest = found[2];
    if (!isCount(file) || !isCount(size) || size > smallFile || !isDigest(digest, algorithm))
      throw wrong('list', `[number, size, ${algorithm}]`, element);
    return { file, size, digest };
  });
}

/** The payload of `held`: `[number, segment, digest]` each. @throws TransferError `bad-header` */
export function parseHeld(bytes: Uint8Array, algorithm: DigestName): HeldSegment[] {
  return parseList(bytes).map((element) => {
    const [file, segment, digest] = triple(element);
    if (!isCount(file) || !isCount(segment) || segment >= mostSegments || !isDigest(digest, algorithm))
      throw wrong('list', `[number, segment, ${algorithm}]`, element);
    return { file, segment, digest };
  });
}

/** The payload of `answer`: numbers of entries. @throws TransferError `bad-header` */
export function parseNumbers(bytes: Uint8Array): number[] {
  return parseList(bytes).map((element) => {
    if (!isCount(element)) throw wrong('list', 'numbers of entries', element);
    return element;
  });
}

/** The payload of `receipts`. @throws TransferError `bad-header` */
export function parseReceipts(bytes: Uint8Array): SessionReceipt[] {
  return parseList(bytes).map((element) => {
    const receipt = asObject(element);
    const parsed: { -readonly [Key in keyof SessionReceipt]: SessionReceipt[Key] } = {
      file: countUnder(receipt, 'file'),
      verified: ownValue(receipt, 'verified') === null ? null : levelUnder(receipt, 'verified'),
    };
    if (Object.hasOwn(receipt, 'digests')) parsed.digests = digestsUnder(receipt, 'digests');
    if (Object.hasOwn(receipt, 'path')) parsed.path = textUnder(receipt, 'path');
    if (Object.hasOwn(receipt, 'verified_at')) parsed.verified_at = instantUnder(receipt, 'verified_at');
    if (Object.hasOwn(receipt, 'repaired')) parsed.repaired = sizeUnder(receipt, 'repaired');
    if (Object.hasOwn(receipt, 'lost')) parsed.lost = lostUnder(receipt);
    return parsed;
  });
}

/** Parts that are not known here are left out. */
function lostUnder(receipt: JsonObject): readonly LostPart[] {
  const lost = ownValue(receipt, 'lost');
  if (!Array.isArray(lost)) throw wrong('lost', 'an array', lost);
  return lost.filter((part): part is LostPart => lostParts.some((known) => known === part));
}

/** The payload of `missing`, or a part of it. @throws TransferError `bad-header` */
export function parseMissing(list: Uint8Array | readonly unknown[]): MissingEntry[] {
  return elementsOf(list).map((element) => {
    const missing = asObject(element);
    const code = textUnder(missing, 'code');
    return {
      name: shortened(textUnder(missing, 'name')),
      code: isErrorCode(code) ? code : 'unexpected',
      message: shortened(textUnder(missing, 'message'), longestMessage),
      ...(ownValue(missing, 'skipped') === true ? { skipped: true } : {}),
    };
  });
}

function elementsOf(list: Uint8Array | readonly unknown[]): readonly unknown[] {
  return list instanceof Uint8Array ? parseList(list) : list;
}

function asObject(value: unknown): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw wrong('list', 'objects', value);
}

function triple(value: unknown): readonly unknown[] {
  if (Array.isArray(value) && value.length === 3) return value as unknown[];
  throw wrong('list', 'arrays of three', value);
}

function isCount(value: unknown): value is number {
  return (
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffffffff && !Object.is(value, -0)
  );
}

function modeUnder(entry: JsonObject): number {
  return sizeUnder(entry, 'mode', 0o777);
}

/** Nanoseconds since 1970, within what 64 bits hold. */
export function timeUnder(entry: JsonObject, key: string): bigint {
  const value = ownValue(entry, key);
  const time = typeof value === 'string' && /^-?\d{1,19}$/.test(value) ? BigInt(value) : undefined;
  if (time === undefined || BigInt.asIntN(64, time) !== time)
    throw wrong(key, 'nanoseconds as a decimal string', value);
  return time;
}

/** 64 bits without a sign. */
export function inodeUnder(entry: JsonObject): bigint {
  const value = ownValue(entry, 'inode');
  const inode = typeof value === 'string' && /^\d{1,20}$/.test(value) ? BigInt(value) : undefined;
  if (inode === undefined || BigInt.asUintN(64, inode) !== inode)
    throw wrong('inode', 'a whole number as a decimal string', value);
  return inode;
}

/**
 * Where a symbolic link points: text as `nameOfBytes` makes it. Half of a surrogate pair that stands for no byte would
 * point elsewhere.
 */
export function linkTarget(text: string): string {
  if (text !== '' && !text.includes('\0') && isSoundName(text) && bytesOfName(text).length <= longestTarget)
    return text;
  throw new TransferError(
    'name',
    'The target of a symbolic link is empty, too long, or contains NUL or half of a surrogate pair.',
  );
}
