import { constants } from 'node:os';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import { onOtherDisk } from './other-disks';

/** The TransferError for a failure of the disk while a file was stored. */
export function diskError(error: unknown, file: { readonly name: string }): TransferError {
  if (error instanceof TransferError) return error;
  const name = printable(file.name);
  const cause = { cause: error };
  // libuv has a number for EDQUOT, but no name.
  if ((error as NodeJS.ErrnoException).errno === -constants.errno.EDQUOT) {
    return new TransferError('space', `The disk quota where it goes is used up; ${name} was not stored.`, cause);
  }
  switch (errnoOf(error)) {
    case 'ENOSPC':
      return new TransferError('space', `The disk where it goes is full; ${name} was not stored.`, cause);
    case 'ENAMETOOLONG':
      return new TransferError('name', `${name} is too long a name for the disk where it goes.`, cause);
    case 'EACCES':
    case 'EPERM':
      return notPermitted(error, file.name);
    case 'EXDEV':
      return onOtherDisk(file.name, undefined, error);
    default:
      return new TransferError(
        'disk',
        `The disk where it goes failed; ${name} was not stored: ${error instanceof Error ? error.message : String(error)}.`,
        cause,
      );
  }
}

/** System calls that change nothing. Those that open a file may be for either. */
const reading = ['lstat', 'opendir', 'read', 'readlink', 'scandir', 'stat'];

/** Whoever stores it may be a receiver, or the user of this machine. */
function notPermitted(error: unknown, name: string): TransferError {
  const directory = path.posix.dirname(name);
  const where = directory === '.' ? 'the directory' : `the directory ${printable(directory)}`;
  const toDo = reading.includes((error as NodeJS.ErrnoException).syscall ?? '') ? 'read' : 'write';
  return new TransferError(
    'disk',
    `There is no permission to ${toDo} in ${where} where it goes; ${printable(name)} was not stored.`,
    {
      cause: error,
      hint: `The user that sendall runs as there needs permission to ${toDo} in it; ls -ld shows its owner and mode.`,
    },
  );
}
