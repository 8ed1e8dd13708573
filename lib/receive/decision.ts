import type { TransferError } from '../errors';
import { printable } from '../name';
import type { Existing, KnownContent } from '../store/session-store';
import { type IfExists, type Kept, nameTaken } from '../store/store';
import { smallFile } from '../wire/segment';
import type { FileEntry } from '../wire/session-list';
import type { Earlier } from './snapshot-stage';

/** What becomes of an offered file. */
export type Decision =
  /** It is stored already, as its receipt says. PROTOCOL.md 17.4. */
  | ({
      readonly decision: 'known';
      /** It is to get the mode and mtime that were offered. */
      readonly retouch: boolean;
      /** What the disk made of those. */
      readonly kept?: Kept;
    } & KnownContent)
  /** It is one more name of an unchanged file of an earlier snapshot. */
  | { readonly decision: 'link'; readonly earlier: Earlier }
  | WantedContent
  | { readonly decision: 'refused'; readonly error: TransferError };

/** It is to be sent. */
export interface WantedContent {
  readonly decision: 'wanted';
  /**
   * What may be alike in part, of which the sender may learn: what is at the name, or a file of an earlier snapshot.
   */
  readonly basis: 'existing' | Earlier | undefined;
  /** Why it is refused as soon as it turns out to be other than what is at its name. */
  readonly unlessSame: TransferError | undefined;
}

/** What one peer may do with files that are received one by one. */
export interface FileRules {
  readonly ifExists: IfExists;
  /** Whether it may learn digests of files that it did not send. */
  readonly mayCompare: boolean;
}

/** Wanted, whatever is here. */
export const wantedAnew: WantedContent = { decision: 'wanted', basis: undefined, unlessSame: undefined };

/** Whether an offered file is sent whole, in a bundle, and stored in a batch. PROTOCOL.md 15.1. */
export function isSmall({ size }: Pick<FileEntry, 'size'>): boolean {
  return size !== undefined && size <= smallFile;
}

/** Decides about an offered file by what is at its name. */
export function decide(entry: FileEntry, existing: Existing | undefined, rules: FileRules): Decision {
  // Whether a stream is the same as what is there shows only when all of it is here.
  if (existing === undefined || (entry.size === undefined && existing.kind === 'file')) return wantedAnew;
  if (existing.known)
    return { decision: 'known', retouch: rules.ifExists === 'replace' && !existing.asOffered, ...existing.known };
  const error = inTheWay(entry, existing, rules.ifExists);
  if (error && (existing.kind !== 'file' || entry.size !== existing.size)) return { decision: 'refused', error };
  if (existing.kind !== 'file' || !rules.mayCompare || !mayShare(entry, existing)) return wantedAnew;
  return { decision: 'wanted', basis: 'existing', unlessSame: error };
}

/**
 * Decides about a file that is staged for a snapshot: what is at its name came by an earlier try, whose digests the
 * peer learns where it `mayKnow`; `earlier` is what earlier snapshots have.
 */
export function decideStaged(existing: Existing | undefined, earlier: Earlier | undefined, mayKnow: boolean): Decision {
  if (existing?.known && mayKnow) return { decision: 'known', retouch: !existing.asOffered, ...existing.known };
  if (earlier?.unchanged === true) return { decision: 'link', earlier };
  return earlier ? { decision: 'wanted', basis: earlier, unlessSame: undefined } : wantedAnew;
}

/**
 * Whether an offered file and what is at its name may have anything in common: a small one comes as a whole, or not at
 * all.
 */
function mayShare({ size }: FileEntry, existing: Existing): boolean {
  return size === undefined || size > smallFile || (size === existing.size && size > 0);
}

function inTheWay(entry: FileEntry, existing: Existing, ifExists: IfExists): TransferError | undefined {
  if (ifExists === 'rename' || (existing.kind === 'file' && ifExists === 'replace')) return undefined;
  const what = {
    file: 'with other content',
    directory: 'as a directory',
    symlink: 'as a symbolic link',
    other: 'as something that is not a regular file',
  };
  return nameTaken(
    `${printable(entry.name)} already exists ${what[existing.kind]}.`,
    ifExists,
    existing.kind === 'file',
  );
}
