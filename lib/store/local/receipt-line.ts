import { crc32 } from 'node:zlib';
import type { DigestAlgorithm } from '../../digest/digest';
import type { Digests, Verified } from '../../progress';

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
  /** When it was last read back, in ms since 1970. */
  readonly verifiedAt: number;
  /** Who sent it: the id of a key; undefined where a version did not note it. */
  readonly peer: string | undefined;
}

const space = 0x20;
const lineFeed = 0x0a;
/** Most bytes of UTF-8 of one UTF-16 unit. */
const longestUnit = 3;
const checksumLength = 9; // 8 hexadecimal digits and a space
/** How many fields stand between the checksum and the path, in the lines that begin with each of these. */
const fieldsOf = new Map([
  ['*'.charCodeAt(0), 11],
  ['+'.charCodeAt(0), 9], // the same without the last two, as it was written until November 2026
  ['-'.charCodeAt(0), 1],
]);
const forgotten = '-';
const noPeer = '?';

/** The line of the receipt about `path`, or that there is none any more, without its checksum. */
export function lineText(path: string, receipt: KeptReceipt | undefined): string {
  return `${receipt ? formatReceipt(receipt) : forgotten} ${path}`;
}

/** Most bytes of a line, with its checksum and its line feed. */
export function mostBytes(text: string): number {
  return checksumLength + text.length * longestUnit + 1;
}

/** Writes a line from `at` on; returns where it ends. There have to be `mostBytes` for it. */
export function putLine(text: string, memory: Buffer, at: number): number {
  const from = at + checksumLength;
  const end = from + memory.write(text, from);
  memory.write(`${checksumOf(memory.subarray(from, end))} `, at, 'latin1');
  memory[end] = lineFeed;
  return end + 1;
}

/**
 * The fields of a line that keeps one: numbers in hexadecimal, times as 64 bits in two's complement, `=` for a time
 * that is the same as before.
 */
function formatReceipt({
  size,
  ino,
  mtimeNs,
  ctimeNs,
  sourceMtime,
  sourceCtime,
  digests,
  verified,
  verifiedAt,
  peer,
}: KeptReceipt): string {
  let short = '';
  for (const algorithm of Object.keys(digests) as DigestAlgorithm[]) {
    const digest = Buffer.from(digests[algorithm] ?? '', 'hex').toString('base64url');
    short += `${short === '' ? '' : ','}${algorithm}:${digest}`;
  }
  // Joined, since every `+` would leave one more text behind, and there is a line for every file.
  return [
    '*',
    size.toString(16),
    ino.toString(16),
    timeText(mtimeNs),
    timeText(ctimeNs),
    sourceMtime === mtimeNs ? '=' : timeText(sourceMtime),
    sourceCtime === undefined ? '?' : timeText(sourceCtime),
    verified,
    short,
    verifiedAt.toString(16),
    peer === undefined ? noPeer : encodeURIComponent(peer),
  ].join(' ');
}

/** Undefined where the line is damaged, or about another path. */
export function parseReceipt(line: Buffer, path: string): KeptReceipt | undefined {
  if (!isSound(line)) return undefined;
  const text = line.toString('utf8', checksumLength);
  const fields = text.split(' ', fieldsOf.get(text.charCodeAt(0)));
  const before = fields.reduce((sum, { length }) => sum + length + 1, 0);
  if (text.length !== before + path.length || !text.endsWith(path)) return undefined;
  // By their places: an array is taken apart by an iterator, and a register has a line for every file.
  const mtimeNs = parseTime(fields[3] ?? '');
  const ctimeNs = parseTime(fields[4] ?? '');
  const sourceMtime = fields[5] ?? '';
  const sourceCtime = fields[6] ?? '';
  const verifiedAt = fields[9];
  const peer = fields[10];
  return {
    size: parseInt(fields[1] ?? '', 16),
    ino: BigInt(`0x${fields[2] ?? ''}`),
    mtimeNs,
    ctimeNs,
    sourceMtime: sourceMtime === '=' ? mtimeNs : parseTime(sourceMtime),
    sourceCtime: sourceCtime === '?' ? undefined : parseTime(sourceCtime),
    digests: parseDigests(fields[8] ?? ''),
    verified: fields[7] === 'device' ? 'device' : 'cache',
    // It got its name right after it was read back.
    verifiedAt: verifiedAt === undefined ? Number(ctimeNs / 1_000_000n) : parseInt(verifiedAt, 16),
    peer: peer === undefined || peer === noPeer ? undefined : decodeURIComponent(peer),
  };
}

function timeText(time: bigint): string {
  return BigInt.asUintN(64, time).toString(16);
}

function parseTime(text: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${text}`));
}

/** `ALGORITHM:DIGEST`, several with commas between them. */
function parseDigests(text: string): Digests {
  const digests: Partial<Record<DigestAlgorithm, string>> = {};
  for (let from = 0, end = 0; from < text.length; from = end + 1) {
    const comma = text.indexOf(',', from);
    end = comma === -1 ? text.length : comma;
    const colon = text.indexOf(':', from);
    const digest = Buffer.from(text.slice(colon + 1, end), 'base64url').toString('hex');
    digests[text.slice(from, colon) as DigestAlgorithm] = digest;
  }
  return digests;
}

/** Of which path the line from `start` to `end` speaks; undefined if it is damaged. */
export function pathOf(
  bytes: Buffer,
  start: number,
  end: number,
): { readonly path: string; readonly kept: boolean } | undefined {
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
