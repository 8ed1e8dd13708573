import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { workerData } from 'node:worker_threads';
import { alignment, AlignedMemory } from '../../threads/aligned-memory';
import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { failureOf, type Result, serveLane } from '../../threads/lane';
import { OpenDirectories } from '../../store/local/group-directories';
import { survey } from './survey';
import { largestSmall, type SmallRead, type VerifyAnswer, type VerifyLaneSetup, type VerifyOrder } from './verify-order';

const { O_DIRECT = 0, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };
const setup = workerData as VerifyLaneSetup;
const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (setup.direct ? O_DIRECT : 0);
const { buffer } = new AlignedMemory(largestSmall, 1);
const memory = new Uint8Array(buffer, 0, largestSmall);
const digestOf = new Map<DigestAlgorithm, (bytes: Uint8Array) => string>();

/** All bytes of a file, in memory of ours, until the next one; undefined if it is not the one that is meant. */
function bytesOf(place: string, size: number, inode: bigint): Uint8Array | undefined {
  const fd = openSync(place, flags);
  try {
    const stats = fstatSync(fd, { bigint: true });
    if (!stats.isFile() || stats.ino !== inode || stats.size !== BigInt(size)) return undefined;
    for (let at = 0; at < size; ) {
      // With O_DIRECT whole sectors are asked for, and the end of the file cuts the last read short.
      const count = readSync(fd, memory, at, Math.ceil((size - at) / alignment) * alignment, at);
      if (count === 0) return undefined;
      at += count;
    }
    return memory.subarray(0, size);
  } finally {
    closeSync(fd);
  }
}

async function read(directories: OpenDirectories, { names, numbers, algorithm }: Extract<VerifyOrder, { order: 'read' }>): Promise<SmallRead> {
  const digest = digestOf.get(algorithm) ?? (await createDigestOf(algorithm));
  digestOf.set(algorithm, digest);
  const failures: SmallRead['failures'][number][] = [];
  const digests = names.map((name, at) => {
    try {
      const place = directories.at(path.posix.dirname(name), path.posix.basename(name), false);
      const bytes = bytesOf(place, Number(numbers[at * 2]), BigInt.asUintN(64, numbers[at * 2 + 1] ?? 0n));
      return bytes && digest(bytes);
    } catch (error) {
      failures.push([at, failureOf(error).failure]);
      return undefined;
    }
  });
  return { digests, failures };
}

serveLane<VerifyOrder, VerifyAnswer>(async (orders) => {
  const directories = new OpenDirectories(setup.root, false);
  const results: Result<VerifyAnswer>[] = [];
  try {
    for (const order of orders) {
      try {
        results.push({ answer: order.order === 'survey' ? survey(directories, order.directory) : await read(directories, order) });
      } catch (error) {
        results.push(failureOf(error));
      }
    }
  } finally {
    directories.close();
  }
  return results;
});
