import { createHash } from 'node:crypto';

/**
 * Cuts where the content says so, not the offset: what was inserted into a file moves the cuts behind it along. After
 * Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication" (USENIX ATC
 * 2016): a gear hash, which the least length is not put through, and a condition that is harder to meet before the
 * usual length than after it.
 */

/**
 * How long the content-defined segments of a file are, in bytes; powers of two. Only the last one may be shorter than
 * `least`.
 */
export interface ContentSizes {
  readonly least: number;
  readonly usual: number;
  readonly most: number;
}

const usualSegment = 256 * 1024;
/** About the most segments of a file: a list of all their digests stays small. */
const manySegments = 16384;
/** Bits by which a cut is harder before the usual length, and easier after it. */
const normalization = 2;

/** The sizes for a file that has `size` bytes at the sender. Both sides compute them, so they are never on the wire. */
export function contentSizesOf(size: number): ContentSizes {
  let usual = usualSegment;
  while (usual * manySegments < size) usual *= 2;
  return { least: usual / 2, usual, most: 4 * usual };
}

/** What each value of a byte adds to the hash: the first four bytes of the SHA-256 of that one byte, little-endian. */
export const gear: Int32Array = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256').update(Uint8Array.of(byte)).digest().readInt32LE(0),
);

/**
 * Tells the cuts of one file whose bytes come in pieces of any length. The hash h begins anew with 0 at `least` bytes
 * of each segment; for each byte b behind them, h = 2 h + gear[b] modulo 2^32, and there is a cut after b where so many
 * of the upper bits of h are zero as the length of the segment, b included, asks for: log2(usual) + 2 up to the usual
 * length, log2(usual)
 * - 2 beyond.
 * After `most` bytes there is a cut anyway.
 */
export class ContentCutter {
  private readonly strict: number;
  private readonly loose: number;
  /** Bytes of the segment that is not cut yet. */
  private length = 0;
  private hash = 0;

  constructor(private readonly sizes: ContentSizes) {
    const bits = Math.log2(sizes.usual);
    this.strict = upper(bits + normalization);
    this.loose = upper(bits - normalization);
  }

  /**
   * Takes the next bytes of the file; returns behind how many of them it cuts, ascending. The end of the file is no cut
   * of its own.
   */
  push(bytes: Uint8Array): number[] {
    const { least, usual, most } = this.sizes;
    const cuts: number[] = [];
    for (let at = 0; at < bytes.length;) {
      const from = at;
      const { length } = this;
      const left = bytes.length - at;
      let cut = false;
      if (length < least) at += Math.min(left, least - length);
      else if (length < usual) cut = (at = this.find(bytes, at, at + Math.min(left, usual - length), this.strict)) < 0;
      else cut = (at = this.find(bytes, at, at + Math.min(left, most - length), this.loose)) < 0;
      // A cut is told by the complement of its place.
      if (cut) at = ~at;
      this.length += at - from;
      if (!cut && this.length < most) continue;
      cuts.push(at);
      this.length = 0;
      this.hash = 0;
    }
    return cuts;
  }

  /** Goes on from `at` to `end`: returns `end`, or the complement of the place of a cut. */
  private find(bytes: Uint8Array, at: number, end: number, mask: number): number {
    let h = this.hash;
    // Eight at a time: this loop is what decides how fast all of it is.
    for (const stop = end - 7; at < stop; at += 8) {
      h = ((h << 1) + (gear[bytes[at] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 1);
      h = ((h << 1) + (gear[bytes[at + 1] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 2);
      h = ((h << 1) + (gear[bytes[at + 2] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 3);
      h = ((h << 1) + (gear[bytes[at + 3] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 4);
      h = ((h << 1) + (gear[bytes[at + 4] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 5);
      h = ((h << 1) + (gear[bytes[at + 5] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 6);
      h = ((h << 1) + (gear[bytes[at + 6] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 7);
      h = ((h << 1) + (gear[bytes[at + 7] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 8);
    }
    for (; at < end; at++) {
      h = ((h << 1) + (gear[bytes[at] as number] as number)) | 0;
      if ((h & mask) === 0) return ~(at + 1);
    }
    this.hash = h;
    return at;
  }
}

/** A mask of the `count` upper bits of 32. */
function upper(count: number): number {
  return count < 32 ? -1 << (32 - count) : -1;
}
