import { sizeUnder, textUnder, wrong } from './fields';
import type { JsonObject } from './frame';

/** What a complete snapshot is, spelled as on the wire. */
export interface SnapshotDone {
  readonly id: string;
  readonly entries: number;
  /** Of all files, and of those whose content was in no earlier snapshot. */
  readonly bytes: number;
  readonly new_bytes: number;
  /** How many entries should be there and are not. */
  readonly missing: number;
}

/** As it stands in `done`. @throws TransferError `bad-header` */
export function parseSnapshotDone(value: unknown): SnapshotDone {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('snapshot', 'an object', value);
  const fields = value as JsonObject;
  return {
    id: textUnder(fields, 'id'),
    entries: sizeUnder(fields, 'entries'),
    bytes: sizeUnder(fields, 'bytes'),
    new_bytes: sizeUnder(fields, 'new_bytes'),
    missing: sizeUnder(fields, 'missing'),
  };
}
