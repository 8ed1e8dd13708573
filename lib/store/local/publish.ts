import {
  type BigIntStats,
  linkSync,
  lstatSync,
  lutimesSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { makePathSync } from '../../make-path';
import { type EntryName, printable } from '../../name';
import { fileStat, type FileStat } from '../../threads/file-calls';
import type { SystemCalls } from '../../threads/system-calls';
import { cannotLink } from './final-name';
import type { OpenDirectories } from './open-directories';
import { type DiskContent, readContent, type ReadGround } from './existing-content';
import { numberedNames } from '../numbered-names';
import { alreadyExists, notADirectory } from '../store';
import { type Given, giveMetadata } from './apply-metadata';
import { copyFile } from './copy-file';
import type { Lost } from '../store';
import type { Committed, IfExists } from '../store';
import { nameOfBytes, systemPath } from '../../name-bytes';
import { trace } from '../../trace';

/**
 * A file of an earlier snapshot, of which a staged one becomes one more name: on the same disk, or in the same object
 * store.
 */
export interface EarlierFile {
  /**
   * The path of a directory that is trusted, and the file's name below it, which is walked to without following
   * symbolic links.
   */
  readonly root: string;
  readonly name: EntryName;
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  readonly mtime: bigint;
  /**
   * The digest that it must read as from the disk before it gets another name; absent where its size and mtime are
   * enough.
   */
  readonly readBack?: string;
  /** In an object store, where its bytes are; absent for an empty file. */
  readonly content?: { readonly key: string; readonly offset: number };
}

/** Something that gets its final name by itself. */
export type Placing = {
  /** The path of its private name; `file` stands there, the others are made there. */
  readonly staged: string;
  readonly name: string;
  readonly ifExists: IfExists;
} & (
  | { readonly kind: 'file'; readonly size: number; readonly digest: string }
  | {
      readonly kind: 'symlink';
      readonly target: string;
      readonly mtime: bigint;
      readonly given: Given | undefined;
    }
  /** Another name of the file that is called `target`, or else of a `copy` of it that was made before. */
  | { readonly kind: 'link'; readonly target: string; readonly copy?: string | undefined }
  /** Another name of a file elsewhere on this disk, if that is still as it should be. */
  | { readonly kind: 'earlier'; readonly earlier: EarlierFile }
);

/** What became of it. */
export interface Placed {
  readonly outcome: Committed['outcome'];
  /** Under which name it is now. */
  readonly path: string;
  /** Of a regular file, of a symbolic link that was made, and of a directory that was finished. */
  readonly stat?: FileStat;
  /** What of its metadata could not be given. */
  readonly lost?: readonly Lost[];
}

/** Where things are placed, and by what means. */
export interface PlacingGround extends ReadGround {
  readonly directories: OpenDirectories;
  /** The directories below the root of an earlier file. */
  readonly elsewhere: (root: string) => OpenDirectories;
  readonly calls: SystemCalls | undefined;
  /** Names of copies of files that have as many names as the disk allows, by the name of the file. */
  readonly copies: Map<string, string>;
}

const mostAttempts = 10;

/**
 * Gives `thing` its final name, as its IfExists rule says. Throws `exists`, `name`, or an error of the operating
 * system.
 */
export async function publishEntry(thing: Placing, ground: PlacingGround): Promise<Placed> {
  const lost = await stage(thing, ground);
  const placed = await inDirectory(thing.name, ground, (directory, base) => settle(thing, directory, base, ground));
  if (thing.kind === 'link' && lost.includes('link')) ground.copies.set(thing.target, placed.path);
  // A copy that is there already is one in place of a hard link, too.
  return lost.length > 0 && (placed.outcome !== 'identical' || thing.kind === 'link') ? { ...placed, lost } : placed;
}

/**
 * Moves a staged directory with all that is in it to its final name, by one rename: then `stored`. `identical` if a
 * directory stands there, so that what is in it must be moved. Throws like `publishEntry`.
 */
export function move(staged: string, name: string, ground: PlacingGround): Promise<Placed> {
  return inDirectory(name, ground, async (directory, base) => {
    const { directories } = ground;
    directories.refuseCollision(directory, base);
    for (;;) {
      const target = directories.at(directory, base, true);
      if (moveIfFree(staged, target, ground.calls)) return appeared({ outcome: 'stored', path: name }, ground);
      const existing = look(target);
      if (existing?.isDirectory()) return { outcome: 'identical', path: name };
      if (existing) throw notADirectory(name);
    }
  });
}

/** Does it again in new directories where those were removed meanwhile. */
async function inDirectory<T>(
  name: string,
  { directories }: PlacingGround,
  action: (directory: string, base: string) => Promise<T>,
): Promise<T> {
  const directory = path.posix.dirname(name);
  for (let attempt = 1; ; attempt++) {
    try {
      return await action(directory, path.posix.basename(name));
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'ENOTDIR' || code === 'ELOOP') throw notADirectory(directory, error);
      if (code !== 'ENOENT' || attempt === mostAttempts) throw error;
      directories.forget(directory);
    }
  }
}

/** Resolves with what of its metadata could not be given. */
async function stage(thing: Placing, ground: PlacingGround): Promise<readonly Lost[]> {
  if (thing.kind === 'file') return [];
  const { directories, elsewhere, calls } = ground;
  const { staged } = thing;
  makePathSync(path.dirname(staged));
  switch (thing.kind) {
    case 'symlink':
      makeSymlink(thing.target, staged, thing.name);
      return finishLink(staged, thing, calls);
    case 'link': {
      const { name, target, copy } = thing;
      const { copied } = await stageLink(name, directories, target, staged, ground, ground.copies.get(target) ?? copy);
      return copied ? ['link'] : [];
    }
    case 'earlier': {
      const { root, name, size, mode, mtime, readBack } = thing.earlier;
      const { found } = await stageLink(thing.name, elsewhere(root), name, staged, ground);
      // Someone changed it since: what it holds, or its mode, is not what its manifest says.
      const asStored = found.size === BigInt(size) && found.mtimeNs === mtime && Number(found.mode & 0o7777n) === mode;
      if (!asStored) throw noSuchFile(thing.name, name);
      if (readBack !== undefined && (await readContent(staged, size, ground))?.digest !== readBack)
        throw noSuchFile(thing.name, name);
      return [];
    }
  }
}

/** Gives a symbolic link what it has beside its target. */
function finishLink(
  staged: string,
  { mtime, given }: Extract<Placing, { kind: 'symlink' }>,
  calls: SystemCalls | undefined,
): readonly Lost[] {
  const lost = given ? giveMetadata({ link: staged }, given) : [];
  const time = given?.time ?? mtime;
  if (calls) calls.setLinkTime(staged, time);
  else lutimesSync(systemPath(staged), new Date(), new Date(Number(time / 1_000_000n)));
  return lost;
}

function makeSymlink(target: string, staged: string, name: string): void {
  try {
    symlinkSync(systemPath(target), systemPath(staged));
  } catch (error) {
    if (!cannotLink(error)) throw error;
    throw new TransferError(
      'disk',
      `${printable(name)} is a symbolic link, and was not stored: the receiver's disk has none.`,
      { hint: '', cause: error },
    );
  }
}

/**
 * Makes `staged` one more name of the file `target`, or a copy of it where its disk has no hard links, or no more of
 * this file. `found` is the file as it is under `target`. `copy`: where a copy of it has been made before.
 */
async function stageLink(
  name: string,
  directories: OpenDirectories,
  target: string,
  staged: string,
  ground: PlacingGround,
  copy?: string,
): Promise<{ readonly found: BigIntStats; readonly copied: boolean }> {
  const linked = link(name, directories, target, staged);
  if (linked) return { found: linked, copied: false };
  const further = copy === undefined ? undefined : linkToCopy(name, ground.directories, copy, staged);
  if (further) return { found: further, copied: true };
  const file = directories.at(path.posix.dirname(target), path.posix.basename(target), false);
  const found = await copyFile(file, staged, ground);
  if (!found) throw noSuchFile(name, target);
  return { found, copied: true };
}

/** The same where the copy is still there; somebody may have moved or replaced it. */
function linkToCopy(name: string, directories: OpenDirectories, copy: string, staged: string): BigIntStats | undefined {
  try {
    return link(name, directories, copy, staged);
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    trace('a copy is gone, and another one is made: %o', error);
    rmSync(systemPath(staged), { force: true });
    return undefined;
  }
}

/** Undefined where the disk makes no link. */
function link(name: string, directories: OpenDirectories, target: string, staged: string): BigIntStats | undefined {
  try {
    linkSync(
      systemPath(directories.at(path.posix.dirname(target), path.posix.basename(target), false)),
      systemPath(staged),
    );
  } catch (error) {
    if (cannotLink(error) || errnoOf(error) === 'EMLINK') return undefined;
    if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) throw error;
    throw noSuchFile(name, target, error);
  }
  const found = look(staged);
  // A link to a symbolic link, or to something that only looked like a file.
  if (found?.isFile() !== true) throw noSuchFile(name, target);
  return found;
}

function noSuchFile(name: string, target: string, cause?: unknown): TransferError {
  return new TransferError(
    'unexpected',
    `${printable(target)}, of which ${printable(name)} is another name, is not a file on the receiver.`,
    { cause },
  );
}

async function settle(thing: Placing, directory: string, base: string, ground: PlacingGround): Promise<Placed> {
  const { name, ifExists, staged } = thing;
  const { directories } = ground;
  directories.at(directory, base, true);
  directories.refuseCollision(directory, base);
  for (;;) {
    const target = directories.at(directory, base, true);
    if (takeIfFree(staged, target, ground.calls))
      return appeared({ outcome: 'stored', path: name, ...statOf(target) }, ground);
    const existing = look(target);
    // Removed since it was in the way: there is room now.
    if (!existing) continue;
    if ((thing.kind === 'link' || thing.kind === 'earlier') && isSameFile(existing, staged))
      return appeared({ outcome: 'identical', path: name, stat: fileStat(existing) }, ground);
    if (ifExists === 'replace' && (existing.isFile() || (thing.kind === 'symlink' && existing.isSymbolicLink()))) {
      renameSync(systemPath(staged), systemPath(target));
      return appeared({ outcome: 'replaced', path: name, ...statOf(target) }, ground);
    }
    const same = await findSame(thing, target, existing, ground);
    if (same) return appeared({ outcome: 'identical', path: name, ...same }, ground);
    if (ifExists === 'rename') return takeNumberedName(thing, directory, ground);
    throw alreadyExists(name, ifExists, existing.isFile() ? 'other content' : 'something that is not a regular file');
  }
}

/** Gives it the first numbered name that is free, or has the same. */
async function takeNumberedName(thing: Placing, directory: string, ground: PlacingGround): Promise<Placed> {
  for (const { name, base, isCompared } of numberedNames(thing.name)) {
    const target = ground.directories.at(directory, base, true);
    if (takeIfFree(thing.staged, target, ground.calls))
      return appeared({ outcome: 'renamed', path: name, ...statOf(target) }, ground);
    const existing = isCompared ? look(target) : undefined;
    const same = existing && (await sameAsRenamed(thing, target, existing, ground));
    if (same) return appeared({ outcome: 'identical', path: name, ...same }, ground);
  }
  throw alreadyExists(thing.name, 'rename');
}

/**
 * As `findSame`, for what an earlier transfer may have stored under another name; what cannot be read is not the same.
 */
async function sameAsRenamed(
  thing: Placing,
  target: string,
  existing: BigIntStats,
  ground: PlacingGround,
): Promise<{ readonly stat?: FileStat } | undefined> {
  if (thing.kind === 'link' && isSameFile(existing, thing.staged)) return { stat: fileStat(existing) };
  try {
    return await findSame(thing, target, existing, ground);
  } catch (error) {
    if (error instanceof TransferError) return undefined;
    throw error;
  }
}

/** Whether what stands there is the same, and for a file its state of when its content was compared. */
async function findSame(
  thing: Placing,
  target: string,
  existing: BigIntStats,
  ground: PlacingGround,
): Promise<{ readonly stat?: FileStat } | undefined> {
  if (thing.kind === 'symlink')
    return existing.isSymbolicLink() &&
      nameOfBytes(readlinkSync(systemPath(target), { encoding: 'buffer' })) === thing.target
      ? {}
      : undefined;
  const size = thing.kind === 'file' ? thing.size : Number(look(thing.staged)?.size);
  if (!existing.isFile() || existing.size !== BigInt(size)) return undefined;
  const digest = thing.kind === 'file' ? thing.digest : (await read(thing.staged, size, thing, ground))?.digest;
  const found = await read(target, size, thing, ground);
  return found && found.digest === digest ? { stat: found.stat } : undefined;
}

/** See `readContent`; throws `exists` for what cannot be opened as a file. */
async function read(
  at: string,
  size: number,
  { name, ifExists }: Placing,
  ground: PlacingGround,
): Promise<DiskContent | undefined> {
  try {
    return await readContent(at, size, ground);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || !isOpening(error)) throw error;
    throw alreadyExists(name, ifExists, 'something that cannot be read as a file', error);
  }
}

const isOpening = (error: unknown): boolean => (error as NodeJS.ErrnoException).syscall === 'open';

/** Gives what is staged a name that is free; false if something has it, atomically wherever the disk can do that. */
function takeIfFree(staged: string, target: string, calls: SystemCalls | undefined): boolean {
  const renamed = renameIfCan(staged, target, calls);
  if (renamed !== undefined) return renamed;
  try {
    linkSync(systemPath(staged), systemPath(target));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    if (!cannotLink(error)) throw error;
    // As on FAT. The lock keeps other receivers away; a foreign program could slip in between.
    if (look(target)) return false;
    renameSync(systemPath(staged), systemPath(target));
    return true;
  }
  unlinkSync(systemPath(staged));
  return true;
}

/** The same for a directory, which cannot be linked; a plain rename replaces nothing but an empty directory. */
function moveIfFree(staged: string, target: string, calls: SystemCalls | undefined): boolean {
  const renamed = renameIfCan(staged, target, calls);
  if (renamed !== undefined) return renamed;
  if (look(target)) return false;
  try {
    renameSync(systemPath(staged), systemPath(target));
    return true;
  } catch (error) {
    if (['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(errnoOf(error) ?? '') && look(target)) return false;
    throw error;
  }
}

/** Undefined where such a rename cannot be had. */
function renameIfCan(staged: string, target: string, calls: SystemCalls | undefined): boolean | undefined {
  try {
    calls?.renameNoReplace(staged, target);
    return calls && true;
  } catch (error) {
    const code = errnoOf(error) ?? '';
    if (code === 'EEXIST') return false;
    if (code === 'EINVAL' || cannotLink(error)) return undefined;
    throw error;
  }
}

function appeared(placed: Placed, { directories }: PlacingGround): Placed {
  directories.appeared(path.posix.dirname(placed.path), path.posix.basename(placed.path));
  return placed;
}

function look(at: string): BigIntStats | undefined {
  return lstatSync(systemPath(at), { bigint: true, throwIfNoEntry: false });
}

function isSameFile(existing: BigIntStats, staged: string): boolean {
  const own = lstatSync(systemPath(staged), { bigint: true });
  return own.ino === existing.ino && own.dev === existing.dev;
}

function statOf(target: string): { readonly stat?: FileStat } {
  return { stat: fileStat(lstatSync(systemPath(target), { bigint: true })) };
}
