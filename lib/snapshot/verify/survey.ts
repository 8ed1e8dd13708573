import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { systemPath, nameOfBytes } from '../../name-bytes';
import type { OpenDirectories } from '../../store/local/open-directories';
import { carriedTime } from '../../threads/carried-time';
import { type EntryKind, entryKind } from '../../threads/entry-kind';

/** What stands under a name. */
export interface FoundOnDisk {
  readonly kind: EntryKind;
  /** Permission bits, setuid and the like included. */
  readonly mode: number;
  readonly inode: bigint;
  /** How many names it has. */
  readonly links: number;
  /** Bytes. */
  readonly size: number;
  /** ns since 1970. */
  readonly mtime: bigint;
  /** Where a symbolic link points. */
  readonly target?: string;
}

/** All that stands in one directory, in a form that costs little between threads. */
export interface Survey {
  readonly names: readonly string[];
  /** Kind, mode, inode, links, size and mtime of each. */
  readonly numbers: BigInt64Array;
  /** The targets of symbolic links, each with the number of its name. */
  readonly targets: readonly (readonly [number, string])[];
}

const kinds = ['other', 'file', 'directory', 'symlink'] as const;
const columns = 6;
const permissions = 0o7777n;

/**
 * What stands in `directory`, without following symbolic links. Synchronous. Throws the errors of the operating system.
 */
export function survey(directories: OpenDirectories, directory: string): Survey {
  const names = readdirSync(directories.at(directory, '.', false), { encoding: 'buffer' }).map(nameOfBytes);
  const numbers = new BigInt64Array(names.length * columns);
  const targets: [number, string][] = [];
  for (const [at, name] of names.entries()) {
    const pathname = directories.at(directory, name, false);
    const found = lstatSync(systemPath(pathname), { bigint: true, throwIfNoEntry: false });
    if (!found) continue; // removed since: it stays one that nobody knows
    const kind = entryKind(found);
    numbers.set(
      [
        BigInt(kinds.indexOf(kind)),
        found.mode & permissions,
        found.ino,
        found.nlink,
        found.size,
        carriedTime(found.mtimeNs),
      ],
      at * columns,
    );
    if (kind === 'symlink') targets.push([at, nameOfBytes(readlinkSync(systemPath(pathname), { encoding: 'buffer' }))]);
  }
  return { names, numbers, targets };
}

/** What a survey found, by name. */
export function foundIn({ names, numbers, targets }: Survey): Map<string, FoundOnDisk> {
  const targetOf = new Map(targets);
  return new Map(
    names.map((name, at) => {
      const column = (number: number): bigint => numbers[at * columns + number] ?? 0n;
      const target = targetOf.get(at);
      const kind = kinds[Number(column(0))] ?? 'other';
      const [mode, links, size] = [Number(column(1)), Number(column(3)), Number(column(4))];
      const found = { kind, mode, inode: BigInt.asUintN(64, column(2)), links, size, mtime: column(5) };
      return [name, target === undefined ? found : { ...found, target }];
    }),
  );
}
