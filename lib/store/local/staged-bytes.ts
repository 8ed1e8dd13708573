import { constants } from 'node:os';
import { errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Digests } from '../../progress';
import type { Directory } from './directory';
import { onOtherDisk } from './other-disks';
import { firstDifference, type NewFile, type StagedFile } from '../store';

/** The bytes of a file in the staging directory, by whatever way they get to the disk. */
export interface StagedBytes extends Pick<StagedFile, 'write' | 'verify'> {
  /** Gives them their final name, unless something stands there already: then false. */
  appear(directory: Directory, base: string): Promise<boolean>;
  /** Gives them their final name, in place of what stands there. */
  replace(directory: Directory, base: string): Promise<void>;
  /** Closes the file, and removes its staged name if it still has one. Once. */
  discard(): Promise<void>;
}

/** Throws `mismatch` unless what was read back is what was announced. */
export function checkDigests(file: NewFile, actual: Digests): void {
  const different = firstDifference(file.digests, actual);
  if (different !== undefined) throw mismatch(file.name, different, file.digests, actual);
}

/** The failure for a file that is on the disk, and is not what it should be. */
export function mismatch(name: string, algorithm: keyof Digests, expected: Digests, actual: Digests): TransferError {
  return new TransferError(
    'mismatch',
    `${printable(name)} does not match: its ${algorithm} should be ${expected[algorithm] ?? ''}, and is ${actual[algorithm] ?? ''} on the disk.`,
  );
}

/** The failure for a file that is verified before all of its bytes were written. */
export function incomplete(
  file: { readonly name: string; readonly size: number | undefined },
  received: number,
): TransferError {
  return new TransferError(
    'unexpected',
    `${String((file.size ?? received) - received)} bytes of ${printable(file.name)} were never written.`,
  );
}

export function discarded(): TransferError {
  return new TransferError('interrupted', 'The file was discarded.');
}

/** What a failure of the disk means for the file that was on its way there. */
export function diskError(error: unknown, file: { readonly name: string }): TransferError {
  if (error instanceof TransferError) return error;
  const name = printable(file.name);
  const cause = { cause: error };
  // libuv has a number for EDQUOT, but no name.
  if ((error as NodeJS.ErrnoException).errno === -constants.errno.EDQUOT) {
    return new TransferError('space', `The disk quota of the receiver is used up; ${name} was not stored.`, cause);
  }
  switch (errnoOf(error)) {
    case 'ENOSPC':
      return new TransferError('space', `The receiver's disk is full; ${name} was not stored.`, cause);
    case 'ENAMETOOLONG':
      return new TransferError('name', `${name} is too long a name for the receiver's disk.`, cause);
    case 'EXDEV':
      return onOtherDisk(file.name, undefined, error);
    default:
      return new TransferError(
        'disk',
        `The receiver's disk failed; ${name} was not stored: ${error instanceof Error ? error.message : String(error)}.`,
        cause,
      );
  }
}
