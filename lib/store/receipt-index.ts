import { constants } from 'node:fs';
import { open, readFile, rename } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { DigestAlgorithm } from '../digest';
import { asTransferError, errnoOf } from '../errors';
import type { Digests, Verified } from '../progress';
import type { Directory } from './directory';

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
const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const lineFeed = 0x0a;
const space = 0x20;
const checksumLength = 9; // 8 hexadecimal digits and a space
/** How many fields stand between the checksum and the path, in the lines that begin with each of these. */
const fieldsOf = new Map([['+'.charCodeAt(0), 9], ['-'.charCodeAt(0), 1]]);
const forgotten = '-';
/** Fewer lines than that are not worth writing them anew. */
const fewLines = 1_000;

/**
 * What a receive directory has given receipts for, so that a file that is still as it was need not be read again. One line
 * each, in a file to which is only appended; the last line about a path counts. Lines that are damaged are ignored, and
 * losing some costs nothing but reading files again: a receipt that is found says nothing of a file that has changed since.
 *
 * In memory are the lines as they are on the disk, and where in them the one about a path begins.
 */
export class ReceiptIndex {
  private bytes: Buffer = Buffer.alloc(0);
  private used = 0;
  /** How much of `bytes` is on the disk. */
  private saved = 0;
  private lines = 0;
  private readonly starts = new Map<string, number>();
  /** Whether what is on the disk may end in the middle of a line. */
  private torn = false;
  private saving: Promise<void> = Promise.resolve();

  private constructor(private readonly directory: Directory) {}

  /** `directory` is private to us; a file that is missing there is an empty index. Rejects with `disk`. */
  static async open(directory: Directory): Promise<ReceiptIndex> {
    const index = new ReceiptIndex(directory);
    try {
      index.load(await readFile(directory.at(fileName), { flag: O_RDONLY | O_NOFOLLOW }));
      if (index.isStale) await index.rewrite();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw asTransferError(error, 'disk', 'The receipts of earlier transfers cannot be read');
    }
    return index;
  }

  find(path: string): KeptReceipt | undefined {
    const start = this.starts.get(path);
    return start === undefined ? undefined : parseReceipt(this.textOf(start));
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
        if (this.isStale) await this.rewrite();
        else await this.append();
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

  private load(bytes: Buffer): void {
    this.bytes = bytes;
    this.used = bytes.length;
    this.saved = bytes.length;
    this.torn = bytes.length > 0 && bytes.at(-1) !== lineFeed;
    for (let start = 0; start < bytes.length; this.lines++) {
      const end = bytes.indexOf(lineFeed, start);
      if (end === -1) break;
      const line = pathOf(bytes, start, end);
      if (line?.kept === true) this.starts.set(line.path, start);
      else if (line) this.starts.delete(line.path);
      start = end + 1;
    }
  }

  private add(path: string, fields: string, kept: boolean): void {
    // No name that can be stored has one; here it would end the line.
    if (path.includes('\n')) return;
    const line = Buffer.from(`${' '.repeat(checksumLength)}${fields} ${path}\n`);
    line.write(`${checksumOf(line.subarray(checksumLength, -1))} `);
    const start = this.used;
    this.used += line.length;
    if (this.used > this.bytes.length) this.bytes = Buffer.concat([this.bytes.subarray(0, start)], Math.ceil(this.used * 1.25));
    line.copy(this.bytes, start);
    this.lines++;
    if (kept) this.starts.set(path, start);
    else this.starts.delete(path);
  }

  private async append(): Promise<void> {
    const { saved, used } = this;
    if (used === saved) return;
    const file = await open(this.directory.at(fileName), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      const lines = this.bytes.subarray(saved, used);
      await file.writeFile(this.torn ? Buffer.concat([Buffer.from('\n'), lines]) : lines).catch((error: unknown) => {
        this.torn = true;
        throw error;
      });
    } finally {
      await file.close();
    }
    this.torn = false;
    this.saved = used;
  }

  /** Leaves out what is stale. Whenever this ends, there is the old file or the new one. */
  private async rewrite(): Promise<void> {
    const { starts } = this;
    const lines = [...starts].sort(([, one], [, other]) => one - other).map(([path, start]) => ({ path, line: this.bytes.subarray(start, this.endOf(start) + 1) }));
    const bytes = Buffer.concat(lines.map(({ line }) => line));
    this.bytes = bytes;
    this.used = bytes.length;
    this.lines = lines.length;
    let start = 0;
    for (const { path, line } of lines) {
      starts.set(path, start);
      start += line.length;
    }
    this.saved = 0;
    const fresh = this.directory.at(`${fileName}.new`);
    const file = await open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(bytes);
    } finally {
      await file.close();
    }
    await rename(fresh, this.directory.at(fileName));
    this.saved = bytes.length;
    this.torn = false;
  }

  private endOf(start: number): number {
    return this.bytes.indexOf(lineFeed, start);
  }

  private textOf(start: number): string {
    return this.bytes.toString('utf8', start + checksumLength, this.endOf(start));
  }
}

/** The fields of a line: numbers in hexadecimal, times as 64 bits in two's complement, `=` for a time that is the same as before. */
function formatReceipt({ size, ino, mtimeNs, ctimeNs, sourceMtime, sourceCtime, digests, verified }: KeptReceipt): string {
  const hex = Object.entries(digests).map(([algorithm, digest]) => `${algorithm}:${Buffer.from(digest, 'hex').toString('base64url')}`);
  const source = [sourceMtime === mtimeNs ? '=' : timeText(sourceMtime), sourceCtime === undefined ? '?' : timeText(sourceCtime)];
  return ['+', size.toString(16), ino.toString(16), timeText(mtimeNs), timeText(ctimeNs), ...source, verified, hex.join(',')].join(' ');
}

function parseReceipt(line: string): KeptReceipt {
  const [, size = '', ino = '', mtime = '', ctime = '', sourceMtime = '', sourceCtime = '', verified = '', digests = ''] = line.split(' ', 9);
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
  if (bytes.toString('latin1', start, at) !== `${checksumOf(bytes.subarray(at, end))} `) return undefined;
  for (let field = 0; field < fields; field++) at = bytes.indexOf(space, at) + 1;
  return { path: bytes.toString('utf8', at, end), kept: kind !== forgotten.charCodeAt(0) };
}

function checksumOf(text: Uint8Array): string {
  return crc32(text).toString(16).padStart(8, '0');
}
