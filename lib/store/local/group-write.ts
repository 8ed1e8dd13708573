import { closeSync, constants, fchmodSync, fsyncSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../../errors';
import { setFileTime } from '../../threads/system-calls';
import type { Failed } from './group-failure';
import { isTooLong, ownerReads, stagedApart, stagedTogether } from './group-home';
import { notADirectory } from './group-place';
import { forEachRow, type WriteRow } from './group-rows';

export interface WriteGround {
  /** The private directory of the group. */
  readonly home: string;
  /** What the offsets of the rows are in. */
  readonly memory: Uint8Array;
  readonly umask: number;
  /** Whether each file is flushed; comes after all writing: the first flush then does most of the work of the others. */
  readonly syncEach: boolean;
}

interface Created {
  readonly row: WriteRow;
  readonly at: number;
  readonly fd: number;
  readonly staged: string;
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

/** Writes new files to where the group is staged. `apart`: the rows of those that had no room among the others. Those that fail leave nothing. */
export async function writeFiles(rows: readonly WriteRow[], ground: WriteGround): Promise<{ readonly failures: readonly (readonly [number, Failed])[]; readonly apart: readonly number[] }> {
  const apart: number[] = [];
  const opened: Created[] = [];
  let created: Created | undefined;
  const failures = await forEachRow(
    rows,
    (row, at) => {
      created = undefined;
      const own = stagedApart(ground.home, row.number);
      created = { row, at, ...create(row, ground.home, own) };
      if (created.staged === own) apart.push(at);
      if (ground.syncEach) opened.push(created);
      try {
        fill(created, ground);
      } finally {
        if (!ground.syncEach) closeSync(created.fd);
      }
    },
    () => created && unlinkSync(created.staged),
  );
  const unsynced = await forEachRow(opened, ({ fd }) => {
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  });
  return { apart, failures: [...failures, ...unsynced.map(([at, failure]) => [opened[at]?.at ?? at, failure] as const)] };
}

/** A new file under its staged name, or, if something is staged there already, apart from the others; the directories above are made when they are first missing. */
function create({ name, mode }: WriteRow, home: string, apart: string): Pick<Created, 'fd' | 'staged'> {
  const staged = isTooLong(name) ? apart : stagedTogether(home, name);
  try {
    return { fd: createIn(staged, mode), staged };
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') throw notADirectory(path.posix.dirname(name), error);
    if (errnoOf(error) !== 'EEXIST') throw error;
    return { fd: createIn(apart, mode), staged: apart };
  }
}

function createIn(staged: string, mode: number): number {
  try {
    return createFile(staged, mode);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    makeDirectory(path.posix.dirname(staged));
    return createFile(staged, mode);
  }
}

function createFile(staged: string, mode: number): number {
  return openSync(staged, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, mode | ownerReads);
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    // Here it says that a file is in the way; of a file it would say that its name is taken.
    throw errnoOf(error) === 'EEXIST' ? Object.assign(new Error('a file is in the way'), { code: 'ENOTDIR', cause: error }) : error;
  }
}

function fill({ fd, row: { at, size, mode, mtime } }: Created, { memory, umask }: WriteGround): void {
  for (let done = 0; done < size; ) {
    // On a full disk the count is short and no error comes with it; that comes with the next try.
    const count = writeSync(fd, memory, at + done, size - done, done);
    if (count === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
    done += count;
  }
  if (((mode | ownerReads) & umask) !== 0) fchmodSync(fd, mode | ownerReads);
  setFileTime(fd, mtime);
}
