import type { FoundEntry } from '../../scan/found';
import type { Located } from '../../threads/walker';
import type { ManifestEntry } from '../manifest/manifest';

/**
 * A directory or a link as a session offers it, by what the manifest says of it alone; `located` is where it stands, or
 * would. Files have content, of which their source tells.
 */
export function entryByManifest(
  entry: Exclude<ManifestEntry, { readonly type: 'file' | 'missing' }>,
  located: Located,
): FoundEntry {
  const { name, mtime } = entry;
  const metadata = 'metadata' in entry ? entry.metadata : undefined;
  const base = { ...located, name, mtime, ctime: mtime, metadata };
  switch (entry.type) {
    case 'directory':
      return { type: 'directory', mode: entry.mode, ...base };
    case 'symlink':
      return { type: 'symlink', target: entry.target, ...base };
    case 'link':
      return { type: 'link', target: entry.target, ...base };
  }
}
