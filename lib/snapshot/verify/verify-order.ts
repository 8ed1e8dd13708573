import type { DigestAlgorithm } from '../../digest/digest';
import type { failureOf } from '../../threads/order-worker';
import type { Survey } from './survey';

/** What a worker of a verification is started with. */
export interface VerifySetup {
  /** The path of the receive directory; everything is named relative to it. */
  readonly root: string;
  readonly direct: boolean;
}

export type VerifyOrder =
  | { readonly order: 'survey'; readonly directory: string }
  /** Reads small files whole. `numbers`: size and inode of each. */
  | {
      readonly order: 'read';
      readonly names: readonly string[];
      readonly numbers: BigInt64Array;
      readonly algorithm: DigestAlgorithm;
    };

/** What came of each small file, by its number in the order. */
export interface SmallRead {
  /** Undefined where it is not the file with that size and inode any more. */
  readonly digests: readonly (string | undefined)[];
  readonly failures: readonly (readonly [number, ReturnType<typeof failureOf>['failure']])[];
}

export type VerifyAnswer = Survey | SmallRead;

/** Most bytes of a file that a worker reads: it reads it whole. */
export const largestSmall = 1024 * 1024;
