import { TransferError } from '../../lib/errors';

/** The code of the TransferError that `work` throws, `none` where it throws nothing; anything else goes on. */
export function thrownCode(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof TransferError) return error.code;
    throw error;
  }
  return 'none';
}
