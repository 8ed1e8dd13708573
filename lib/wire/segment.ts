import { TransferError } from '../errors';

/** What one `segment` frame carries at most, in bytes. Every frame begins at a multiple of it. */
export const pieceSize = 1024 * 1024;

/** Files up to this size travel whole, in bundles; in bytes. */
export const smallFile = 64 * 1024;

/** Most segments of a file: a list of all their digests fits into one message. */
export const mostSegments = 65536;

/**
 * How long the segments of a file are, in bytes: the smallest power of two from `pieceSize` on with which a file of
 * `size` bytes has no more than `mostSegments`. Both sides compute it, so it is never on the wire.
 */
export function segmentSizeOf(size: number): number {
  let segment = pieceSize;
  while (segment * mostSegments < size) segment *= 2;
  return segment;
}

/** How many segments a file of `size` bytes has; an empty file has none. */
export function segmentCountOf(size: number): number {
  return Math.ceil(size / segmentSizeOf(size));
}

/** Which pieces of a file are here, one bit each. */
export class Coverage {
  private readonly bits: Uint8Array;
  private readonly count: number;
  /** How many pieces are here. */
  covered = 0;
  private prefixPieces = 0;

  constructor(readonly size: number) {
    this.count = Math.ceil(size / pieceSize);
    this.bits = new Uint8Array(Math.ceil(this.count / 8));
  }

  /**
   * Takes in `length` bytes from `offset` on: whole pieces, or up to the end of the file. Returns how many pieces were
   * new.
   */
  add(offset: number, length: number): number {
    const first = offset / pieceSize;
    const end = offset + length === this.size ? this.count : (offset + length) / pieceSize;
    if (!Number.isInteger(first) || !Number.isInteger(end) || offset + length > this.size) {
      throw new TransferError(
        'bad-header',
        `${String(length)} bytes at ${String(offset)} are no whole pieces of a file of ${String(this.size)}.`,
      );
    }
    const before = this.covered;
    for (let piece = first; piece < end; piece++) {
      if (this.has(piece)) continue;
      this.bits[piece >> 3] = (this.bits[piece >> 3] ?? 0) | (1 << (piece & 7));
      this.covered++;
    }
    while (this.prefixPieces < this.count && this.has(this.prefixPieces)) this.prefixPieces++;
    return this.covered - before;
  }

  has(piece: number): boolean {
    return ((this.bits[piece >> 3] ?? 0) & (1 << (piece & 7))) !== 0;
  }

  /** Whether all of the file is here. */
  get whole(): boolean {
    return this.covered === this.count;
  }

  /** How many bytes from the start of the file on are here without a gap. */
  get prefix(): number {
    return Math.min(this.size, this.prefixPieces * pieceSize);
  }

  /** The segments of which every piece is here, in order. */
  segments(): number[] {
    return this.segmentsIn(0, this.size);
  }

  /** Those of them that have bytes of the `length` from `offset` on. */
  segmentsIn(offset: number, length: number): number[] {
    const size = segmentSizeOf(this.size);
    const perSegment = size / pieceSize;
    const whole: number[] = [];
    for (let segment = Math.floor(offset / size); segment * size < offset + length; segment++) {
      const end = Math.min(this.count, (segment + 1) * perSegment);
      let piece = segment * perSegment;
      while (piece < end && this.has(piece)) piece++;
      if (piece === end) whole.push(segment);
    }
    return whole;
  }
}
