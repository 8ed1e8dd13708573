// What is under its final name gets its mode and time.
import { closeSync, constants, fchmodSync, fstatSync, fsyncSync, openSync } from 'node:fs';
import path from 'node:path';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import { systemPath } from '../../name-bytes';
import { setFileTime } from '../../threads/system-calls';
import { fileStat } from './existing-content';
import type { OpenDirectories } from './group-directories';
import type { Placed } from './group-place';

/** A directory when nothing will be stored in it any more, or a regular file that was there before. */
export interface Finishing {
  readonly kind: 'directory' | 'file';
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  /** In ns since 1970. */
  readonly mtime: bigint;
}

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** Gives it its mode and mtime, never through a symbolic link. Throws the errors of the operating system. */
export function finish(thing: Finishing, directories: OpenDirectories): Placed {
  return thing.kind === 'file' ? finishFile(thing, directories) : finishDirectory(thing, directories);
}

function finishDirectory({ name, mode, mtime }: Finishing, directories: OpenDirectories): Placed {
  const fd = directories.descriptor(name);
  fchmodSync(fd, mode);
  setFileTime(fd, mtime);
  directories.touched.add(name);
  return { outcome: 'stored', path: name };
}

function finishFile({ name, mode, mtime }: Finishing, directories: OpenDirectories): Placed {
  const at = directories.at(path.posix.dirname(name), path.posix.basename(name), false);
  const fd = openSync(systemPath(at), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw new TransferError('exists', `${printable(name)} is no regular file any more.`);
    fchmodSync(fd, mode);
    setFileTime(fd, mtime);
    fsyncSync(fd);
    return { outcome: 'identical', path: name, stat: fileStat(fstatSync(fd, { bigint: true })) };
  } finally {
    closeSync(fd);
  }
}
