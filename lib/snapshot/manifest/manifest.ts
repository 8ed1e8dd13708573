import { createHash } from 'node:crypto';
import { TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import { countUnder, type DigestAlgorithm, sizeUnder, textUnder, wrong } from '../../wire/fields';
import { type JsonObject, ownValue, parseJsonObject } from '../../wire/json-object';
import { encodeEntry, type ManifestEntry, parseEntry } from './manifest-entry';
import { parseSnapshotId, type SnapshotId } from './snapshot-id';

export type { ManifestEntry, SourceState } from './manifest-entry';

type FileEntry = Extract<ManifestEntry, { readonly type: 'file' }>;

/** What stands beside the files of a snapshot, and cannot be the name of one. */
export const manifestName = 'MANIFEST';
const manifestVersion = 1;

/** A first line is shorter than that, in bytes: who reads as many has it whole. */
export const longestManifestHead = 4096;

/** The first line: which snapshot this is. */
export interface ManifestHead {
  /** Of the backup, one component. */
  readonly name: EntryName;
  readonly id: SnapshotId;
  /** One more than the newest before it: the order of snapshots, whatever the clock said. */
  readonly number: number;
  /** What every file's digest is. */
  readonly digest: DigestAlgorithm;
}

/** What the line after the entries sums up. */
export interface ManifestTotals {
  readonly entries: number;
  /** Of all files; those of a hard link count once. */
  readonly bytes: number;
  /** Of the files that were not in an earlier snapshot. */
  readonly newBytes: number;
  /** How many entries are `missing`. */
  readonly missing: number;
}

/** A manifest without its entries. */
export interface ManifestOutline {
  readonly head: ManifestHead;
  readonly totals: ManifestTotals;
}

export interface Manifest extends ManifestOutline {
  readonly entries: readonly ManifestEntry[];
}

/** Writes a manifest line by line: the head, the entries, the totals, and last of all the SHA-256 of every byte before that line. */
export class ManifestEncoder {
  private readonly hash = createHash('sha256');

  head({ name, id, number, digest }: ManifestHead): string {
    return this.line({ sendall: 'manifest', version: manifestVersion, name, snapshot: id, number, digest });
  }

  entry(entry: ManifestEntry): string {
    return this.line(encodeEntry(entry));
  }

  /** The last two lines. */
  end({ entries, bytes, newBytes, missing }: ManifestTotals): string {
    return this.line({ entries, bytes, new_bytes: newBytes, missing }) + sumLine(this.hash.digest('hex'));
  }

  private line(fields: JsonObject): string {
    const line = `${JSON.stringify(fields)}\n`;
    this.hash.update(line);
    return line;
  }
}

/**
 * Reads a manifest as `ManifestEncoder` writes it. Keys that are not known are ignored; nothing else is: no name comes twice, or below
 * what is no directory, every `link` is a name of a file, and the totals are those of the entries.
 * @throws TransferError `mismatch` for one that was cut off or changed, and for what was never a manifest.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const { head, totals } = parseManifestOutline(bytes);
  const entries: ManifestEntry[] = [];
  for (const [number, start, end] of linesOf(bytes)) entries.push(entryOf(bytes.subarray(start, end), number, head));
  checkTree(entries);
  checkTotals(entries, totals);
  return { head, entries, totals };
}

/**
 * Of a manifest that is whole, the files whose digest is not `known`: nearly all lines show theirs without being taken apart. What no line
 * tells alone is not looked at.
 * @throws TransferError `mismatch` as `parseManifest` does
 */
export function parseOtherFiles(bytes: Uint8Array, known: (digest: string) => boolean): { readonly head: ManifestHead; readonly files: readonly FileEntry[] } {
  const { head } = parseManifestOutline(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  // In no string, where each quotation mark would have a backslash before it.
  const mark = `"${head.digest}":"`;
  const files: FileEntry[] = [];
  for (const [number, start, end] of linesOf(bytes)) {
    const line = text.slice(start, end);
    const at = line.indexOf(mark);
    if (at !== -1 && known(line.slice(at + mark.length, line.indexOf('"', at + mark.length)))) continue;
    const entry = entryOf(bytes.subarray(start, end), number, head);
    if (entry.type === 'file' && !known(entry.digests[head.digest] ?? '')) files.push(entry);
  }
  return { head, files };
}

/** The first line and the totals, of a manifest whose bytes are as they were written: the entries are not looked at. @throws TransferError `mismatch` */
export function parseManifestOutline(bytes: Uint8Array): ManifestOutline {
  const head = parseManifestHead(bytes);
  const written = bytes.subarray(0, -sumLineLength);
  const sum = sumLine(createHash('sha256').update(written).digest('hex'));
  // A last line of any other spelling is a changed one.
  if (!Buffer.from(sum).equals(bytes.subarray(written.length)) || written.at(-1) !== lineFeed || totalsOf(bytes) === 0) throw damaged('it is cut off, or was changed');
  const totals = within('its totals', () => parseTotals(parseJsonObject(written.subarray(totalsOf(bytes), -1))));
  return { head, totals };
}

/** The first line alone, of a manifest whose beginning is `bytes`. @throws TransferError `mismatch` */
export function parseManifestHead(bytes: Uint8Array): ManifestHead {
  const end = bytes.subarray(0, longestManifestHead).indexOf(lineFeed);
  if (end === -1) throw damaged('it is cut off, or none');
  return within('line 1', () => parseHead(parseJsonObject(bytes.subarray(0, end))));
}

const lineFeed = 0x0a;

/** The last line. It has one spelling only, since nothing else vouches for its own bytes. */
function sumLine(hex: string): string {
  return `{"sha256":"${hex}"}\n`;
}

const sumLineLength = sumLine('').length + 64;

/** Where the totals begin: in the last line but one. */
function totalsOf(bytes: Uint8Array): number {
  return bytes.lastIndexOf(lineFeed, bytes.length - sumLineLength - 2) + 1;
}

/** The lines of the entries: the number of each in the file, from 2, where it starts, and where its line feed is. */
function* linesOf(bytes: Uint8Array): Generator<readonly [number: number, start: number, end: number]> {
  const last = totalsOf(bytes);
  let number = 2;
  for (let start = bytes.indexOf(lineFeed) + 1; start < last; number++) {
    const end = bytes.indexOf(lineFeed, start);
    yield [number, start, end];
    start = end + 1;
  }
}

function entryOf(line: Uint8Array, number: number, { digest }: ManifestHead): ManifestEntry {
  return within(`line ${number}`, () => parseEntry(parseJsonObject(line), digest));
}

function parseHead(line: JsonObject): ManifestHead {
  if (ownValue(line, 'sendall') !== 'manifest' || ownValue(line, 'version') !== manifestVersion) throw damaged('it is none, or of another version');
  const digest = ownValue(line, 'digest');
  if (digest !== 'blake3' && digest !== 'sha256' && digest !== 'md5') throw wrong('digest', '"blake3", "sha256" or "md5"', digest);
  const text = textUnder(line, 'name');
  const name = parseEntryName(text);
  if (text.includes('/')) throw wrong('name', 'one component', text);
  return { name, id: parseSnapshotId(textUnder(line, 'snapshot')), number: countUnder(line, 'number'), digest };
}

function parseTotals(line: JsonObject): ManifestTotals {
  return { entries: sizeUnder(line, 'entries'), bytes: sizeUnder(line, 'bytes'), newBytes: sizeUnder(line, 'new_bytes'), missing: sizeUnder(line, 'missing') };
}

/** What no line tells alone: that all of this can stand in one directory. */
function checkTree(entries: readonly ManifestEntry[]): void {
  const types = new Map<string, ManifestEntry['type']>();
  for (const { type, name } of entries) {
    if (type === 'missing') continue;
    if (types.has(name)) throw damaged(`"${name}" is in it twice`);
    types.set(name, type);
  }
  for (const entry of entries) {
    if (entry.type === 'missing') continue;
    if (entry.type === 'link' && types.get(entry.target) !== 'file') throw damaged(`"${entry.name}" is a link to "${entry.target}", which is no file of it`);
    for (let end = entry.name.lastIndexOf('/'); end !== -1; end = entry.name.lastIndexOf('/', end - 1)) {
      const above = types.get(entry.name.slice(0, end));
      if (above === 'directory') break; // what is above that is looked at for the directory itself
      if (above !== undefined) throw damaged(`"${entry.name}" lies below what is no directory`);
    }
  }
}

function checkTotals(entries: readonly ManifestEntry[], totals: ManifestTotals): void {
  let [bytes, missing] = [0, 0];
  for (const entry of entries) {
    if (entry.type === 'file') bytes += entry.size;
    if (entry.type === 'missing') missing += 1;
  }
  if (totals.entries !== entries.length) throw damaged('it has not as many entries as it says');
  if (totals.bytes !== bytes || totals.missing !== missing || totals.newBytes > bytes) throw damaged('its totals are not those of its entries');
}

function within<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof TransferError && error.code === 'mismatch') throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw damaged(`${where}: ${why.replace(/^The header/, 'the line').replace(/\.$/, '')}`, error);
  }
}

function damaged(why: string, cause?: unknown): TransferError {
  return new TransferError('mismatch', `A manifest cannot be believed: ${printable(why)}.`, { cause, hint: 'Nothing in this snapshot is vouched for. Verify the others.' });
}
