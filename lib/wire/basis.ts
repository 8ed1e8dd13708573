import { type DigestName, isDigest, wrong } from './fields';
import { parseList } from './json-list';
import { mostSegments } from './segment';

/** Bytes of a file that stands at the receiver and may be alike in part to one that was offered. */
export interface BasisSegment {
  /** Where they are in the standing file. */
  readonly offset: number;
  /** At least 1. */
  readonly size: number;
  /** Of the session's algorithm. */
  readonly digest: string;
}

/** Most of them for one file. */
export const mostBasisSegments = 2 * mostSegments;

/** The payload of `standing`: `[number, offset, size, digest]` each. @throws TransferError `bad-header` */
export function parseBasis(bytes: Uint8Array, algorithm: DigestName): (BasisSegment & { readonly file: number })[] {
  return parseList(bytes).map((element) => {
    const [file, offset, size, digest, ...others] = Array.isArray(element) ? (element as unknown[]) : [];
    const good =
      isWhole(file, 0, 0xffffffff) &&
      isWhole(offset, 0, Number.MAX_SAFE_INTEGER) &&
      isWhole(size, 1, Number.MAX_SAFE_INTEGER - offset);
    if (!good || !isDigest(digest, algorithm) || others.length > 0)
      throw wrong('list', `[number, offset, size, ${algorithm}]`, element);
    return { file, offset, size, digest };
  });
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return (
    typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most && !Object.is(value, -0)
  );
}
