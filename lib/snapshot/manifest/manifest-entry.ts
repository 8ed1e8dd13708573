import { type ErrorCode, isErrorCode, TransferError } from '../../errors';
import { type EntryName, parseEntryName } from '../../name';
import type { Digests } from '../../progress';
import { type DigestName, digestsUnder, sizeUnder, textUnder, wrong } from '../../wire/fields';
import { type JsonObject, ownValue } from '../../wire/json-object';
import { inodeUnder, linkTarget, timeUnder } from '../../wire/session-list';
import { type Metadata, metadataKeys, metadataUnder } from '../../wire/metadata';
import type { ContentLocation } from '../../store/object/records';
import type { Kept } from '../../store/store';
import { isReservedName } from './checksum-list';

/** What tells whether a file of the source is still the one that was stored. Absent where its system cannot say. */
export interface SourceState {
  readonly ctime?: bigint;
  readonly inode?: bigint;
}

/** What some entries have besides. */
interface Further {
  /** As it is at the source. */
  readonly metadata?: Metadata | undefined;
  /** Where the disk of the snapshot does not hold its mode or mtime: what it has instead. */
  readonly kept?: Kept | undefined;
}

/** One thing in a snapshot. Times are ns since 1970, modes permission bits, sizes bytes. */
export type ManifestEntry =
  | ({
      readonly type: 'file';
      readonly name: EntryName;
      readonly size: number;
      readonly mode: number;
      readonly mtime: bigint;
      readonly digests: Digests;
      readonly source: SourceState;
      /** In an object store, where its bytes are; absent for an empty file. */
      readonly content?: ContentLocation | undefined;
    } & Further)
  | ({
      readonly type: 'directory';
      readonly name: EntryName;
      readonly mode: number;
      readonly mtime: bigint;
    } & Further)
  | ({ readonly type: 'symlink'; readonly name: EntryName; readonly target: string; readonly mtime: bigint } & Further)
  /** Another name of the file `target`. */
  | {
      readonly type: 'link';
      readonly name: EntryName;
      readonly target: EntryName;
      readonly mtime: bigint;
      readonly kept?: Kept | undefined;
    }
  /** What should be here and is not, and why: `name` as it was spelled, storable or not. */
  | { readonly type: 'missing'; readonly name: string; readonly code: ErrorCode; readonly reason: string };

export type ManifestFile = Extract<ManifestEntry, { readonly type: 'file' }>;

/** The fields of an entry's line; those that are undefined are not written. */
export function encodeEntry(entry: ManifestEntry): JsonObject {
  const { type, name } = entry;
  switch (entry.type) {
    case 'file': {
      const { size, mode, mtime, digests, source, content } = entry;
      return {
        type,
        name,
        size,
        mode: modeText(mode),
        mtime: String(mtime),
        digests,
        ctime: source.ctime?.toString(),
        inode: source.inode?.toString(),
        content: content?.key,
        offset: content?.offset,
        ...furtherKeys(entry),
      };
    }
    case 'directory':
      return { type, name, mode: modeText(entry.mode), mtime: String(entry.mtime), ...furtherKeys(entry) };
    case 'symlink':
      return { type, name, target: entry.target, mtime: String(entry.mtime), ...furtherKeys(entry) };
    case 'link':
      return {
        type,
        name,
        target: entry.target,
        mtime: String(entry.mtime),
        ...(entry.kept?.apart ? { kept_apart: true } : {}),
      };
    case 'missing':
      return { type, name, code: entry.code, reason: entry.reason };
  }
}

/**
 * The entry of a line, in a manifest whose files have digests of `algorithm`. Keys that are not known are ignored.
 * @throws TransferError `bad-header` for a key that is missing or wrong, `name` for a name or target that no snapshot
 * can have
 */
export function parseEntry(line: JsonObject, algorithm: DigestName): ManifestEntry {
  const type = ownValue(line, 'type');
  switch (type) {
    case 'file': {
      const digests = digestsUnder(line, 'digests');
      if (digests[algorithm] === undefined) throw wrong('digests', `an object with ${algorithm}`, digests);
      const source = {
        ...(Object.hasOwn(line, 'ctime') ? { ctime: timeUnder(line, 'ctime') } : {}),
        ...(Object.hasOwn(line, 'inode') ? { inode: inodeUnder(line) } : {}),
      };
      return {
        type,
        name: nameUnder(line, 'name'),
        size: sizeUnder(line, 'size'),
        mode: modeUnder(line, 'mode'),
        mtime: timeUnder(line, 'mtime'),
        digests,
        source,
        ...contentUnder(line),
        ...furtherUnder(line),
      };
    }
    case 'directory':
      return {
        type,
        name: nameUnder(line, 'name'),
        mode: modeUnder(line, 'mode'),
        mtime: timeUnder(line, 'mtime'),
        ...furtherUnder(line),
      };
    case 'symlink':
      return {
        type,
        name: nameUnder(line, 'name'),
        target: linkTarget(textUnder(line, 'target')),
        mtime: timeUnder(line, 'mtime'),
        ...furtherUnder(line),
      };
    case 'link':
      return {
        type,
        name: nameUnder(line, 'name'),
        target: nameUnder(line, 'target'),
        mtime: timeUnder(line, 'mtime'),
        ...(ownValue(line, 'kept_apart') === true ? { kept: { apart: true } } : {}),
      };
    case 'missing': {
      const code = textUnder(line, 'code');
      return {
        type,
        name: textUnder(line, 'name'),
        code: isErrorCode(code) ? code : 'unexpected',
        reason: textUnder(line, 'reason'),
      };
    }
    default:
      throw wrong('type', 'a kind of entry', type);
  }
}

/** A name inside a snapshot, spelled as it is stored: hidden ones too, and none that the snapshot needs for itself. */
function nameUnder(line: JsonObject, key: string): EntryName {
  const text = textUnder(line, key);
  const name = parseEntryName(text, { allowHidden: true, names: 'any' });
  if (name !== text) throw wrong(key, 'a name without a slash at its beginning', text);
  if (isReservedName(name)) throw new TransferError('name', `A snapshot keeps the name "${name}" for itself.`);
  return name;
}

function contentUnder(line: JsonObject): { readonly content?: ContentLocation } {
  if (!Object.hasOwn(line, 'content')) return {};
  return { content: { key: textUnder(line, 'content'), offset: sizeUnder(line, 'offset') } };
}

/** Permission bits as lines have them: four octal digits. */
export function modeText(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function furtherKeys({ metadata, kept }: Further): JsonObject {
  return {
    ...metadataKeys(metadata),
    ...(kept?.mode === undefined ? {} : { kept_mode: modeText(kept.mode) }),
    ...(kept?.mtime === undefined ? {} : { kept_mtime: String(kept.mtime) }),
  };
}

function furtherUnder(line: JsonObject): Further {
  const metadata = metadataUnder(line);
  const kept = {
    ...(Object.hasOwn(line, 'kept_mode') ? { mode: modeUnder(line, 'kept_mode') } : {}),
    ...(Object.hasOwn(line, 'kept_mtime') ? { mtime: timeUnder(line, 'kept_mtime') } : {}),
  };
  return { ...(metadata ? { metadata } : {}), ...(Object.keys(kept).length > 0 ? { kept } : {}) };
}

function modeUnder(line: JsonObject, key: string): number {
  const value = textUnder(line, key);
  if (!/^0[0-7]{3}$/.test(value)) throw wrong(key, 'four octal digits, the first of them 0', value);
  return parseInt(value, 8);
}
