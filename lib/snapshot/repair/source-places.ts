import path from 'node:path';
import type { EntryName } from '../../name';
import type { Located } from '../../threads/walker';

/** Where a name of a snapshot may be on this machine: names begin with the last component of what was backed up. */
export function locateSources(name: EntryName, sources: readonly string[]): Located[] {
  return sources.flatMap((source) => {
    const [pathname, base] = [path.resolve(source), path.basename(path.resolve(source))];
    if (name === base) return [{ path: pathname }];
    // What is below is the choice of who has the snapshots: it leads through no symbolic link of ours.
    return name.startsWith(`${base}/`) ? [{ path: pathname, below: name.slice(base.length + 1) }] : [];
  });
}
