import { closeSync, constants, fchmodSync, fstatSync, fsyncSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs';
import path from 'node:path';
import { workerData } from 'node:worker_threads';
import type { DigestAlgorithm } from '../digest';
import { errnoOf, TransferError } from '../errors';
import { failureOf, type Result, serveLane } from '../lane';
import { printable } from '../name';
import { setFileTime } from '../system-calls';
import { isTooLong, stagedApart, stagedTogether } from './group-home';
import { look } from './group-look';
import { notADirectory } from './group-place';
import { digestOf } from './group-read';
import { mismatch } from './staged-bytes';

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
  /**
   * Writes new files out of the shared memory to where `home` says. `numbers`: offset in the memory, size, mode, mtime and
   * number apart of each. Answered with those that were staged apart. Those that fail leave nothing.
   */
  | { readonly order: 'write'; readonly home: string; readonly names: readonly string[]; readonly numbers: BigInt64Array }
  /**
   * Reads staged files back and compares. `numbers`: size, mode and number apart of each, or -1 where it is with the others.
   * Answered with inode, mtime and ctime of each. Those that fail are removed.
   */
  | { readonly order: 'read back'; readonly home: string; readonly names: readonly string[]; readonly digests: readonly string[]; readonly numbers: BigInt64Array }
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
  readonly failures: readonly (readonly [number, ReturnType<typeof failureOf>])[];
  readonly numbers: BigInt64Array;
  readonly texts: readonly (readonly [number, string])[];
  readonly apart: readonly number[];
}

/** Columns of `numbers` for each file. */
const writeColumns = 5;
const readColumns = 3;

interface WriteRow {
  readonly name: string;
  /** Where it is staged, or, if something is staged there already, apart from the others. */
  readonly staged: string;
  readonly apart: string;
  readonly at: number;
  readonly size: number;
  readonly mode: number;
  readonly mtime: bigint;
}

interface ReadRow {
  readonly name: string;
  readonly staged: string;
  readonly size: number;
  readonly digest: string;
  readonly mode: number;
}

const { O_CREAT, O_DIRECT = 0, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants as typeof constants & { readonly O_DIRECT?: number };
const ownerReads = 0o400;
const setup = workerData as GroupLaneSetup;
const none = { failures: [], numbers: new BigInt64Array(0), texts: [], apart: [] };

/** Runs `action` for each row; what it throws is the failure of that row, of which `remove` removes what it left. */
async function forEach<Row>(rows: readonly Row[], action: (row: Row, at: number) => Promise<void> | void, remove: (row: Row) => void): Promise<GroupAnswer['failures']> {
  const failures: GroupAnswer['failures'][number][] = [];
  for (const [at, row] of rows.entries()) {
    try {
      await action(row, at);
    } catch (error) {
      failures.push([at, failureOf(error)]);
      remove(row);
    }
  }
  return failures;
}

/** Flushing comes after all writing: the first flush then does most of the work of the others. */
async function write({ home, names, numbers }: Extract<GroupOrder, { order: 'write' }>, memory: Uint8Array): Promise<GroupAnswer> {
  const files = names.map((name, index): WriteRow => {
    const number = (column: number): number => Number(numbers[index * writeColumns + column]);
    const apart = stagedApart(home, number(4));
    return { name, staged: isTooLong(name) ? apart : stagedTogether(home, name), apart, at: number(0), size: number(1), mode: number(2), mtime: numbers[index * writeColumns + 3] ?? 0n };
  });
  const aparts: number[] = [];
  const opened: Created[] = [];
  let created: Created | undefined;
  const discard = (): void => {
    if (created) unlinkSync(created.staged);
  };
  const failures = await forEach(
    files,
    (row, at) => {
      created = undefined;
      created = { at, ...create(row) };
      if (created.staged === row.apart) aparts.push(at);
      if (setup.syncEach) opened.push(created);
      try {
        fill(created.fd, row, memory);
      } finally {
        if (!setup.syncEach) closeSync(created.fd);
      }
    },
    discard,
  );
  const unsynced = await forEach(
    opened,
    ({ fd }) => {
      try {
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    },
    () => undefined,
  );
  return { ...none, apart: aparts, failures: [...failures, ...unsynced.map(([at, failure]) => [opened[at]?.at ?? at, failure] as const)] };
}

interface Created {
  readonly at: number;
  readonly fd: number;
  readonly staged: string;
}

/** A new file under its staged name, or apart; the directories above are made when they are first missing. */
function create({ name, staged, apart, mode }: WriteRow): Omit<Created, 'at'> {
  try {
    return { fd: createIn(staged, mode), staged };
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') throw notADirectory(path.posix.dirname(name), error);
    if (errnoOf(error) !== 'EEXIST') throw error;
    return { fd: createIn(apart, mode), staged: apart };
  }
}

function createIn(staged: string, mode: number): number {
  try {
    return createFile(staged, mode);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    makeDirectory(path.posix.dirname(staged));
    return createFile(staged, mode);
  }
}

function createFile(staged: string, mode: number): number {
  return openSync(staged, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, mode | ownerReads);
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    // Here it says that a file is in the way; of a file it would say that its name is taken.
    throw errnoOf(error) === 'EEXIST' ? Object.assign(new Error('a file is in the way'), { code: 'ENOTDIR', cause: error }) : error;
  }
}

function fill(fd: number, { at, size, mode, mtime }: WriteRow, memory: Uint8Array): void {
  for (let done = 0; done < size; ) {
    // On a full disk the count is short and no error comes with it; that comes with the next try.
    const count = writeSync(fd, memory, at + done, size - done, done);
    if (count === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
    done += count;
  }
  if (((mode | ownerReads) & setup.umask) !== 0) fchmodSync(fd, mode | ownerReads);
  setFileTime(fd, mtime);
}

async function readBack({ home, names, digests, numbers: columns }: Extract<GroupOrder, { order: 'read back' }>, algorithm: DigestAlgorithm): Promise<GroupAnswer> {
  const files = names.map((name, index): ReadRow => {
    const number = (column: number): number => Number(columns[index * readColumns + column]);
    return { name, staged: number(2) < 0 ? stagedTogether(home, name) : stagedApart(home, number(2)), size: number(0), digest: digests[index] ?? '', mode: number(1) };
  });
  const numbers = new BigInt64Array(files.length * 3);
  const failures = await forEach(
    files,
    async (row, at) => {
      const fd = openSync(row.staged, O_RDONLY | O_NOFOLLOW | (setup.direct ? O_DIRECT : 0));
      try {
        let stats = fstatSync(fd, { bigint: true });
        await compare(fd, Number(stats.size), row, algorithm);
        // What its owner may not read can be read back only before it is so.
        if ((row.mode & ownerReads) === 0) {
          fchmodSync(fd, row.mode);
          if (setup.syncEach) fsyncSync(fd);
          stats = fstatSync(fd, { bigint: true });
        }
        numbers.set([stats.ino, stats.mtimeNs, stats.ctimeNs], at * 3);
      } finally {
        closeSync(fd);
      }
    },
    ({ staged }) => unlinkSync(staged),
  );
  return { ...none, failures, numbers };
}

async function compare(fd: number, actual: number, { name, size, digest }: ReadRow, algorithm: DigestAlgorithm): Promise<void> {
  if (actual !== size) throw new TransferError('mismatch', `${printable(name)} does not match: it should be ${String(size)} bytes long, and is ${String(actual)} on the disk.`);
  const found = await digestOf(fd, size, algorithm);
  if (found !== digest) throw mismatch(name, algorithm, { [algorithm]: digest }, { [algorithm]: found ?? 'that of fewer bytes' });
}

async function carryOutOne({ memory, algorithm, order }: GroupRequest): Promise<GroupAnswer> {
  switch (order.order) {
    case 'write':
      return write(order, new Uint8Array(memory));
    case 'read back':
      return readBack(order, algorithm);
    case 'look':
      return { ...none, ...look(order.names, setup.root) };
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
