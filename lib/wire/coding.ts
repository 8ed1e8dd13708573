/**
 * The codings of contents on the wire (PROTOCOL.md 14.17): how a piece of a file, or the files of a bundle, may travel
 * shorter than they are. Digests, sizes and offsets are always of the content itself.
 */
import { sizeUnder, wrong } from './fields';
import { type JsonObject, ownValue } from './json-object';

/** `zstd`: RFC 8878, one frame. `br`: RFC 7932. */
export type Coding = 'zstd' | 'br';

/** All codings that are known here, the best first. */
export const knownCodings: readonly Coding[] = ['zstd', 'br'];

/** How a content is coded, and its length on the wire, in bytes; neither where it travels as it is. */
export interface Coded {
  readonly coding: Coding;
  readonly coded: number;
}

export function isCoding(value: unknown): value is Coding {
  return knownCodings.some((known) => known === value);
}

/**
 * `coding` and `coded` of a header whose content is `size` bytes long: coded, it is shorter than that. Throws
 * `bad-header`.
 */
export function codedUnder(header: JsonObject, size: number): Coded | Record<never, never> {
  const coding = ownValue(header, 'coding');
  if (coding === undefined) return {};
  if (!isCoding(coding)) throw wrong('coding', '"zstd" or "br"', coding);
  const coded = sizeUnder(header, 'coded', size - 1);
  if (coded === 0) throw wrong('coded', 'at least 1', coded);
  return { coding, coded };
}
