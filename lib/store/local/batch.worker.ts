// The thread that stores batches in a receive directory: plain synchronous calls, an order for a bundle or a whole
// batch.
import { workerData } from 'node:worker_threads';
import { createDigest, type DigestAlgorithm } from '../../digest/digest';
import { fileCalls } from '../../threads/file-calls';
import { failureOf, serveEach } from '../../threads/order-worker';
import { systemCalls } from '../../threads/system-calls';
import { ignored } from '../../trace';
import type { FileList } from './batch-list';
import { readExisting, type ReadExisting } from './existing-content';
import { OpenDirectories } from './open-directories';
import { finish, type Finishing } from './finish';
import type { Failed } from './batch-failure';
import { existingOf, look, type Looked } from './existing-look';
import { type KnownFiles, knownAmong, type ReceiptsAsked } from './known-files';
import { publishEntry, type Placed, type Placing, type PlacingGround } from './publish';
import { ManyReader } from './many-reader';
import type { BatchThing } from './batch-tree';
import { StagedBatch } from './staged-batch';
import { type BatchAnswer, confirmDisk } from './staged-list';
import { syncDirectories } from './sync-directories';

/** What a thread that stores batches is started with. */
export interface BatchSetup {
  /** The path of the receive directory. */
  readonly root: string;
  /** O_DIRECT reaches the device. */
  readonly direct: boolean;
  readonly foldsNames: boolean;
  readonly umask: number;
  /** Every file and directory is made durable by itself, since the disk cannot be synced as a whole. */
  readonly syncEach: boolean;
  /** Taken by the thread that gives final names; 0 while it is free. */
  readonly turn: Int32Array;
}

export type BatchOrder =
  /**
   * Writes the files of a bundle, whose contents are in `memory`. `stagingPath`: the path of the batch's private
   * directory, which names the batch.
   */
  | {
      readonly order: 'write';
      readonly stagingPath: string;
      readonly list: FileList;
      readonly memory: ArrayBuffer | SharedArrayBuffer;
    }
  /**
   * Makes durable what was done before through `disk`, opened before that; first `things` are staged, if this is for a
   * batch.
   */
  | {
      readonly order: 'sync';
      readonly disk: number;
      readonly batch: { readonly stagingPath: string; readonly things: readonly BatchThing[] } | undefined;
    }
  /** Reads a batch back, gives its entries their final names, and removes what is left of it. */
  | {
      readonly order: 'commit';
      readonly stagingPath: string;
      readonly entries: number;
      readonly algorithm: DigestAlgorithm;
    }
  /** Throws a batch away. */
  | { readonly order: 'discard'; readonly stagingPath: string }
  /** Makes things, staged in `stagingPath`, and gives them their final names. */
  | {
      readonly order: 'place';
      readonly stagingPath: string;
      readonly things: readonly Placing[];
      readonly algorithm: DigestAlgorithm;
    }
  /** Sets mode and mtime of what is under these final names. */
  | { readonly order: 'finish'; readonly things: readonly Finishing[] }
  /** Looks up these names, and in `asked` receipts of what is offered under them. */
  | { readonly order: 'look'; readonly names: readonly string[]; readonly asked?: ReceiptsAsked }
  /** Reads and digests the files at these names. */
  | { readonly order: 'read'; readonly names: readonly string[]; readonly algorithm: DigestAlgorithm };

/** What came of each thing in an order. */
export type PublishAnswer = readonly (Placed | Failed)[];

/** `readBack`: how long reading back took, in ms. */
export type CommitAnswer = BatchAnswer & { readonly readBack: number };

/** What stands at names, and which of the files that are offered under them are stored already. */
export type LookedUp = Looked & { readonly known: KnownFiles };

export type BatchReply = CommitAnswer | PublishAnswer | Looked | LookedUp | ReadExisting | undefined;

const setup = workerData as BatchSetup;
const { root, direct, foldsNames, umask, syncEach, turn } = setup;
const calls = fileCalls();
const system = syncEach ? undefined : systemCalls();
const reader = ManyReader.create(calls, direct);
const batches = new Map<string, StagedBatch>();
// Loads the usual digest ahead of the first order.
createDigest('blake3').catch(ignored('whoever wants a digest is told'));

async function carryOut(order: BatchOrder): Promise<BatchReply> {
  switch (order.order) {
    case 'write':
      batchOf(order.stagingPath).write(order.list, new Uint8Array(order.memory));
      return undefined;
    case 'sync':
      if (order.batch) batchOf(order.batch.stagingPath).make(order.batch.things);
      system?.syncFileSystem(order.disk);
      confirmDisk(order.disk);
      return undefined;
    case 'commit':
      return commit(order);
    case 'discard':
      discard(order.stagingPath);
      return undefined;
    case 'place':
      try {
        return await placing((ground) => each(order.things, (thing) => publishEntry(thing, ground)), order.algorithm);
      } finally {
        discard(order.stagingPath);
      }
    case 'finish':
      return placing(({ directories }) => each(order.things, (thing) => finish(thing, directories)), 'sha256');
    case 'look':
      return lookUp(order);
    case 'read':
      return readExisting(order.names, { calls, reader, root, algorithm: order.algorithm, syncEach });
  }
}

function lookUp({ names, asked }: Extract<BatchOrder, { readonly order: 'look' }>): Looked | LookedUp {
  const looked = look(names, root, calls.linux);
  return asked ? { ...looked, known: knownAmong(names, existingOf(looked), asked) } : looked;
}

async function commit({
  stagingPath,
  entries,
  algorithm,
}: Extract<BatchOrder, { readonly order: 'commit' }>): Promise<CommitAnswer> {
  const batch = batchOf(stagingPath);
  try {
    const began = performance.now();
    await batch.readBack(entries, algorithm);
    const readBack = performance.now() - began;
    return { ...(await placing((ground) => batch.publish(ground), algorithm)), readBack };
  } finally {
    discard(stagingPath);
  }
}

function batchOf(stagingPath: string): StagedBatch {
  const batch =
    batches.get(stagingPath) ?? new StagedBatch(stagingPath, { root, calls, reader, umask, foldsNames, syncEach });
  batches.set(stagingPath, batch);
  return batch;
}

/** What cannot be removed now is removed together with the staging directory. */
function discard(stagingPath: string): void {
  const batch =
    batches.get(stagingPath) ?? new StagedBatch(stagingPath, { root, calls, reader, umask, foldsNames, syncEach });
  batches.delete(stagingPath);
  batch.discard();
}

/** Runs `action` while no other thread gives names in this receive directory. */
async function placing<T>(action: (ground: PlacingGround) => Promise<T>, algorithm: DigestAlgorithm): Promise<T> {
  const directories = new OpenDirectories(root, foldsNames);
  const others = new Map<string, OpenDirectories>();
  const elsewhere = (other: string): OpenDirectories => {
    const known = others.get(other) ?? new OpenDirectories(other, foldsNames);
    others.set(other, known);
    return known;
  };
  while (Atomics.compareExchange(turn, 0, 0, 1) !== 0) Atomics.wait(turn, 0, 1);
  try {
    const answer = await action({
      directories,
      elsewhere,
      calls: system,
      copies: new Map(),
      algorithm,
      direct,
      syncEach,
    });
    if (syncEach) syncDirectories(directories);
    return answer;
  } finally {
    Atomics.store(turn, 0, 0);
    Atomics.notify(turn, 0, 1);
    directories.close();
    for (const other of others.values()) other.close();
  }
}

async function each<Row>(rows: readonly Row[], action: (row: Row) => Placed | Promise<Placed>): Promise<PublishAnswer> {
  const answer: (Placed | Failed)[] = [];
  for (const row of rows) {
    try {
      answer.push(await action(row));
    } catch (error) {
      answer.push(failureOf(error));
    }
  }
  return answer;
}

serveEach(carryOut);
