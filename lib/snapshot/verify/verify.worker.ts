import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import path from 'node:path';
import { workerData } from 'node:worker_threads';
import { fileCalls } from '../../threads/file-calls';
import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { failureOf, type Result, serveTogether } from '../../threads/order-worker';
import { OpenDirectories } from '../../store/local/open-directories';
import { ManyReader } from '../../store/local/many-reader';
import { survey } from './survey';
import { type SmallRead, type VerifyAnswer, type VerifySetup, type VerifyOrder } from './verify-order';
import { systemPath } from '../../name-bytes';

const {
  O_DIRECT = 0,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
} = constants as typeof constants & { readonly O_DIRECT?: number };
const setup = workerData as VerifySetup;
const reader = ManyReader.create(fileCalls(), setup.direct);
const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (reader.direct ? O_DIRECT : 0);
const digestOf = new Map<DigestAlgorithm, (bytes: Uint8Array) => string>();

/** A descriptor of a file; undefined if it is not the one that is meant. */
function opened(pathname: string, size: number, inode: bigint): number | undefined {
  const fd = openSync(systemPath(pathname), flags);
  const stats = fstatSync(fd, { bigint: true });
  if (stats.isFile() && stats.ino === inode && stats.size === BigInt(size)) return fd;
  closeSync(fd);
  return undefined;
}

/** Reads files all at once, by the same way as what a batch has written. */
async function read(
  directories: OpenDirectories,
  { names, numbers, algorithm }: Extract<VerifyOrder, { order: 'read' }>,
): Promise<SmallRead> {
  const digest = digestOf.get(algorithm) ?? (await createDigestOf(algorithm));
  digestOf.set(algorithm, digest);
  const failures: SmallRead['failures'][number][] = [];
  const digests = names.map((): string | undefined => undefined);
  const [fds, sizes, rows] = [new Int32Array(names.length), new Float64Array(names.length), new Array<number>()];
  try {
    for (const [at, name] of names.entries()) {
      const size = Number(numbers[at * 2]);
      try {
        const pathname = directories.at(path.posix.dirname(name), path.posix.basename(name), false);
        const fd = opened(pathname, size, BigInt.asUintN(64, numbers[at * 2 + 1] ?? 0n));
        if (fd === undefined) continue;
        fds[rows.length] = fd;
        sizes[rows.length] = size;
        rows.push(at);
      } catch (error) {
        failures.push([at, failureOf(error).failure]);
      }
    }
    for (const [index, found] of reader.digests(fds, sizes, rows.length, digest).entries()) {
      const at = rows[index] ?? 0;
      if (found instanceof Error) failures.push([at, failureOf(found).failure]);
      else digests[at] = found;
    }
  } finally {
    for (const fd of fds.subarray(0, rows.length)) closeSync(fd);
  }
  return { digests, failures };
}

serveTogether<VerifyOrder, VerifyAnswer>(async (orders) => {
  const directories = new OpenDirectories(setup.root, false);
  const results: Result<VerifyAnswer>[] = [];
  try {
    for (const order of orders) {
      try {
        results.push({
          answer: order.order === 'survey' ? survey(directories, order.directory) : await read(directories, order),
        });
      } catch (error) {
        results.push(failureOf(error));
      }
    }
  } finally {
    directories.close();
  }
  return results;
});
