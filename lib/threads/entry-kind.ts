import type { EntryStats } from './entry-stats';

/** What stands under a name, as lstat(2) tells it apart. */
export type EntryKind = 'file' | 'directory' | 'symlink' | 'other';

export function entryKind(found: EntryStats): EntryKind {
  if (found.isFile()) return 'file';
  if (found.isDirectory()) return 'directory';
  return found.isSymbolicLink() ? 'symlink' : 'other';
}
