import type { ShrunkSource } from '../progress';
import { sizeUnder, textUnder, wrong } from './fields';
import type { JsonObject } from './frame';
import { ownValue } from './json-object';

/** What a complete snapshot is, spelled as on the wire. */
export interface SnapshotDone {
  readonly id: string;
  readonly entries: number;
  /** Of all files, and of those whose content was in no earlier snapshot. */
  readonly bytes: number;
  readonly new_bytes: number;
  /** How many entries should be there and are not. */
  readonly missing: number;
  /** Absent for none, and where the sender said that it knows. */
  readonly shrunk?: readonly ShrunkSource[];
}

/** As it stands in `done`. @throws TransferError `bad-header` */
export function parseSnapshotDone(value: unknown): SnapshotDone {
  const fields = objectOf('snapshot', value);
  return {
    id: textUnder(fields, 'id'),
    entries: sizeUnder(fields, 'entries'),
    bytes: sizeUnder(fields, 'bytes'),
    new_bytes: sizeUnder(fields, 'new_bytes'),
    missing: sizeUnder(fields, 'missing'),
    ...shrunkUnder(ownValue(fields, 'shrunk')),
  };
}

function shrunkUnder(value: unknown): Pick<SnapshotDone, 'shrunk'> {
  if (value === undefined) return {};
  if (!Array.isArray(value)) throw wrong('shrunk', 'an array', value);
  const shrunk = value.map((each) => {
    const fields = objectOf('shrunk', each);
    return {
      path: textUnder(fields, 'path'),
      entries: sizeUnder(fields, 'entries'),
      before: sizeUnder(fields, 'before'),
    };
  });
  return shrunk.length === 0 ? {} : { shrunk };
}

function objectOf(key: string, value: unknown): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(key, 'an object', value);
  return value as JsonObject;
}
