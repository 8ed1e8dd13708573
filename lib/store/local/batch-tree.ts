// The directories of a batch, as they are staged.
import { closeSync, constants, lstatSync, mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../../errors';
import { collationKey } from '../../name';
import { makePathSync } from '../../make-path';
import { nameOfBytes, systemPath } from '../../name-bytes';
import type { OpenDirectory } from '../../threads/file-calls';
import type { Given } from './apply-metadata';
import { column, columns, type FileList } from './batch-list';
import { stagedTogether } from './staged-names';
import { notAName } from './batch-failure';
import { type IfExists, notADirectory } from '../store';
import { unfinishedMode } from './unfinished';

/** What of a batch is no file: made when everything has come. */
export type BatchThing =
  | {
      readonly kind: 'directory';
      readonly number: number;
      readonly name: string;
      /** It was not there when it was offered. */
      readonly fresh: boolean;
    }
  | {
      readonly kind: 'symlink';
      readonly number: number;
      readonly name: string;
      readonly target: string;
      readonly mtime: bigint;
      readonly given: Given | undefined;
      readonly ifExists: IfExists;
    };

/** An entry in a staged directory: the file `row` of the list with that index, or something else. */
export type BatchEntry = { readonly list: number; readonly row: number } | { readonly thing: BatchThing };

/** A staged directory, and what will get its final name together with it. */
export class Branch {
  readonly branches: Branch[] = [];
  readonly entries: BatchEntry[] = [];
  /** Whether it is on the disk. */
  made = false;
  /** How many files may still be staged apart, see `isForFew`; undefined before anybody has asked. */
  fewLeft: number | undefined;
  directory: OpenDirectory | undefined;

  /** `name` relative to the receive directory; `.` is the receive directory itself. */
  constructor(
    readonly name: string,
    readonly parent: Branch | undefined,
  ) {}

  /** Whether anything below is still to be stored. */
  isLive(alive: (entry: BatchEntry) => boolean): boolean {
    return this.entries.some(alive) || this.branches.some((below) => below.isLive(alive));
  }

  /** Everything in it, at any depth. */
  *all(): Generator<BatchEntry> {
    yield* this.entries;
    for (const branch of this.branches) yield* branch.all();
  }

  /** The branches below in which nothing is to be stored, each behind those below it. */
  *dead(alive: (entry: BatchEntry) => boolean): Generator<Branch> {
    for (const branch of this.branches) {
      yield* branch.dead(alive);
      if (!branch.isLive(alive)) yield branch;
    }
  }
}

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
/** Staged directories that are open at once. */
const mostOpen = 64;
const apartName = 'apart';
/** Files of one directory that are staged apart. */
const fewFiles = 8;
const permissions = 0o7777;

/**
 * A private tree with the final names in it, and apart from it a directory for what has no room there. Nothing in it
 * leads elsewhere.
 */
export class BatchTree {
  readonly root = new Branch('.', undefined);
  private readonly byName = new Map([['.', this.root]]);
  private readonly spelled = new Map<string, string>();
  private open: { directory: OpenDirectory | undefined }[] = [];
  private readonly apartSlot: { directory: OpenDirectory | undefined } = { directory: undefined };
  /** That of the file before: the next is mostly in the same. */
  private last: { readonly bytes: Buffer; readonly branch: Branch } | undefined;

  /** `stagingPath`: the path of the batch's private directory. */
  constructor(
    private readonly stagingPath: string,
    private readonly foldsNames: boolean,
    /** Of the receive directory. */
    private readonly rootPath: string,
  ) {}

  /** The branch of the file at `row`, whose last component begins at `base`. */
  branchOf(list: FileList, row: number, base: number): Branch {
    const from = list.numbers[row * columns + column.name] ?? 0;
    if (base === from) return this.root;
    const bytes = Buffer.from(list.names.buffer, list.names.byteOffset + from, base - 1 - from);
    if (this.last?.bytes.equals(bytes) === true) return this.last.branch;
    const branch = this.branchNamed(nameOfBytes(bytes));
    this.last = { bytes, branch };
    return branch;
  }

  /** The branch of the directory `name`, and those above it. */
  branchNamed(name: string): Branch {
    const known = this.byName.get(name);
    if (known) return known;
    const parent = this.branchNamed(path.posix.dirname(name));
    const branch = new Branch(name, parent);
    parent.branches.push(branch);
    this.byName.set(name, branch);
    return branch;
  }

  /**
   * Whether a directory was there when it was offered, and nothing of this batch is staged in it: then it is only looked
   * at under its name. Of a tree of which nothing has changed no directory is made.
   */
  stands({ name, fresh }: Extract<BatchThing, { readonly kind: 'directory' }>): boolean {
    return !fresh && this.byName.get(name)?.made !== true;
  }

  /**
   * Whether one more file for this directory is to be staged apart: where the directory stands under its name, and is
   * finished, files are moved into it one by one in any case, and for a few of them no directory need be staged.
   */
  isForFew(branch: Branch): boolean {
    if (branch.made || branch === this.root) return false;
    branch.fewLeft ??= this.isFinished(branch.name) ? fewFiles : 0;
    return branch.fewLeft-- > 0;
  }

  /**
   * The staged directory itself, good until the next call; it and those above it are made if they are missing. Throws
   * `exists` where a file is in the way.
   */
  directory(branch: Branch): OpenDirectory {
    if (branch.directory) return branch.directory;
    this.make(branch);
    return this.enter(branch, stagedTogether(this.stagingPath, branch.name));
  }

  /** The directory of what is staged under its number. */
  apart(): OpenDirectory {
    if (this.apartSlot.directory) return this.apartSlot.directory;
    const staged = `${this.stagingPath}/${apartName}`;
    makePathSync(staged);
    return this.enter(this.apartSlot, staged);
  }

  /**
   * The name given here before of which the disk would say that it is the same as `name`, or as one above it, although
   * it is not.
   */
  collision(name: string): string | undefined {
    if (!this.foldsNames || name === '.') return undefined;
    const above = this.collision(path.posix.dirname(name));
    if (above !== undefined) return above;
    const key = collationKey(name);
    const other = this.spelled.get(key) ?? name;
    this.spelled.set(key, other);
    return other === name ? undefined : other;
  }

  /** Closes all directories; those that are asked for again are opened again. */
  close(): void {
    for (const slot of this.open.splice(0)) {
      if (slot.directory) closeSync(slot.directory.fd);
      slot.directory = undefined;
    }
  }

  /** Only a hint, whatever stands on the way: what is staged in either place gets its name with all care. */
  private isFinished(name: string): boolean {
    try {
      const found = lstatSync(systemPath(`${this.rootPath}/${name}`), { throwIfNoEntry: false });
      return found?.isDirectory() === true && (found.mode & permissions) !== unfinishedMode;
    } catch {
      return false; // a name that no disk takes: staging it says so
    }
  }

  private make(branch: Branch): void {
    if (branch.made) return;
    if (!branch.parent) {
      makePathSync(stagedTogether(this.stagingPath, ''));
      branch.made = true;
      return;
    }
    this.make(branch.parent);
    try {
      mkdirSync(systemPath(stagedTogether(this.stagingPath, branch.name)));
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'EEXIST' || code === 'ENOTDIR') throw notADirectory(branch.name, error);
      throw code === 'ENOENT' ? notAName(branch.name, error) : error;
    }
    branch.made = true;
  }

  private enter(slot: { directory: OpenDirectory | undefined }, staged: string): OpenDirectory {
    if (this.open.length >= mostOpen) this.close();
    const at = systemPath(staged);
    slot.directory = { fd: openSync(at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), path: Buffer.from(at) };
    this.open.push(slot);
    return slot.directory;
  }
}
