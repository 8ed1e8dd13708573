import { closeSync, constants, fstatSync, readSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { createDigestOf, type DigestAlgorithm } from '../digest/digest';
import { failureOf, serveEach } from '../threads/lane';
import { type Located, Walker } from '../threads/walker';

export interface BundleSetup {
  readonly memory: SharedArrayBuffer;
  readonly algorithm: DigestAlgorithm;
}

/** Files to be read into the memory from `at` on. Arrays of numbers and texts: a bundle is one message, and quick to copy. */
export interface BundleOrder {
  readonly at: number;
  /** Where each of them is: see `Located`. */
  readonly paths: readonly string[];
  readonly below: readonly (string | undefined)[];
  readonly sizes: readonly number[];
  /** Of each file mtime, then ctime. */
  readonly times: BigInt64Array;
  /** For which of them another ctime alone is no change: hard links are made to it, and its digest is known; absent for none. */
  readonly vouched?: readonly boolean[];
  /** The digests of the files that the receiver holds; absent if it holds none. */
  readonly held?: readonly (string | undefined)[];
}

export type BundleFailure = 'changed' | 'not a file' | ReturnType<typeof failureOf>['failure'];

/** For each file its digest or why it was not read. The contents lie one after another, without those that are held. */
export type BundleAnswer = readonly (string | { readonly failure: BundleFailure })[];

const bigint = { bigint: true } as const;
// A named pipe without a writer is not waited for.
const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
const { memory, algorithm } = workerData as BundleSetup;
const bytes = new Uint8Array(memory);
const ready = createDigestOf(algorithm);
const walker = new Walker();

async function carryOut({ at: start, paths, below, sizes, times, vouched, held }: BundleOrder): Promise<BundleAnswer> {
  const digestOf = await ready;
  let at = start;
  const answer = paths.map((path, file): BundleAnswer[number] => {
    const size = sizes[file] ?? 0;
    try {
      const failure = readWhole({ path, below: below[file] }, at, size, times[2 * file], vouched?.[file] === true ? undefined : times[2 * file + 1]);
      if (failure) return { failure };
      const digest = digestOf(bytes.subarray(at, at + size));
      if (held?.[file] !== digest) at += size;
      return digest;
    } catch (error) {
      return failureOf(error);
    }
  });
  // Nothing is kept open between two orders: a directory may be removed, or its disk be taken away.
  walker.close();
  return answer;
}

/**
 * Reads the file between two looks at it. The second look costs a microsecond, and without it a file of which one half was
 * read before it was rewritten and one half after would go out as if it had ever been so. Without `ctime` that is not compared.
 */
function readWhole(located: Located, at: number, size: number, mtime: bigint | undefined, ctime: bigint | undefined): 'changed' | 'not a file' | undefined {
  const fd = walker.open(located, flags);
  try {
    const isAsOffered = (): boolean => {
      const now = fstatSync(fd, bigint);
      return now.mtimeNs === mtime && (ctime === undefined || now.ctimeNs === ctime) && Number(now.size) === size;
    };
    if (!isAsOffered()) return fstatSync(fd).isFile() ? 'changed' : 'not a file';
    for (let done = 0; done < size; ) {
      const count = readSync(fd, bytes, at + done, size - done, null);
      if (count === 0) return 'changed';
      done += count;
    }
    return isAsOffered() ? undefined : 'changed';
  } finally {
    closeSync(fd);
  }
}

serveEach(carryOut);
