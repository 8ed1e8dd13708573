import path from 'node:path';
import type { TransferError } from '../../errors';
import { collationKey, type EntryName } from '../../name';
import type { FileStat } from './group-read';
import type { Committed, IfExists } from '../store';

/** A small file whose content is in memory. */
export interface GroupedFile {
  readonly file: number;
  readonly name: EntryName;
  readonly size: number;
  /** Of the store's algorithm. */
  readonly digest: string;
  /** Permission bits, 0 to 0o777. */
  readonly mode: number;
  /** In ns since 1970, as everywhere here. */
  readonly mtime: bigint;
  readonly ifExists: IfExists;
}

export interface GroupedSymlink {
  readonly file: number;
  readonly name: EntryName;
  readonly target: string;
  readonly mtime: bigint;
  readonly ifExists: IfExists;
}

export interface GroupedDirectory {
  readonly file: number;
  readonly name: EntryName;
  readonly mode: number;
  readonly mtime: bigint;
}

/** A file that stands in the receive directory and was read: it is to become durable. */
export interface GroupedStanding {
  readonly file: number;
  readonly name: EntryName;
  /** Of when it was read. */
  readonly stat: FileStat;
}

/** Another name of a file that was committed, under the name `target`. */
export interface GroupedLink {
  readonly file: number;
  readonly name: EntryName;
  readonly target: EntryName;
  readonly ifExists: IfExists;
}

/** A file that stands outside of this store, on the same disk. */
export interface EarlierFile {
  /** The path of a directory that is trusted, and the file's name below it, which is walked to without following symbolic links. */
  readonly root: string;
  readonly name: EntryName;
  readonly size: number;
  readonly mtime: bigint;
}

/** A file that is to share the content, mode and mtime of an earlier one, by one more name. */
export interface GroupedEarlier {
  readonly file: number;
  readonly name: EntryName;
  readonly earlier: EarlierFile;
}

/** What became of an entry: `committed` or `error`. */
export interface GroupOutcome {
  readonly file: number;
  readonly committed?: Committed;
  readonly error?: TransferError;
  /** The final file as it was right after the commit; absent for what is no regular file. */
  readonly stat?: FileStat;
}

type Entry = { readonly kind: 'file'; readonly entry: GroupedFile } | { readonly kind: 'symlink'; readonly entry: GroupedSymlink } | { readonly kind: 'directory'; readonly entry: GroupedDirectory } | { readonly kind: 'standing'; readonly entry: GroupedStanding };

/** An entry on its way. */
export type Staged = Entry & {
  /** Its place among the entries of its group. */
  readonly number: number;
  /** Staged under that number, not under its name. */
  apart: boolean;
  stat: FileStat | undefined;
  committed: Omit<Committed, 'verified'> | undefined;
  error: TransferError | undefined;
};

/** A staged directory of a group, and what will get its final name together with it. */
export class Branch {
  readonly branches: Branch[] = [];
  readonly entries: Staged[] = [];

  /** `name` relative to the receive directory; `.` is the receive directory itself. */
  constructor(readonly name: string) {}

  /** Whether anything below is still to be stored. */
  get live(): boolean {
    return this.entries.some(({ error }) => error === undefined) || this.branches.some(({ live }) => live);
  }

  /** Everything that is still to be stored, at any depth. */
  *all(): Generator<Staged> {
    for (const staged of this.entries) if (staged.error === undefined) yield staged;
    for (const branch of this.branches) yield* branch.all();
  }

  /** The branches below in which nothing is to be stored, each behind those below it. */
  *dead(): Generator<Branch> {
    for (const branch of this.branches) {
      yield* branch.dead();
      if (!branch.live) yield branch;
    }
  }
}

/** The directories of a group, by name. */
export class Branches {
  readonly root = new Branch('.');
  private readonly byName = new Map([['.', this.root]]);
  private readonly spelled = new Map<string, string>();

  constructor(private readonly foldsNames: boolean) {}

  /** The branch of the directory `name`, and those above it. */
  of(name: string): Branch {
    const known = this.byName.get(name);
    if (known) return known;
    const branch = new Branch(name);
    this.of(path.posix.dirname(name)).branches.push(branch);
    this.byName.set(name, branch);
    return branch;
  }

  /** The name given here before of which the disk would say that it is the same as `name`, or as one above it, although it is not. */
  collision(name: string): string | undefined {
    if (!this.foldsNames || name === '.') return undefined;
    const above = this.collision(path.posix.dirname(name));
    if (above !== undefined) return above;
    const key = collationKey(name);
    const other = this.spelled.get(key) ?? name;
    this.spelled.set(key, other);
    return other === name ? undefined : other;
  }
}
