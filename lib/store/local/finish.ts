// What is under its final name gets its mode and time.
import { closeSync, constants, fchmodSync, fstatSync, fsyncSync, openSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import { systemPath } from '../../name-bytes';
import { setFileTime } from '../../threads/system-calls';
import { trace } from '../../trace';
import { type Given, giveMetadata, modeWith } from './apply-metadata';
import { fileStat } from './existing-content';
import type { OpenDirectories } from './open-directories';
import type { Placed } from './publish';

/** A directory when nothing will be stored in it any more, or a regular file that was there before. */
export interface Finishing {
  readonly kind: 'directory' | 'file';
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  /** In ns since 1970. */
  readonly mtime: bigint;
  readonly given: Given | undefined;
}

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** Gives it its mode and mtime, never through a symbolic link. Throws the errors of the operating system. */
export function finish(thing: Finishing, directories: OpenDirectories): Placed {
  return thing.kind === 'file' ? finishFile(thing, directories) : finishDirectory(thing, directories);
}

function finishDirectory(thing: Finishing, directories: OpenDirectories): Placed {
  const { name } = thing;
  const fd = directories.descriptor(name);
  directories.touched.add(name);
  return { outcome: 'stored', path: name, ...give(fd, thing) };
}

function finishFile(thing: Finishing, directories: OpenDirectories): Placed {
  const { name } = thing;
  const at = directories.at(path.posix.dirname(name), path.posix.basename(name), false);
  const fd = openSync(systemPath(at), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw new TransferError('exists', `${printable(name)} is no regular file any more.`);
    const given = give(fd, thing);
    fsyncSync(fd);
    return { outcome: 'identical', path: name, ...given };
  } finally {
    closeSync(fd);
  }
}

/** What a disk has no room for is no failure: how it stands then is in what is returned. */
function give(fd: number, { mode, mtime, given }: Finishing): Pick<Placed, 'stat' | 'lost'> {
  const lost = given ? giveMetadata(fd, given) : [];
  attempt(() => fchmodSync(fd, modeWith(mode, given, lost)));
  attempt(() => setFileTime(fd, given?.time ?? mtime));
  return { stat: fileStat(fstatSync(fd, { bigint: true })), ...(lost.length > 0 ? { lost } : {}) };
}

/** FAT refuses modes that it does not have, and whoever mounts it for others all changes to them. */
function attempt(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL'].includes(errnoOf(error) ?? '')) throw error;
    trace('it keeps what it has: %o', error);
  }
}
