import type { ErrorCode } from '../lib/index';

/** The codes of a process that ends without a TransferError. */
export const exitVerified = 0;
export const exitUnexpected = 1;
const exitUsage = 2;
export const exitInterrupted = 130;

/** The exit code that stands for a failure; other programs rely on these numbers. */
export function exitCodeOf(code: ErrorCode): number {
  switch (code) {
    case 'usage':
    case 'directory': // the directory was chosen on the command line
    case 'source-unreadable': // and so was what is to be sent
      return exitUsage;
    case 'cannot-connect':
    case 'not-authorized':
    case 'connection-lost': // and it could not be had again
    case 'stopped':
    case 'timeout':
      return 3;
    case 'mismatch':
      return 4;
    case 'source-changed':
      return 5;
    case 'name':
    case 'exists':
    case 'space':
    case 'quota':
    case 'size':
    case 'disk':
      return 6;
    case 'not-confirmed':
      return 7;
    case 'some-failed':
      return 8;
    case 'interrupted':
      return exitInterrupted;
    case 'unexpected':
    case 'bad-frame':
    case 'bad-header':
      return exitUnexpected;
    default:
      return code satisfies never;
  }
}
