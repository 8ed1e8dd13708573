// What makes a snapshot one in an object store: a small object at `snapshots/NAME/NUMBER`, put once and on the
// condition that nothing is there. It says which manifest is meant and what its bytes are; docs/object-store.md.
import { asTransferError, TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import { escapeName, type ObjectVerified } from '../../store/object/records';
import {
  countUnder,
  type DigestName,
  isDigest,
  optionalCountUnder,
  sizeUnder,
  textUnder,
  wrong,
} from '../../wire/fields';
import { type JsonObject, ownValue, parseJsonObject } from '../../wire/json-object';
import type { ManifestTotals } from '../manifest/manifest';
import { parseSnapshotId, type SnapshotId } from '../manifest/snapshot-id';

export const snapshotsPrefix = 'snapshots/';
const version = 1;

export interface SnapshotRecord {
  readonly name: EntryName;
  readonly id: SnapshotId;
  readonly number: number;
  readonly digest: DigestName;
  /** Who made it: the id of a key, or `local`. */
  readonly owner: string;
  /** The SHA-256 that the last line of its manifest says. */
  readonly manifest: string;
  /** Of its manifest, in bytes. */
  readonly size: number;
  /** The key of its manifest. */
  readonly content: string;
  readonly totals: ManifestTotals;
  /** How far its bytes and its manifest were verified when it was made. */
  readonly verified: ObjectVerified;
  /** How many entries are below its sources, as far as `notedSources` notes them. */
  readonly sources: Readonly<Record<string, number>>;
  /** What sources had in the snapshot before that have lost most of it in this one. */
  readonly shrunk: Readonly<Record<string, number>>;
  /** The number of that snapshot before; absent in older records, where it is the one with the next lower number. */
  readonly compared?: number | undefined;
}

/** Of a record: earlier versions read none of more than 1 MiB, and some none with more than 1,024 keys. */
const mostSources = 512;
/** In bytes. */
const longestSources = 512 * 1024;
/** What earlier versions have written has a key for each source. */
const mostKeys = 128 * 1024;

/** Those of the counts of sources that a record can take, the largest first. Without an entry there is none. */
export function notedSources(counts: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const noted: [path: string, entries: number][] = [];
  let bytesLeft = longestSources;
  const largestFirst = Object.entries(counts).sort(([, one], [, other]) => other - one);
  for (const [path, entries] of largestFirst.slice(0, mostSources)) {
    bytesLeft -= Buffer.byteLength(JSON.stringify({ [path]: entries }));
    if (entries === 0 || bytesLeft < 0) break;
    noted.push([path, entries]);
  }
  return Object.fromEntries(noted);
}

/** Where the records of a backup are. */
export function recordsOf(name: string): string {
  return `${snapshotsPrefix}${escapeName(name)}/`;
}

/** Keys sort as numbers do. */
export function recordKey({ name, number }: Pick<SnapshotRecord, 'name' | 'number'>): string {
  return `${recordsOf(name)}${String(number).padStart(10, '0')}`;
}

export function encodeSnapshotRecord({ totals, ...record }: SnapshotRecord): Buffer {
  const { newBytes: new_bytes, ...counts } = totals;
  return Buffer.from(`${JSON.stringify({ sendall: 'snapshot', version, ...record, ...counts, new_bytes })}\n`);
}

/** The record at a key. Throws `mismatch` for what is none. */
export function parseSnapshotRecord(text: string, key: string): SnapshotRecord {
  try {
    const line = parseJsonObject(Buffer.from(text), mostKeys);
    if (ownValue(line, 'sendall') !== 'snapshot' || ownValue(line, 'version') !== version)
      throw wrong('version', 'that of a snapshot', ownValue(line, 'version'));
    const [digest, manifest] = [textUnder(line, 'digest'), textUnder(line, 'manifest')];
    if (digest !== 'blake3' && digest !== 'sha256' && digest !== 'md5') throw wrong('digest', 'a digest', digest);
    if (!isDigest(manifest, 'sha256')) throw wrong('manifest', 'a SHA-256', manifest);
    const record: SnapshotRecord = {
      name: parseEntryName(textUnder(line, 'name')),
      id: parseSnapshotId(textUnder(line, 'id')),
      number: countUnder(line, 'number'),
      digest,
      owner: textUnder(line, 'owner'),
      manifest,
      size: sizeUnder(line, 'size'),
      content: textUnder(line, 'content'),
      totals: {
        entries: sizeUnder(line, 'entries'),
        bytes: sizeUnder(line, 'bytes'),
        newBytes: sizeUnder(line, 'new_bytes'),
        missing: sizeUnder(line, 'missing'),
      },
      verified: ownValue(line, 'verified') === 'store' ? 'store' : 'accepted',
      sources: countsUnder(line, 'sources'),
      shrunk: countsUnder(line, 'shrunk'),
      compared: optionalCountUnder(line, 'compared'),
    };
    if (recordKey(record) !== key) throw wrong('number', 'that of its key', record.number);
    return record;
  } catch (error) {
    const { message } = asTransferError(error, 'mismatch', 'It cannot be read');
    throw new TransferError('mismatch', `${printable(key)} is no record of a snapshot: ${printable(message)}`, {
      cause: error,
      hint: 'If the bucket keeps versions, bring an earlier one of this object back.',
    });
  }
}

function countsUnder(line: JsonObject, key: string): Record<string, number> {
  const counts = ownValue(line, key);
  if (typeof counts !== 'object' || counts === null || Array.isArray(counts)) return {};
  return Object.fromEntries(Object.keys(counts).map((each) => [each, sizeUnder(counts as JsonObject, each)]));
}
