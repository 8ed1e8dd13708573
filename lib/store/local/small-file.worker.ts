import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { systemPath } from '../../name-bytes';
import { workerData } from 'node:worker_threads';
import { alignment, AlignedMemory } from '../../threads/aligned-memory';
import { createDigests, type DigestAlgorithm } from '../../digest/digest';
import { errnoOf } from '../../errors';
import { failureOf, type Result, serveLane } from '../../threads/lane';
import type { Digests } from '../../progress';

/** The bytes of a small file, in memory shared with the lane, and where they go. */
interface StageOrder {
  readonly order: 'stage';
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly direct: boolean;
  readonly mode: number;
  readonly algorithms: readonly DigestAlgorithm[];
}

/** What a lane does for one small file. */
export type SmallFileOrder =
  /** Writes a new file, makes it durable and reads it back. Leaves nothing if that fails. */
  | StageOrder
  /** Gives a staged file its final name, unless something has it already (EEXIST); it then has no other name. */
  | { readonly order: 'appear'; readonly path: string; readonly target: string }
  | { readonly order: 'replace'; readonly path: string; readonly target: string }
  | { readonly order: 'discard'; readonly path: string };

/** For `stage`: the digests of what was read back. */
export type SmallFileAnswer = Digests;

interface Staging {
  readonly at: number;
  readonly order: StageOrder;
  readonly fd: number;
}

const {
  O_CREAT,
  O_DIRECT = 0,
  O_EXCL,
  O_NOFOLLOW,
  O_RDWR,
} = constants as typeof constants & { readonly O_DIRECT?: number };
const noAnswer: SmallFileAnswer = {};
const memory = new Uint8Array(workerData as SharedArrayBuffer);
const readBackMemory = new AlignedMemory(64 * 1024, 1);

/**
 * Each step is done for all files before the next step: the first fsync of a turn then flushes what the others only
 * confirm.
 */
async function carryOut(orders: readonly SmallFileOrder[]): Promise<Result<SmallFileAnswer>[]> {
  const results: Result<SmallFileAnswer>[] = [];
  let staged: Staging[] = [];
  for (const [at, order] of orders.entries()) {
    try {
      if (order.order === 'stage') staged.push({ at, order, fd: write(order) });
      else finish(order);
      results[at] = { answer: noAnswer };
    } catch (error) {
      results[at] = failureOf(error);
    }
  }
  const step = async (work: (staging: Staging) => Promise<void> | void): Promise<void> => {
    const good: Staging[] = [];
    for (const staging of staged) {
      try {
        await work(staging);
        good.push(staging);
      } catch (error) {
        results[staging.at] = failureOf(error);
        closeSync(staging.fd);
        remove(staging.order.path);
      }
    }
    staged = good;
  };
  await step(({ fd }) => fsyncSync(fd));
  await step(async ({ at, order, fd }) => {
    results[at] = { answer: await readBack(order, fd) };
    closeSync(fd);
  });
  return results;
}

function write({ path, offset, size, direct, mode }: StageOrder): number {
  const fd = openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | (direct ? O_DIRECT : 0), 0o600);
  try {
    // O_DIRECT writes whole sectors; the end of the file is cut to size.
    const length = direct ? Math.ceil(size / alignment) * alignment : size;
    memory.fill(0, offset + size, offset + length);
    for (let at = 0; at < length;) {
      const count = writeSync(fd, memory, offset + at, length - at, at);
      const taken = direct ? count - (count % alignment) : count;
      if (taken === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
      at += taken;
    }
    if (length !== size) ftruncateSync(fd, size);
    fchmodSync(fd, mode);
    return fd;
  } catch (error) {
    closeSync(fd);
    remove(path);
    throw error;
  }
}

async function readBack({ size, algorithms }: StageOrder, fd: number): Promise<Digests> {
  const lease = await readBackMemory.lease();
  const { bytes } = lease;
  try {
    for (let at = 0; at < size;) {
      const count = readSync(fd, bytes, at, bytes.length - at, at);
      if (count === 0) throw new Error('the file is shorter than what was written');
      at += count;
    }
    const hashing = await createDigests(algorithms);
    hashing.update(bytes.subarray(0, size));
    return hashing.digests();
  } finally {
    lease.release();
  }
}

function finish(order: Exclude<SmallFileOrder, StageOrder>): void {
  switch (order.order) {
    case 'appear':
      linkSync(order.path, systemPath(order.target));
      remove(order.path);
      break;
    case 'replace':
      renameSync(order.path, systemPath(order.target));
      break;
    case 'discard':
      remove(order.path);
      break;
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

serveLane(carryOut);
