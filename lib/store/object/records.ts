// What stands at a name in an object store: a record, one small JSON object at `names/NAME`. The bytes of a file are in
// another object, which never changes; docs/object-store.md has the form of both.
import { randomBytes } from 'node:crypto';
import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { bytesOfName, nameOfBytes } from '../../name-bytes';
import type { Digests } from '../../progress';
import { digestsUnder, instantUnder, sizeUnder, textUnder } from '../../wire/fields';
import { type JsonObject, ownValue } from '../../wire/json-object';
import { metadataKeys, metadataUnder, type Metadata } from '../../wire/metadata';

/**
 * How sure an object store can be: `store`, read back whole from what it answered; `accepted`, it said that it has
 * them.
 */
export type ObjectVerified = 'store' | 'accepted';

/** Where the bytes of a file are: `size` bytes of the object `key` from `offset` on. */
export interface ContentLocation {
  readonly key: string;
  /** In bytes. */
  readonly offset: number;
}

interface RecordBase {
  /** Random: tells a record from any other one at the same name. */
  readonly id: string;
  /** Permission bits. */
  readonly mode?: number | undefined;
  /** In ns since 1970. */
  readonly mtime?: bigint | undefined;
  readonly metadata?: Metadata | undefined;
}

export interface FileRecord extends RecordBase {
  readonly type: 'file';
  /** In bytes. */
  readonly size: number;
  readonly digests: Digests;
  /** Absent for an empty file. */
  readonly content?: ContentLocation | undefined;
  /** Who sent it: the id of a key. */
  readonly peer: string;
  /** When the source was changed in any way, in ns since 1970. */
  readonly ctime?: bigint | undefined;
  /** How far its bytes were verified, and when, as ISO 8601. */
  readonly verified: ObjectVerified;
  readonly verifiedAt: string;
}

export interface SymlinkRecord extends RecordBase {
  readonly type: 'symlink';
  readonly target: string;
}

/** A directory that was never finished has no mode and no mtime. */
export interface DirectoryRecord extends RecordBase {
  readonly type: 'directory';
}

export type NameRecord = FileRecord | SymlinkRecord | DirectoryRecord;

/** The longest key, in bytes of UTF-8, that every store takes. */
const longestKey = 1024;
export const namesPrefix = 'names/';

export function newRecordId(): string {
  return randomBytes(12).toString('hex');
}

/**
 * The key of a name: itself, with `%`, control characters and bytes that are not UTF-8 as `%XX`. `room` is how many
 * bytes the prefix of the store takes. Throws `name` where no store takes such a key.
 */
export function keyOfName(name: string, room: number): string {
  const key = namesPrefix + escapeName(name);
  if (Buffer.byteLength(key) + room > longestKey)
    throw new TransferError('name', `${printable(name)} is longer than an object store takes.`, {
      hint: `A name may have some ${String(longestKey - room - namesPrefix.length)} bytes there.`,
    });
  return key;
}

/** The name of a key that `keyOfName` made. */
export function nameOfKey(key: string): string {
  return nameOfEscaped(key.slice(namesPrefix.length));
}

/** What `escapeName` made a text of. */
export function nameOfEscaped(escaped: string): string {
  const pieces = escaped
    .split(/(%[0-9A-F]{2})/)
    .map((piece) => (piece.startsWith('%') ? Buffer.of(parseInt(piece.slice(1), 16)) : Buffer.from(piece)));
  return nameOfBytes(Buffer.concat(pieces));
}

/** A name as it stands in a key: `%`, control characters and bytes that are not UTF-8 as `%XX`. */
export function escapeName(name: string): string {
  return name.replace(/[%\p{Cc}\p{Cs}]/gu, (character) =>
    [...bytesOfName(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

export function encodeRecord(record: NameRecord): Buffer {
  const { id, type, mode, mtime, metadata } = record;
  const common = { type, id, mode, mtime: mtime?.toString(), ...metadataKeys(metadata) };
  const others =
    record.type === 'file'
      ? {
          size: record.size,
          digests: record.digests,
          content: record.content?.key,
          offset: record.content?.offset,
          peer: record.peer,
          ctime: record.ctime?.toString(),
          verified: record.verified,
          verified_at: record.verifiedAt,
        }
      : record.type === 'symlink'
        ? { target: record.target }
        : {};
  return Buffer.from(`${JSON.stringify({ ...common, ...others })}\n`);
}

/** Throws `disk` for what is no record: whoever else writes into the bucket. */
export function parseRecord(text: string, name: string): NameRecord {
  try {
    const found = JSON.parse(text) as JsonObject;
    const type = textUnder(found, 'type');
    const metadata = metadataUnder(found);
    const mode = ownValue(found, 'mode');
    const base = {
      id: textUnder(found, 'id'),
      ...(typeof mode === 'number' ? { mode: mode & 0o777 } : {}),
      ...timeUnder(found, 'mtime'),
      ...(metadata ? { metadata } : {}),
    };
    if (type === 'directory') return { ...base, type };
    if (type === 'symlink') return { ...base, type, target: textUnder(found, 'target') };
    if (type !== 'file') throw new TypeError(`the type ${type}`);
    return {
      ...base,
      type,
      size: sizeUnder(found, 'size'),
      digests: digestsUnder(found, 'digests'),
      ...(Object.hasOwn(found, 'content')
        ? { content: { key: textUnder(found, 'content'), offset: sizeUnder(found, 'offset') } }
        : {}),
      peer: textUnder(found, 'peer'),
      ...timeUnder(found, 'ctime'),
      verified: ownValue(found, 'verified') === 'store' ? 'store' : 'accepted',
      verifiedAt: instantUnder(found, 'verified_at'),
    };
  } catch (error) {
    throw new TransferError('disk', `What the object store has at ${printable(name)} is no record of ours.`, {
      cause: error,
    });
  }
}

function timeUnder<Key extends string>(found: JsonObject, key: Key): { readonly [Name in Key]?: bigint } {
  const time = ownValue(found, key);
  return typeof time === 'string' && /^-?\d{1,30}$/.test(time)
    ? ({ [key]: BigInt(time) } as { [Name in Key]: bigint })
    : {};
}

/** Names of the directories above a name, the outermost first. */
export function directoriesAbove(name: string): EntryName[] {
  return [...name.matchAll(/\//g)].map(({ index }) => name.slice(0, index) as EntryName);
}
