// How an entry stands in the end, compared with how it was to be.
import type { FileStat } from '../../threads/file-calls';
import type { Lost } from '../store';
import type { Committed, Kept } from '../store';
import { isSameTime } from './same-time';

/** `committed` with what its disk made of mode and mtime (each undefined where none was said), and what was lost. */
export function settledAs(
  committed: Committed,
  { mode, mtime }: { readonly mode?: number | undefined; readonly mtime?: bigint | undefined },
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
  const all = [...lost, ...(Object.keys(kept) as Lost[])];
  return { ...committed, ...(Object.keys(kept).length > 0 ? { kept } : {}), lost: all };
}
