// Which offered files are stored already, as their receipts say: of many at once, in the thread that looks up their
// names.
import type { Verified } from '../../progress';
import type { KnownContent, StoreUse } from '../session-store';
import type { ExistingEntry } from './existing-look';
import { contentIn, parseDigests, type ReceiptContent } from './receipt-line';
import { ReceiptLines } from './receipt-lines';

/** Whose receipts count, and which. */
export interface ReceiptRule extends Pick<StoreUse, 'algorithm' | 'peer'> {
  readonly verified: Verified;
}

/** What is asked of the receipts of many names, by columns in their order. */
export interface ReceiptsAsked extends ReceiptRule {
  /** The path of the file of receipts. */
  readonly file: string;
  /** Where in it the line about each name begins; -1 where nothing is asked. */
  readonly places: Float64Array;
  /** Of the offered files: bytes, and ns since 1970. */
  readonly sizes: Float64Array;
  readonly mtimes: BigInt64Array;
  readonly ctimes: BigInt64Array;
}

/** Those that are stored already, by columns. */
export interface KnownFiles {
  /** Which of the names that were asked about, ascending. */
  readonly at: Uint32Array;
  /** When each was read back, in ms since 1970. */
  readonly verifiedAt: Float64Array;
  /** The digests of each, as its receipt has them; lines. */
  readonly digests: string;
}

/** What is asked about names `from` to `end`. */
export function askedOf(asked: ReceiptsAsked, from: number, end: number): ReceiptsAsked {
  const { places, sizes, mtimes, ctimes } = asked;
  return {
    ...asked,
    places: places.slice(from, end),
    sizes: sizes.slice(from, end),
    mtimes: mtimes.slice(from, end),
    ctimes: ctimes.slice(from, end),
  };
}

/** `existing` is what stands at the names. A receipt that cannot be read counts as none. Synchronous. */
export function knownAmong(
  names: readonly string[],
  existing: readonly (ExistingEntry | undefined)[],
  asked: ReceiptsAsked,
): KnownFiles {
  const { file, places, sizes, mtimes, ctimes } = asked;
  const lines = new ReceiptLines(file);
  const at: number[] = [];
  const verifiedAt: number[] = [];
  const digests: string[] = [];
  for (const [number, name] of names.entries()) {
    const place = places[number] ?? -1;
    const found = existing[number];
    if (place < 0 || found?.kind !== 'file') continue;
    const offered = { size: sizes[number] ?? 0, mtime: mtimes[number] ?? 0n, ctime: ctimes[number] ?? 0n };
    const content = contentBy(lines.at(place), name, offered, found, asked);
    if (!content) continue;
    at.push(number);
    verifiedAt.push(content.verifiedAt);
    digests.push(content.digests);
  }
  return { at: Uint32Array.from(at), verifiedAt: Float64Array.from(verifiedAt), digests: digests.join('\n') };
}

/** What is known of each of `count` names. */
export function contentsOf({ at, verifiedAt, digests }: KnownFiles, count: number): (KnownContent | undefined)[] {
  const contents = new Array<KnownContent | undefined>(count).fill(undefined);
  const texts = digests.split('\n');
  for (let row = 0; row < at.length; row++)
    contents[at[row] ?? 0] = contentOf({ digests: texts[row] ?? '', verifiedAt: verifiedAt[row] ?? 0 });
  return contents;
}

export function contentOf({ digests, verifiedAt }: ReceiptContent): KnownContent {
  return { digests: parseDigests(digests), verifiedAt: new Date(verifiedAt).toISOString() };
}

/** The file that is offered. */
export interface SourceAsOffered {
  /** Bytes. */
  readonly size: number;
  /** Ns since 1970. */
  readonly mtime: bigint;
  readonly ctime: bigint;
}

/**
 * What the line of a receipt says of what stands at a name, if that is a file, neither it nor the file that is offered
 * under it was touched since, and the receipt was given to this peer: of what another one sent it is told nothing.
 */
export function contentBy(
  line: Buffer | undefined,
  name: string,
  { size, mtime, ctime }: SourceAsOffered,
  { kind, ino, mtimeNs, ctimeNs, size: found }: ExistingEntry,
  { verified, ...rule }: ReceiptRule,
): ReceiptContent | undefined {
  if (line === undefined || kind !== 'file' || found !== size) return undefined;
  const state = { size, ino, mtimeNs, ctimeNs, sourceMtime: mtime, sourceCtime: ctime, verified };
  return contentIn(line, name, state, rule);
}
