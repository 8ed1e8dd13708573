import type { Entry } from '../wire/session-list';
import type { FoundEntry } from './found';

/**
 * What was found, as it is offered under the number `file` (PROTOCOL.md 13.1); with its inode where it goes into a
 * snapshot.
 */
export function offeredEntry(found: FoundEntry, file: number, inodes: boolean): Entry {
  const { name, metadata } = found;
  switch (found.type) {
    case 'file': {
      const { type, size, mode, ctime, data, vouched } = found;
      return {
        type,
        file,
        name,
        size,
        mode,
        mtime: vouched?.mtime ?? found.mtime,
        ctime,
        inode: inodes ? found.inode : undefined,
        data,
        metadata,
      };
    }
    case 'directory':
      return { type: found.type, file, name, mode: found.mode, mtime: found.mtime, metadata };
    case 'symlink':
      return { type: found.type, file, name, target: found.target, mtime: found.mtime, metadata };
    case 'link':
      return { type: found.type, file, name, target: found.target, mtime: found.mtime };
  }
}
