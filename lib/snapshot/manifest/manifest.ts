import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { asTransferError, TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import { countUnder, type DigestName, sizeUnder, textUnder, wrong } from '../../wire/fields';
import { type JsonObject, ownValue, parseJsonObject } from '../../wire/json-object';
import { digestInLine, fileLine, type NamedLine, UnchangedFile } from './file-line';
import { encodeEntry, type ManifestEntry, type ManifestFile, parseEntry } from './manifest-entry';
import { parseSnapshotId, type SnapshotId } from './snapshot-id';

export type { ManifestEntry, ManifestFile } from './manifest-entry';

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
  readonly digest: DigestName;
}

/** The highest number that a snapshot can have. */
const highestNumber = 2 ** 32 - 1;

/** Whether a manifest can say that it is the one of that number. */
export function isSnapshotNumber(number: number): boolean {
  return Number.isInteger(number) && number >= 0 && number <= highestNumber;
}

/** In characters. */
const hashedTogether = 64 * 1024;

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

/** How many bytes the line of an entry has. */
export function lineBytes(entry: ManifestEntry): number {
  return Buffer.byteLength(JSON.stringify(encodeEntry(entry))) + 1;
}

/**
 * Writes a manifest line by line: the head, the entries, the totals, and last of all the SHA-256 of every byte before
 * that line.
 */
export class ManifestEncoder {
  private readonly hash = createHash('sha256');
  /** Lines that are not hashed yet: many at once cost little more than one. */
  private lines = '';
  private written = '';

  head({ name, id, number, digest }: ManifestHead): string {
    if (!isSnapshotNumber(number)) throw new TransferError('unexpected', `No snapshot can have the number ${number}.`);
    return this.line(
      JSON.stringify({ sendall: 'manifest', version: manifestVersion, name, snapshot: id, number, digest }),
    );
  }

  entry(entry: ManifestEntry): string {
    return this.line(entry instanceof UnchangedFile ? entry.line : JSON.stringify(encodeEntry(entry)));
  }

  /** The last two lines. */
  end({ entries, bytes, newBytes, missing }: ManifestTotals): string {
    const totals = this.line(JSON.stringify({ entries, bytes, new_bytes: newBytes, missing }));
    this.written = this.hash.update(this.lines).digest('hex');
    return totals + sumLine(this.written);
  }

  /** After the end: the SHA-256 that stands in the last line. */
  get sum(): string {
    return this.written;
  }

  private line(text: string): string {
    const line = `${text}\n`;
    this.lines += line;
    if (this.lines.length < hashedTogether) return line;
    this.hash.update(this.lines);
    this.lines = '';
    return line;
  }
}

/**
 * The largest manifest that is made or read, in bytes, and the most entries. A session that would make a larger one is
 * refused.
 */
export const longestManifest = 2 ** 30;
const mostEntries = 4_000_000;
/** No line of ours is longer, in bytes: a name and a reason, each escaped. */
const longestLine = 2 ** 20;
/** Bytes that are taken, and entries that are compared, in one turn of the event loop. */
const atOnce = 256 * 1024;
const comparedAtOnce = 20_000;

/** All that a manifest says, and what it says of its own bytes. */
export interface DecodedManifest extends Manifest {
  /** SHA-256 of every byte before the last line, in hexadecimal digits: what that line says. */
  readonly sum: string;
  /** SHA-256 of all bytes. */
  readonly digest: string;
}

/**
 * Takes a manifest a piece at a time, as it is read, and never more of it than a caller wants: `wants` chooses the
 * lines of entries that are taken apart. Holds no more than two lines beside the entries. Keys that are not known are
 * ignored; nothing else is.
 */
export class ManifestDecoder {
  private readonly hash = createHash('sha256');
  private head: ManifestHead | undefined;
  private readonly entries: ManifestEntry[] = [];
  /**
   * The end of what has come: the line that is not complete, and the last complete ones, which may be the totals and
   * the sum.
   */
  private rest: Buffer = Buffer.alloc(0);
  private last: Buffer[] = [];
  /** The last bytes, which are not hashed as long as they may be the last line. */
  private tail: Buffer = Buffer.alloc(0);
  private size = 0;
  private lines = 0;
  /** What is wrong with the first bad line; told only of a manifest whose sum is right. */
  private flaw: TransferError | undefined;

  constructor(private readonly wants: (line: Buffer, head: ManifestHead) => boolean = () => true) {}

  /**
   * Takes the next bytes, which are the caller's again afterwards. @throws TransferError `mismatch` for what cannot
   * become a manifest.
   */
  take(bytes: Uint8Array): void {
    this.size += bytes.length;
    if (this.size > longestManifest) throw damaged(`it is longer than ${longestManifest} bytes`);
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.sum(piece);
    let start = 0;
    for (let end = piece.indexOf(lineFeed); end !== -1; end = piece.indexOf(lineFeed, start)) {
      const line = piece.subarray(start, end);
      this.line(this.rest.length > 0 ? Buffer.concat([this.rest, line]) : line);
      this.rest = this.rest.subarray(0, 0);
      start = end + 1;
    }
    this.rest = Buffer.concat([this.rest, piece.subarray(start)]);
    this.last = this.last.map((line) => Buffer.from(line));
    if (this.head === undefined && this.rest.length >= longestManifestHead) throw damaged('it is cut off, or none');
    if (this.rest.length > longestLine) throw damaged(`line ${this.lines + 1} does not end`);
  }

  /**
   * After the last byte: compares what no line tells alone, some thousand entries before each step of the generator,
   * which returns what the manifest says. @throws TransferError `mismatch`
   */
  *end(): Generator<undefined, DecodedManifest> {
    const { head, entries, hash } = this;
    if (head === undefined) throw damaged('it is cut off, or none');
    const sum = hash.copy().digest('hex');
    const [totalsLine, lastLine] = this.last;
    // A last line of any other spelling is a changed one.
    if (this.rest.length > 0 || totalsLine === undefined || `${String(lastLine)}\n` !== sumLine(sum))
      throw damaged('it is cut off, or was changed');
    const digest = hash.update(this.tail).digest('hex');
    const totals = within('its totals', () => parseTotals(parseJsonObject(totalsLine)));
    if (this.flaw !== undefined) throw this.flaw;
    if (this.lines - 3 === entries.length) {
      yield* checkTree(entries);
      checkTotals(entries, totals);
    }
    return { head, entries, totals, sum, digest };
  }

  /** A complete line without its line feed. */
  private line(line: Buffer): void {
    this.lines++;
    if (this.head === undefined) {
      this.head = headOf(line);
      return;
    }
    this.last.push(line);
    const entry = this.last.length > 2 ? this.last.shift() : undefined;
    if (entry === undefined || this.flaw !== undefined) return;
    if (this.lines - 3 > mostEntries) throw damaged(`it has more than ${mostEntries} entries`);
    if (!this.wants(entry, this.head)) return;
    try {
      this.entries.push(entryOf(entry, this.lines - 2, this.head));
    } catch (error) {
      this.flaw = asTransferError(error, 'mismatch', 'A manifest cannot be believed');
    }
  }

  private sum(piece: Buffer): void {
    const all = Buffer.concat([this.tail, piece.subarray(-sumLineLength)]);
    const hashed = this.tail.length + piece.length - sumLineLength;
    if (hashed <= 0) {
      this.tail = all;
      return;
    }
    this.hash.update(this.tail.subarray(0, Math.min(hashed, this.tail.length)));
    if (hashed > this.tail.length) this.hash.update(piece.subarray(0, hashed - this.tail.length));
    this.tail = all.subarray(-sumLineLength);
  }
}

/**
 * Decodes a manifest that comes in pieces, and lets others have their turn in between. Rejects with `mismatch` like
 * `parseManifest`, and as soon as it is longer than one may be; and like `pieces`.
 */
export async function decodeManifest(
  pieces: AsyncIterable<Uint8Array>,
  decoder = new ManifestDecoder(),
): Promise<DecodedManifest> {
  for await (const piece of pieces) decoder.take(piece);
  const ending = decoder.end();
  for (;;) {
    const { done, value } = ending.next();
    if (done === true) return value;
    await turn();
  }
}

/** Bytes that are in memory as `decodeManifest` takes them. */
export async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += atOnce) {
    yield bytes.subarray(at, at + atOnce);
    await turn();
  }
}

/**
 * Reads a manifest as `ManifestEncoder` writes it, at once. Keys that are not known are ignored; nothing else is: no
 * name comes twice, or below what is no directory, every `link` is a name of a file, and the totals are those of the
 * entries.
 * @throws TransferError `mismatch` for one that was cut off or changed, and for what was never a manifest.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const { head, entries, totals } = decodeAtOnce(bytes, new ManifestDecoder());
  return { head, entries, totals };
}

/**
 * A decoder that takes apart only what is needed to find the files whose digest is not `known`: nearly all lines show
 * theirs without that. What it decodes has more entries than these, and not all.
 */
export function otherFilesDecoder(known: (digest: string) => boolean): ManifestDecoder {
  return new ManifestDecoder((line, { digest }) => {
    const seen = digestInLine(line.toString('latin1'), digest);
    return seen === undefined || !known(seen);
  });
}

/**
 * Of a manifest that is whole, the files whose digest is not `known`. What no line tells alone is not looked at.
 * @throws TransferError `mismatch` as `parseManifest` does
 */
export function parseOtherFiles(
  bytes: Uint8Array,
  known: (digest: string) => boolean,
): { readonly head: ManifestHead; readonly files: readonly ManifestFile[] } {
  return otherFilesIn(decodeAtOnce(bytes, otherFilesDecoder(known)), known);
}

/** The files of what an `otherFilesDecoder` made. */
export function otherFilesIn(
  { head, entries }: DecodedManifest,
  known: (digest: string) => boolean,
): { readonly head: ManifestHead; readonly files: readonly ManifestFile[] } {
  return {
    head,
    files: entries.filter(
      (entry): entry is ManifestFile => entry.type === 'file' && !known(entry.digests[head.digest] ?? ''),
    ),
  };
}

/**
 * A decoder that leaves the lines of files as they are where `fileLine` allows it, and gives them to `take`; what it
 * decodes are all other entries.
 */
export function fileLinesDecoder(take: (line: NamedLine) => void): ManifestDecoder {
  return new ManifestDecoder((bytes) => {
    const line = fileLine(bytes);
    if (line) take(line);
    return line === undefined;
  });
}

/**
 * The entry of a line that was left as it was. @throws TransferError `mismatch` for what is none
 */
export function parseFileLine(text: string, head: Pick<ManifestHead, 'digest'>): ManifestEntry {
  return within('a line', () => parseEntry(parseJsonObject(Buffer.from(text)), head.digest));
}

/** A decoder that keeps the entries whose names `wants` chooses. */
export function matchingDecoder(wants: (name: string, isDirectory: boolean) => boolean): ManifestDecoder {
  return new ManifestDecoder((line) => {
    try {
      const { name, type } = JSON.parse(line.toString()) as JsonObject;
      return typeof name !== 'string' || wants(name, type === 'directory');
    } catch {
      return true; // what is wrong with it is found where it is taken apart
    }
  });
}

/** Takes no entry apart: for the first line, the totals, and that the bytes are as they were written. */
export function outlineDecoder(): ManifestDecoder {
  return new ManifestDecoder(() => false);
}

/**
 * The first line and the totals, of a manifest whose bytes are as they were written: the entries are not looked at.
 * @throws TransferError `mismatch`
 */
export function parseManifestOutline(bytes: Uint8Array): ManifestOutline {
  const { head, totals } = decodeAtOnce(bytes, outlineDecoder());
  return { head, totals };
}

/** The first line alone, of a manifest whose beginning is `bytes`. @throws TransferError `mismatch` */
export function parseManifestHead(bytes: Uint8Array): ManifestHead {
  const end = bytes.subarray(0, longestManifestHead).indexOf(lineFeed);
  if (end === -1) throw damaged('it is cut off, or none');
  return headOf(bytes.subarray(0, end));
}

const lineFeed = 0x0a;

/** The last line. It has one spelling only, since nothing else vouches for its own bytes. */
export function sumLine(hex: string): string {
  return `{"sha256":"${hex}"}\n`;
}

const sumLineLength = sumLine('').length + 64;

function decodeAtOnce(bytes: Uint8Array, decoder: ManifestDecoder): DecodedManifest {
  decoder.take(bytes);
  const ending = decoder.end();
  for (;;) {
    const { done, value } = ending.next();
    if (done === true) return value;
  }
}

function headOf(line: Uint8Array): ManifestHead {
  if (line.length >= longestManifestHead) throw damaged('it is cut off, or none');
  return within('line 1', () => parseHead(parseJsonObject(line)));
}

function entryOf(line: Uint8Array, number: number, { digest }: ManifestHead): ManifestEntry {
  return within(`line ${number}`, () => parseEntry(parseJsonObject(line), digest));
}

function parseHead(line: JsonObject): ManifestHead {
  if (ownValue(line, 'sendall') !== 'manifest' || ownValue(line, 'version') !== manifestVersion)
    throw damaged('it is none, or of another version');
  const digest = ownValue(line, 'digest');
  if (digest !== 'blake3' && digest !== 'sha256' && digest !== 'md5')
    throw wrong('digest', '"blake3", "sha256" or "md5"', digest);
  const text = textUnder(line, 'name');
  const name = parseEntryName(text);
  if (text.includes('/')) throw wrong('name', 'one component', text);
  return { name, id: parseSnapshotId(textUnder(line, 'snapshot')), number: countUnder(line, 'number'), digest };
}

function parseTotals(line: JsonObject): ManifestTotals {
  return {
    entries: sizeUnder(line, 'entries'),
    bytes: sizeUnder(line, 'bytes'),
    newBytes: sizeUnder(line, 'new_bytes'),
    missing: sizeUnder(line, 'missing'),
  };
}

/**
 * What no line tells alone: that all of this can stand in one directory. A step of the generator is some thousand
 * entries.
 */
function* checkTree(entries: readonly ManifestEntry[]): Generator<undefined> {
  const types = new Map<string, ManifestEntry['type']>();
  for (const [at, { type, name }] of entries.entries()) {
    if (at % comparedAtOnce === comparedAtOnce - 1) yield;
    if (type === 'missing') continue;
    if (types.has(name)) throw damaged(`"${name}" is in it twice`);
    types.set(name, type);
  }
  for (const [at, entry] of entries.entries()) {
    if (at % comparedAtOnce === comparedAtOnce - 1) yield;
    if (entry.type === 'missing') continue;
    if (entry.type === 'link' && types.get(entry.target) !== 'file')
      throw damaged(`"${entry.name}" is a link to "${entry.target}", which is no file of it`);
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
  if (totals.bytes !== bytes || totals.missing !== missing || totals.newBytes > bytes)
    throw damaged('its totals are not those of its entries');
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
  return new TransferError('mismatch', `A manifest cannot be believed: ${printable(why)}.`, {
    cause,
    hint: 'Nothing in this snapshot is vouched for. Verify the others.',
  });
}
