import { errnoOf, isErrorCode, TransferError } from '../../errors';
import type { failureOf } from '../../threads/order-worker';
import { printable } from '../../name';
import { diskError } from './disk-error';

/** What a worker says of one thing that failed. */
export type Failed = ReturnType<typeof failureOf>;

/** What the disk says of a name that it does not take. */
const ofTheName = ['ENAMETOOLONG', 'EINVAL', 'EILSEQ'];

/** What a failure in a worker means for what is called `name`. */
export function errorOf({ failure }: Failed, name: string): TransferError {
  const cause = systemError({ failure });
  if (failure.code !== undefined && isErrorCode(failure.code))
    return new TransferError(failure.code, failure.message, {
      cause,
      hint: failure.hint ?? '',
      nameTaken: failure.nameTaken ?? false,
    });
  if (ofTheName.includes(errnoOf(cause) ?? '')) return notAName(name, cause);
  return diskError(cause, { name });
}

/** The refusal for a name that the disk does not take; some say ENOENT of it, as exFAT in user space does. */
export function notAName(name: string, cause: unknown): TransferError {
  return new TransferError('name', `${printable(name)} is not a name that the receiver's disk takes.`, { cause });
}

/** The error that was thrown in the worker. */
function systemError({ failure }: Failed): Error {
  return Object.assign(new Error(failure.message), failure);
}
