import { lstatSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../../errors';
import { systemPath, nameOfBytes } from '../../name-bytes';
import { OpenDirectories } from './open-directories';
import type { EntryStats } from '../../threads/entry-stats';
import type { FileStat, LinuxFileCalls } from '../../threads/file-calls';
import { carriedTime } from '../../threads/carried-time';
import { type EntryKind, entryKind } from '../../threads/entry-kind';

/** What stands under a name. */
export interface ExistingEntry extends FileStat {
  readonly kind: EntryKind;
  /** Where a symbolic link points. */
  readonly target?: string;
}

/** The same for many names, in a form that costs little between threads. */
export interface Looked {
  /** Kind, mode, inode, size, mtime and ctime for each name, in order; all of them 0 where nothing stands. */
  readonly numbers: BigInt64Array;
  /** The targets of symbolic links, each with the number of its name. */
  readonly texts: readonly (readonly [number, string])[];
}

const kinds = ['nothing', 'file', 'directory', 'symlink', 'other'] as const;
const perName = 6;
const permissions = 0o7777n;
const noWay = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EINVAL', 'ENAMETOOLONG'];

/**
 * What stands under names below the directory `root`, without following symbolic links: by `linux` where that is given,
 * else by what Node has. Synchronous.
 */
export function look(names: readonly string[], root: string, linux?: LinuxFileCalls): Looked {
  const numbers = new BigInt64Array(names.length * perName);
  const texts: [number, string][] = [];
  const directories = new OpenDirectories(root, false);
  const missing = new Set<string>();
  /** That of the name before: the next is mostly in the same. */
  let reached: string | undefined;
  const lookAt = (directory: string, base: string): EntryStats | undefined =>
    linux && directory !== '.'
      ? linux.look(directories.descriptor(directory), base)
      : lstatSync(systemPath(directories.at(directory, base, false)), { bigint: true, throwIfNoEntry: false });
  try {
    for (let at = 0; at < names.length; at++) {
      const name = names[at] ?? '';
      const slash = name.lastIndexOf('/');
      const [directory, base] = slash === -1 ? ['.', name] : [name.slice(0, slash), name.slice(slash + 1)];
      if (missing.has(directory)) continue;
      if (directory !== reached && orNothing(() => directories.at(directory, '.', false)) === undefined) {
        missing.add(directory);
        continue;
      }
      reached = directory;
      const found = orNothing(() => lookAt(directory, base));
      if (!found) continue;
      const kind = entryKind(found);
      const row = at * perName;
      numbers[row] = BigInt(kinds.indexOf(kind));
      numbers[row + 1] = found.mode & permissions;
      numbers[row + 2] = found.ino;
      numbers[row + 3] = found.size;
      numbers[row + 4] = carriedTime(found.mtimeNs);
      numbers[row + 5] = carriedTime(found.ctimeNs);
      if (kind === 'symlink')
        texts.push([
          at,
          orNothing(() =>
            nameOfBytes(readlinkSync(systemPath(directories.at(directory, base, false)), { encoding: 'buffer' })),
          ) ?? '',
        ]);
    }
  } finally {
    directories.close();
  }
  return { numbers, texts };
}

/** What `look` found, by name in its order; undefined where nothing stands. */
export function existingOf({ numbers, texts }: Looked): (ExistingEntry | undefined)[] {
  const targets = new Map(texts);
  const found: (ExistingEntry | undefined)[] = [];
  for (let at = 0; at * perName < numbers.length; at++) {
    const row = at * perName;
    const kind = kinds[Number(numbers[row])] ?? 'nothing';
    if (kind === 'nothing') {
      found.push(undefined);
      continue;
    }
    const target = targets.get(at);
    const entry = {
      kind,
      mode: Number(numbers[row + 1]),
      ino: BigInt.asUintN(64, numbers[row + 2] ?? 0n),
      size: Number(numbers[row + 3]),
      mtimeNs: numbers[row + 4] ?? 0n,
      ctimeNs: numbers[row + 5] ?? 0n,
    };
    found.push(target === undefined ? entry : { ...entry, target });
  }
  return found;
}

/** Undefined where the way to it is barred: storing something there fails, and says why. */
function orNothing<T>(attempt: () => T): T | undefined {
  try {
    return attempt();
  } catch (error) {
    if (noWay.includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
