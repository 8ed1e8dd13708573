import { closeSync, constants, existsSync, fchmodSync, fsyncSync, mkdirSync, openSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { workerData } from 'node:worker_threads';
import type { DigestAlgorithm } from '../../digest/digest';
import { errnoOf } from '../../errors';
import { failureOf, type Result, serveLane } from '../../threads/lane';
import { setFileTime, systemCalls } from '../../threads/system-calls';
import { privateMode } from './directory';
import { OpenDirectories } from './group-directories';
import { move, notADirectory, place, type Placed, type Placing, type PlacingGround } from './group-place';

/** What the lane that commits groups is started with. */
export interface CommitLaneSetup {
  /** The path of the receive directory. */
  readonly root: string;
  readonly direct: boolean;
  readonly foldsNames: boolean;
  readonly syncEach: boolean;
}

interface DirectoryRow {
  readonly name: string;
  /** Its path while it is staged. */
  readonly staged: string;
}

export type CommitOrder =
  /** Makes staged directories, if they are missing. */
  | { readonly order: 'make'; readonly directories: readonly DirectoryRow[] }
  /** Removes staged directories in which nothing is left. */
  | { readonly order: 'prune'; readonly paths: readonly string[] }
  /** Makes everything durable that was done before; `staged` is what was staged since the last time. */
  | { readonly order: 'sync'; readonly staged: string | undefined }
  /** Moves staged directories whole; `identical` where one stands. */
  | { readonly order: 'move'; readonly directories: readonly DirectoryRow[] }
  | { readonly order: 'place'; readonly things: readonly Placing[] }
  /** Makes directories under their final names. */
  | { readonly order: 'reach'; readonly names: readonly string[] }
  /** Sets mode and mtime of directories under their final names. */
  | { readonly order: 'finish'; readonly directories: readonly { readonly name: string; readonly mode: number; readonly mtime: bigint }[] }
  | { readonly order: 'remove'; readonly path: string }
  /** The group store that asks will ask no more. */
  | { readonly order: 'leave' };

/** An order, and whose it is: the descriptor of the staging directory that its group store opened before it wrote anything, and the digest of its files. */
export interface CommitRequest {
  readonly disk: number;
  readonly algorithm: DigestAlgorithm;
  readonly order: CommitOrder;
}

/** What came of each thing in the order; empty for orders that have no things. */
export type CommitAnswer = readonly (Placed | ReturnType<typeof failureOf>)[];

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const setup = workerData as CommitLaneSetup;
const calls = setup.syncEach ? undefined : systemCalls();
/** Directories whose entries each group store changed since its last sync, by its descriptor; not where the disk is synced as a whole. */
const touched = new Map<number, Set<string>>();

async function carryOutOne({ disk, order }: CommitRequest, ground: PlacingGround): Promise<CommitAnswer> {
  const { directories } = ground;
  switch (order.order) {
    case 'make':
      return each(order.directories, ({ name, staged }) => makeStaged(name, staged));
    case 'prune':
      for (const staged of order.paths) removeEmpty(staged);
      return [];
    case 'sync':
      sync(disk, order.staged, directories);
      return [];
    case 'move':
      return each(order.directories, ({ name, staged }) => move(staged, name, ground));
    case 'place':
      return each(order.things, (thing) => place(thing, ground));
    case 'reach':
      return each(order.names, (name) => reach(name, directories));
    case 'finish':
      return each(order.directories, ({ name, mode, mtime }) => {
        const fd = directories.descriptor(name);
        fchmodSync(fd, mode);
        setFileTime(fd, mtime);
        directories.touched.add(name);
        return { outcome: 'stored', path: name };
      });
    case 'remove':
      rmSync(order.path, { recursive: true, force: true });
      return [];
    case 'leave':
      touched.delete(disk);
      return [];
  }
}

async function each<Row>(rows: readonly Row[], action: (row: Row) => Placed | Promise<Placed>): Promise<CommitAnswer> {
  const answer: CommitAnswer[number][] = [];
  for (const row of rows) {
    try {
      answer.push(await action(row));
    } catch (error) {
      answer.push(failureOf(error));
    }
  }
  return answer;
}

function makeStaged(name: string, staged: string): Placed {
  try {
    mkdirSync(staged, { recursive: true });
    return { outcome: 'stored', path: name };
  } catch (error) {
    const code = errnoOf(error);
    throw code === 'EEXIST' || code === 'ENOTDIR' ? notADirectory(name, error) : error;
  }
}

function reach(name: string, directories: OpenDirectories): Placed {
  try {
    directories.descriptor(name);
    return { outcome: 'identical', path: name };
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ELOOP' || code === 'ENOTDIR') throw notADirectory(name, error);
    if (code !== 'ENOENT') throw error;
    directories.at(name, '.', true);
    return { outcome: 'stored', path: name };
  }
}

function removeEmpty(staged: string): void {
  try {
    rmdirSync(staged);
  } catch (error) {
    // Where nothing was written, there may be none, or a file that was in its way.
    const code = errnoOf(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
  }
}

function sync(disk: number, staged: string | undefined, directories: OpenDirectories): void {
  if (calls) calls.syncFileSystem(disk);
  else syncEach(disk, staged, directories);
  // See `Directory.confirm`.
  for (let times = 0; times < 2; times++) fchmodSync(disk, privateMode);
}

function syncEach(disk: number, staged: string | undefined, directories: OpenDirectories): void {
  if (staged !== undefined && existsSync(staged)) syncBelow(staged);
  const all = touched.get(disk) ?? [];
  touched.delete(disk);
  for (const directory of all) {
    try {
      fsyncSync(directories.descriptor(directory));
    } catch (error) {
      // Removed since: nothing in it can be made durable any more.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}

/** Files were flushed by whoever wrote them. */
function syncBelow(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) if (entry.isDirectory()) syncBelow(path.join(directory, entry.name));
  const fd = openSync(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

async function carryOut(requests: readonly CommitRequest[]): Promise<Result<CommitAnswer>[]> {
  const { root, foldsNames, direct, syncEach } = setup;
  const results: Result<CommitAnswer>[] = [];
  const directories = new OpenDirectories(root, foldsNames);
  const others = new Map<string, OpenDirectories>();
  const elsewhere = (other: string): OpenDirectories => {
    const known = others.get(other) ?? new OpenDirectories(other, foldsNames);
    others.set(other, known);
    return known;
  };
  try {
    for (const request of requests) {
      const { disk, algorithm } = request;
      try {
        results.push({ answer: await carryOutOne(request, { directories, elsewhere, calls, algorithm, direct, syncEach }) });
      } catch (error) {
        results.push(failureOf(error));
      }
      if (!calls && directories.touched.size > 0) touched.set(disk, new Set([...(touched.get(disk) ?? []), ...directories.touched]));
      directories.touched.clear();
    }
  } finally {
    directories.close();
    for (const other of others.values()) other.close();
  }
  return results;
}

serveLane(carryOut);
