// What is under its final name gets its mode and time.
import { closeSync, constants, fchmodSync, fstatSync, fsyncSync, openSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import { systemPath } from '../../name-bytes';
import { fileStat } from '../../threads/file-calls';
import { setFileTime } from '../../threads/system-calls';
import { trace } from '../../trace';
import { type Given, giveMetadata, modeWith } from './apply-metadata';
import type { OpenDirectories } from './open-directories';
import type { Placed } from './publish';

/** A directory when nothing will be stored in it any more, or a regular file that was there before. */
export type Finishing = {
  readonly name: string;
  /** In ns since 1970. */
  readonly mtime: bigint;
} & (
  | {
      readonly kind: 'directory' | 'file';
      /** Permission bits. */
      readonly mode: number;
      readonly given: Given | undefined;
    }
  /** A directory that keeps all else: it gets the time back that it had. */
  | { readonly kind: 'time' }
);

/** What gets a mode, too. */
type WithMode = Exclude<Finishing, { readonly kind: 'time' }>;

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** Gives it its mode and mtime, never through a symbolic link. Throws the errors of the operating system. */
export function finish(thing: Finishing, directories: OpenDirectories): Placed {
  switch (thing.kind) {
    case 'file':
      return finishFile(thing, directories);
    case 'directory':
      return finishDirectory(thing, directories);
    case 'time':
      return putTimeBack(thing, directories);
  }
}

function finishDirectory(thing: WithMode, directories: OpenDirectories): Placed {
  const { name } = thing;
  const fd = directories.descriptor(name);
  directories.touched.add(name);
  return { outcome: 'stored', path: name, ...give(fd, thing) };
}

/** Where another user owns the directory, it keeps the time of its last new entry: the returned state says so. */
function putTimeBack({ name, mtime }: Finishing, directories: OpenDirectories): Placed {
  const fd = directories.descriptor(name);
  if (fstatSync(fd, { bigint: true }).mtimeNs !== mtime) {
    attempt(() => setFileTime(fd, mtime));
    directories.touched.add(name);
  }
  return { outcome: 'stored', path: name, stat: fileStat(fstatSync(fd, { bigint: true })) };
}

function finishFile(thing: WithMode, directories: OpenDirectories): Placed {
  const { name } = thing;
  const at = directories.at(path.posix.dirname(name), path.posix.basename(name), false);
  const fd = openSync(systemPath(at), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile())
      throw new TransferError('exists', `${printable(name)} is no regular file any more.`, {
        hint: 'Something has changed it meanwhile: send it again.',
      });
    const given = give(fd, thing);
    fsyncSync(fd);
    return { outcome: 'identical', path: name, ...given };
  } finally {
    closeSync(fd);
  }
}

/**
 * A mode or time that the disk does not keep is no failure: the returned state says what it is. What has both already is
 * not written to: a tree of which nothing has changed leaves the disk nothing to make durable.
 */
function give(fd: number, { mode, mtime, given }: WithMode): Pick<Placed, 'stat' | 'lost'> {
  const found = given ? undefined : fileStat(fstatSync(fd, { bigint: true }));
  if (found?.mode === mode && found.mtimeNs === mtime) return { stat: found };
  const lost = given ? giveMetadata(fd, given) : [];
  attempt(() => fchmodSync(fd, modeWith(mode, given, lost)));
  attempt(() => setFileTime(fd, given?.time ?? mtime));
  return { stat: fileStat(fstatSync(fd, { bigint: true })), ...(lost.length > 0 ? { lost } : {}) };
}

/** FAT refuses modes that it does not have, and a mount for other users refuses all changes. */
function attempt(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'ENOSYS'].includes(errnoOf(error) ?? '')) throw error;
    trace('it keeps what it has: %o', error);
  }
}
