import type { BigIntStats } from 'node:fs';

/** What stands under a name, as lstat(2) tells it apart. */
export type EntryKind = 'file' | 'directory' | 'symlink' | 'other';

export function entryKind(found: BigIntStats): EntryKind {
  if (found.isFile()) return 'file';
  if (found.isDirectory()) return 'directory';
  return found.isSymbolicLink() ? 'symlink' : 'other';
}
