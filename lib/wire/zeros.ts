import { pieceSize } from './segment';

/** Read, and never written: as many zeros as there may be in a piece. */
export const zeros = new Uint8Array(pieceSize);

/** Whether all of a piece is zeros. Looks at a few bytes first: they show of almost every piece that it is not. */
export function isZero(bytes: Uint8Array): boolean {
  const { length } = bytes;
  return (
    bytes[0] === 0 &&
    bytes[length >> 1] === 0 &&
    bytes[length - 1] === 0 &&
    Buffer.compare(bytes, zeros.subarray(0, length)) === 0
  );
}
