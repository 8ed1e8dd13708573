import { crc32 } from 'node:zlib';
import type { DigestAlgorithm } from '../../digest/digest';
import type { Digests, Verified } from '../../progress';

/**
 * A file as it was right after its commit, what it was received from, and how far it was read back. Times are ns since
 * 1970.
 */
export interface ReceivedState {
  /** Of our file, in bytes. */
  readonly size: number;
  readonly ino: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Of the sender's file; undefined where its system cannot tell. */
  readonly sourceMtime: bigint;
  readonly sourceCtime: bigint | undefined;
  readonly verified: Verified;
}

/** A receipt, and the file that it was given for. */
export interface KeptReceipt extends ReceivedState {
  readonly digests: Digests;
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
function formatReceipt(receipt: KeptReceipt): string {
  const { digests, verifiedAt, peer } = receipt;
  let short = '';
  for (const algorithm of Object.keys(digests) as DigestAlgorithm[]) {
    const digest = Buffer.from(digests[algorithm] ?? '', 'hex').toString('base64url');
    short += `${short === '' ? '' : ','}${algorithm}:${digest}`;
  }
  return [stateText(receipt), short, verifiedAt.toString(16), peerText(peer)].join(' ');
}

/** The fields up to the digests. */
function stateText({ size, ino, mtimeNs, ctimeNs, sourceMtime, sourceCtime, verified }: ReceivedState): string {
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
  ].join(' ');
}

function peerText(peer: string | undefined): string {
  return peer === undefined ? noPeer : encodeURIComponent(peer);
}

/** What a receipt says of a content. */
export interface ReceiptContent {
  /** For `parseDigests`. */
  readonly digests: string;
  /** In ms since 1970. */
  readonly verifiedAt: number;
}

/**
 * What a line says of the content of a file that is in this state, was received as `path` from `peer`, and has a digest
 * of this algorithm; undefined where it is about anything else, or damaged. A line is compared as it is, since there is
 * one for every file of a tree of which nothing has changed.
 */
export function contentIn(
  line: Buffer,
  path: string,
  state: ReceivedState,
  { algorithm, peer }: { readonly algorithm: DigestAlgorithm; readonly peer: string },
): ReceiptContent | undefined {
  if (!isSound(line)) return undefined;
  const text = line.toString('utf8', checksumLength);
  const expected = stateText(state);
  const digestsAt = expected.length + 1;
  const timeAt = text.indexOf(' ', digestsAt) + 1;
  const peerAt = text.indexOf(' ', timeAt) + 1;
  if (!text.startsWith(expected) || text.slice(peerAt) !== `${peerText(peer)} ${path}`) return undefined;
  const digests = text.slice(digestsAt, timeAt - 1);
  const hasDigest = `,${digests}`.includes(`,${algorithm}:`);
  return hasDigest ? { digests, verifiedAt: parseInt(text.slice(timeAt, peerAt - 1), 16) } : undefined;
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

/** `ALGORITHM:DIGEST`, several with commas between them; each digest in base64url. */
export function parseDigests(text: string): Digests {
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
  let checksum = 0;
  for (let at = 0; at < checksumLength - 1; at++) {
    const digit = hexDigits[line[at] ?? 0] ?? noDigit;
    if (digit === noDigit) return false;
    checksum = checksum * 16 + digit;
  }
  return line[checksumLength - 1] === space && checksum === crc32(line.subarray(checksumLength));
}

const noDigit = 0xff;
/** What each byte is worth that is a hexadecimal digit as they are written here. */
const hexDigits = new Uint8Array(256).fill(noDigit);
for (const [worth, digit] of [...'0123456789abcdef'].entries()) hexDigits[digit.charCodeAt(0)] = worth;

function checksumOf(text: Uint8Array): string {
  return crc32(text).toString(16).padStart(8, '0');
}
