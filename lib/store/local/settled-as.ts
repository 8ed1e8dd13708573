// How an entry stands in the end, compared with how it was to be.
import type { FileStat } from '../../threads/file-calls';
import type { Lost } from '../store';
import type { Committed, Kept } from '../store';
import { isSameTime } from './same-time';

/** How an entry is to be. */
export interface WantedState {
  /** Permission bits, as offered. */
  readonly mode?: number | undefined;
  /** Those that it gets here, where they are others. */
  readonly modeOnDisk?: number | undefined;
  /** In ns since 1970. */
  readonly mtime?: bigint | undefined;
}

/**
 * `committed` with what its disk made of mode and mtime (each undefined where none was said), and what was lost. A mode
 * that was set on purpose, `modeOnDisk`, is kept in place of its own, and nothing is lost by it.
 */
export function settledAs(
  committed: Committed,
  { mode, modeOnDisk = mode, mtime }: WantedState,
  stat: FileStat | undefined,
  lost: readonly Lost[] = committed.lost ?? [],
): Committed {
  const otherMode = stat !== undefined && mode !== undefined && (stat.mode & 0o777) !== mode;
  const otherTime = stat !== undefined && mtime !== undefined && !isSameTime(stat.mtimeNs, mtime);
  if (!otherMode && !otherTime && lost.length === 0) return committed;
  const kept: Kept = {
    ...(otherMode ? { mode: stat.mode & 0o777 } : {}),
    ...(otherTime ? { mtime: stat.mtimeNs } : {}),
  };
  const asSet = stat !== undefined && (stat.mode & 0o777) === modeOnDisk;
  const all = [...lost, ...(Object.keys(kept) as Lost[]).filter((what) => what !== 'mode' || !asSet)];
  return {
    ...committed,
    ...(Object.keys(kept).length > 0 ? { kept } : {}),
    ...(all.length > 0 ? { lost: all } : {}),
  };
}
