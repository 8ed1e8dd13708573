import { workerData } from 'node:worker_threads';
import type { DigestAlgorithm } from '../../digest/digest';
import { failureOf, type Result, serveLane } from '../../threads/lane';
import { OpenDirectories } from './group-directories';
import type { Failed } from './group-failure';
import { look } from './group-look';
import { type Content, readFilesBack, readStanding } from './group-read';
import { type PackedRows, unpackReadRows, unpackWriteRows } from './group-rows';
import { writeFiles } from './group-write';

/** What a lane that stores groups is started with. */
export interface GroupLaneSetup {
  /** The path of the receive directory. */
  readonly root: string;
  readonly direct: boolean;
  readonly umask: number;
  /** Every file is made durable by itself, since the disk cannot be synced as a whole. */
  readonly syncEach: boolean;
}

export type GroupOrder =
  /** See `writeFiles`. `home`: the private directory of the group. */
  | { readonly order: 'write'; readonly home: string; readonly files: PackedRows }
  /** See `readFilesBack`. */
  | { readonly order: 'read back'; readonly home: string; readonly files: PackedRows; readonly digests: readonly string[] }
  /** See `readStanding`. */
  | { readonly order: 'read standing'; readonly names: readonly string[] }
  /** See `look`. */
  | { readonly order: 'look'; readonly names: readonly string[] };

/** An order, with the memory that it speaks of and the digest of its files. */
export interface GroupRequest {
  readonly memory: ArrayBuffer | SharedArrayBuffer;
  readonly algorithm: DigestAlgorithm;
  readonly order: GroupOrder;
}

/** What came of each file, by its number in the order. An order that fails as a whole leaves no doubt: nothing of it counts. */
export interface GroupAnswer {
  readonly failures: readonly (readonly [number, Failed])[];
  readonly numbers: BigInt64Array;
  readonly texts: readonly (readonly [number, string])[];
  readonly apart: readonly number[];
  readonly contents: readonly (Content | undefined)[];
}

const setup = workerData as GroupLaneSetup;
const none: GroupAnswer = { failures: [], numbers: new BigInt64Array(0), texts: [], apart: [], contents: [] };

async function carryOutOne({ memory, algorithm, order }: GroupRequest): Promise<GroupAnswer> {
  const { root, direct, umask, syncEach } = setup;
  switch (order.order) {
    case 'write':
      return { ...none, ...(await writeFiles(unpackWriteRows(order.files), { home: order.home, memory: new Uint8Array(memory), umask, syncEach })) };
    case 'read back':
      return { ...none, ...(await readFilesBack(unpackReadRows(order.files), order.digests, order.home, { algorithm, direct, syncEach })) };
    case 'read standing': {
      const directories = new OpenDirectories(root, false);
      try {
        return { ...none, contents: await readStanding(order.names, directories, { algorithm, direct, syncEach }) };
      } finally {
        directories.close();
      }
    }
    case 'look':
      return { ...none, ...look(order.names, root) };
  }
}

async function carryOut(requests: readonly GroupRequest[]): Promise<Result<GroupAnswer>[]> {
  const results: Result<GroupAnswer>[] = [];
  for (const request of requests) {
    try {
      results.push({ answer: await carryOutOne(request) });
    } catch (error) {
      results.push(failureOf(error));
    }
  }
  return results;
}

serveLane(carryOut);
