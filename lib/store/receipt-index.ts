import { closeSync, constants, openSync, readSync, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { DigestAlgorithm } from '../digest';
import { asTransferError, errnoOf } from '../errors';
import type { Digests, Verified } from '../progress';
import type { Directory } from './directory';
import { NameTable } from './name-table';

/** A receipt, and the file that it was given for as it was right after the commit. Times are ns since 1970. */
export interface KeptReceipt {
  /** Of our file, in bytes. */
  readonly size: number;
  readonly ino: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Of the sender's file; undefined where its system cannot tell. */
  readonly sourceMtime: bigint;
  readonly sourceCtime: bigint | undefined;
  readonly digests: Digests;
  readonly verified: Verified;
}

const fileName = 'receipts';
const { O_CREAT, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const lineFeed = 0x0a;
const space = 0x20;
const checksumLength = 9; // 8 hexadecimal digits and a space
/** How many fields stand between the checksum and the path, in the lines that begin with each of these. */
const fieldsOf = new Map([['+'.charCodeAt(0), 9], ['-'.charCodeAt(0), 1]]);
const forgotten = '-';
/** Fewer lines than that are not worth writing them anew. */
const fewLines = 1_000;
/** How much of the file is read at once, in bytes: all of it in turn, and where one line is looked for. */
const wholeWindow = 256 * 1024;
const findWindow = 16 * 1024;

/** Whole lines of the file, and where in it they begin. */
interface Lines {
  readonly start: number;
  readonly bytes: Buffer;
}

/**
 * What a receive directory has given receipts for, so that a file that is still as it was need not be read again. One line
 * each, in a file to which is only appended; the last line about a path counts. Lines that are damaged are ignored, and
 * losing some costs nothing but reading files again: a receipt that is found says nothing of a file that has changed since.
 *
 * In memory is where in the file the line about a path begins, and what is not saved yet.
 */
export class ReceiptIndex {
  /** What is to be appended, and how much of that memory is used. */
  private tail: Buffer = Buffer.alloc(0);
  private used = 0;
  /** Where the tail begins in the file: behind the last whole line. */
  private saved = 0;
  private lines = 0;
  private readonly starts = new NameTable();
  /** Where a line was looked for last. */
  private seen: Lines = { start: 0, bytes: Buffer.alloc(0) };
  private saving: Promise<void> = Promise.resolve();

  private constructor(private readonly directory: Directory) {}

  /** `directory` is private to us; a file that is missing there is an empty index. Rejects with `disk`. */
  static async open(directory: Directory): Promise<ReceiptIndex> {
    const index = new ReceiptIndex(directory);
    try {
      await index.load();
      if (index.isStale) await index.rewrite();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw asTransferError(error, 'disk', 'The receipts of earlier transfers cannot be read');
    }
    return index;
  }

  find(path: string): KeptReceipt | undefined {
    const start = this.starts.get(path);
    const line = start === undefined ? undefined : this.lineAt(start);
    return line === undefined ? undefined : parseReceipt(line, path);
  }

  remember(path: string, receipt: KeptReceipt): void {
    this.add(path, formatReceipt(receipt), true);
  }

  forget(path: string): void {
    if (this.starts.has(path)) this.add(path, forgotten, false);
  }

  /** Writes what was remembered and forgotten since the last time. Rejects with `disk`; nothing is lost then, and the next one tries again. */
  save(): Promise<void> {
    const saving = this.saving.then(async () => {
      try {
        await this.append();
        if (this.isStale) await this.rewrite();
      } catch (error) {
        throw asTransferError(error, 'disk', 'The receipts cannot be kept');
      }
    });
    this.saving = saving.catch(() => undefined);
    return saving;
  }

  close(): Promise<void> {
    return this.save();
  }

  private get isStale(): boolean {
    return this.lines > fewLines && this.lines > 2 * this.starts.size;
  }

  private async load(): Promise<void> {
    for await (const { start, bytes } of this.read(Infinity)) {
      for (const [from, end] of linesIn(bytes)) {
        this.lines++;
        const line = pathOf(bytes, from, end);
        if (line?.kept === true) this.starts.set(line.path, start + from);
        else if (line) this.starts.delete(line.path);
      }
      this.saved = start + bytes.length;
    }
  }

  private add(path: string, fields: string, kept: boolean): void {
    // No name that can be stored has one; here it would end the line.
    if (path.includes('\n')) return;
    const line = Buffer.from(`${' '.repeat(checksumLength)}${fields} ${path}\n`);
    line.write(`${checksumOf(line.subarray(checksumLength, -1))} `);
    const start = this.used;
    this.used += line.length;
    if (this.used > this.tail.length) this.tail = Buffer.concat([this.tail.subarray(0, start)], 2 * this.used);
    line.copy(this.tail, start);
    this.lines++;
    if (kept) this.starts.set(path, this.saved + start);
    else this.starts.delete(path);
  }

  private async append(): Promise<void> {
    const { saved, used } = this;
    if (used === 0) return;
    const file = await open(this.directory.at(fileName), O_WRONLY | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      // Over what an earlier attempt may have left there.
      for (let done = 0; done < used; ) done += (await file.write(this.tail, done, used - done, saved + done)).bytesWritten;
    } finally {
      await file.close();
    }
    this.tail.copyWithin(0, used, this.used);
    this.used -= used;
    this.saved += used;
  }

  /** Leaves out what is stale. Whenever this ends, there is the old file or the new one; lines may be added meanwhile. */
  private async rewrite(): Promise<void> {
    const { saved, lines } = this;
    const before = this.starts.sorted();
    const now = new Float64Array(before.length);
    let end = 0;
    let next = 0;
    const fresh = this.directory.at(`${fileName}.new`);
    const file = await open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      for await (const { start, bytes } of this.read(saved)) {
        const kept: Buffer[] = [];
        for (const [from, to] of linesIn(bytes)) {
          while ((before[next] ?? Infinity) < start + from) next++;
          if (before[next] !== start + from) continue;
          kept.push(bytes.subarray(from, to + 1));
          now[next++] = end;
          end += to + 1 - from;
        }
        await file.writeFile(Buffer.concat(kept));
      }
    } finally {
      await file.close();
    }
    // In one go with what follows, so that nobody looks for the old places in the new file.
    renameSync(fresh, this.directory.at(fileName));
    this.starts.replace((start) => (start >= saved ? start - saved + end : (now[placeIn(before, start)] ?? 0)));
    this.lines += before.length - lines;
    this.saved = end;
    this.seen = { start: 0, bytes: Buffer.alloc(0) };
  }

  /** The lines up to `end`, in memory that is used again for those that follow. */
  private async *read(end: number): AsyncGenerator<Lines> {
    const file = await open(this.directory.at(fileName), O_RDONLY | O_NOFOLLOW);
    try {
      const window = Buffer.allocUnsafe(wholeWindow);
      for (let start = 0; start < end; ) {
        const { bytesRead } = await file.read(window, 0, Math.min(window.length, end - start), start);
        if (bytesRead === 0) return;
        const whole = window.subarray(0, bytesRead).lastIndexOf(lineFeed) + 1;
        if (whole > 0) yield { start, bytes: window.subarray(0, whole) };
        // No line of ours is longer than a window.
        start += whole || bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  /** The line that begins at `start`, without its line feed; undefined if it is not there any more. */
  private lineAt(start: number): Buffer | undefined {
    if (start >= this.saved) return lineFrom(this.tail, start - this.saved);
    return lineFrom(this.seen.bytes, start - this.seen.start) ?? lineFrom(this.look(start), 0);
  }

  /** Receipts are looked for mostly in the order in which they were given: what stands behind one is for those that follow. */
  private look(start: number): Buffer {
    const bytes = Buffer.allocUnsafe(Math.min(findWindow, this.saved - start));
    try {
      const fd = openSync(this.directory.at(fileName), O_RDONLY | O_NOFOLLOW);
      try {
        this.seen = { start, bytes: bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start)) };
      } finally {
        closeSync(fd);
      }
    } catch {
      this.seen = { start, bytes: bytes.subarray(0, 0) };
    }
    return this.seen.bytes;
  }
}

/** Where each line begins, and where its line feed is. */
function* linesIn(bytes: Buffer): Generator<readonly [number, number]> {
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(lineFeed, from);
    yield [from, end];
    from = end + 1;
  }
}

function lineFrom(bytes: Buffer, from: number): Buffer | undefined {
  const end = from < 0 || from >= bytes.length ? -1 : bytes.indexOf(lineFeed, from);
  return end === -1 ? undefined : bytes.subarray(from, end);
}

/** Where `number` stands among the `sorted`. */
function placeIn(sorted: Float64Array, number: number): number {
  let low = 0;
  for (let high = sorted.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The fields of a line: numbers in hexadecimal, times as 64 bits in two's complement, `=` for a time that is the same as before. */
function formatReceipt({ size, ino, mtimeNs, ctimeNs, sourceMtime, sourceCtime, digests, verified }: KeptReceipt): string {
  const hex = Object.entries(digests).map(([algorithm, digest]) => `${algorithm}:${Buffer.from(digest, 'hex').toString('base64url')}`);
  const source = [sourceMtime === mtimeNs ? '=' : timeText(sourceMtime), sourceCtime === undefined ? '?' : timeText(sourceCtime)];
  return ['+', size.toString(16), ino.toString(16), timeText(mtimeNs), timeText(ctimeNs), ...source, verified, hex.join(',')].join(' ');
}

/** Undefined where the line is damaged, or about another path. */
function parseReceipt(line: Buffer, path: string): KeptReceipt | undefined {
  if (!isSound(line)) return undefined;
  const text = line.toString('utf8', checksumLength);
  const fields = text.split(' ', 9);
  if (text !== `${fields.join(' ')} ${path}`) return undefined;
  const [, size = '', ino = '', mtime = '', ctime = '', sourceMtime = '', sourceCtime = '', verified = '', digests = ''] = fields;
  const mtimeNs = parseTime(mtime);
  return {
    size: parseInt(size, 16),
    ino: BigInt(`0x${ino}`),
    mtimeNs,
    ctimeNs: parseTime(ctime),
    sourceMtime: sourceMtime === '=' ? mtimeNs : parseTime(sourceMtime),
    sourceCtime: sourceCtime === '?' ? undefined : parseTime(sourceCtime),
    digests: Object.fromEntries(digests.split(',').filter(Boolean).map(parseDigest)),
    verified: verified === 'device' ? 'device' : 'cache',
  };
}

function timeText(time: bigint): string {
  return BigInt.asUintN(64, time).toString(16);
}

function parseTime(text: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${text}`));
}

function parseDigest(text: string): [DigestAlgorithm, string] {
  const [algorithm = '', digest = ''] = text.split(':');
  return [algorithm as DigestAlgorithm, Buffer.from(digest, 'base64url').toString('hex')];
}

/** Of which path the line from `start` to `end` speaks; undefined if it is damaged. */
function pathOf(bytes: Buffer, start: number, end: number): { readonly path: string; readonly kept: boolean } | undefined {
  let at = start + checksumLength;
  const kind = bytes[at] ?? 0;
  const fields = fieldsOf.get(kind);
  if (fields === undefined || at > end) return undefined;
  if (!isSound(bytes.subarray(start, end))) return undefined;
  for (let field = 0; field < fields; field++) at = bytes.indexOf(space, at) + 1;
  return { path: bytes.toString('utf8', at, end), kept: kind !== forgotten.charCodeAt(0) };
}

function isSound(line: Buffer): boolean {
  return line.toString('latin1', 0, checksumLength) === `${checksumOf(line.subarray(checksumLength))} `;
}

function checksumOf(text: Uint8Array): string {
  return crc32(text).toString(16).padStart(8, '0');
}
