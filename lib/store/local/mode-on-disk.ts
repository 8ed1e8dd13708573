// The mode under which an entry of a snapshot stands on the disk of whoever keeps it.
import type { StoreUse } from '../session-store';

const [readsFile, readsDirectory] = [0o400, 0o500];

/**
 * The mode that an entry gets here. What a receiver that is not root could never read back again is readable to its
 * owner in a snapshot, whose manifest has the mode that it had; everything else gets its own.
 */
export function modeOnDisk(mode: number, kind: 'file' | 'directory', { metadata }: Pick<StoreUse, 'metadata'>): number {
  if (metadata !== 'recorded' || readsAnything()) return mode;
  return mode | (kind === 'file' ? readsFile : readsDirectory);
}

/** Whether what is stored under this mode can be read back by who keeps snapshots here. */
export function isReadable(mode: number): boolean {
  return readsAnything() || (mode & readsFile) !== 0;
}

/** Root reads whatever the modes; so does everybody where there are none. */
function readsAnything(): boolean {
  const uid = process.geteuid?.();
  return uid === undefined || uid === 0;
}
