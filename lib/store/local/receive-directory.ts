import { randomBytes } from 'node:crypto';
import { mkdir, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { asTransferError, errnoOf, TransferError, whyOf } from '../../errors';
import { printable } from '../../name';
import { systemPath } from '../../name-bytes';
import { trace } from '../../trace';
import { Directory, privateMode } from './directory';
import { type LockWords, takeLock } from './lock';
import { mountsBelow } from './other-disks';
import { type Undo, undoAll } from './undo';

/** Our own directory inside the receive directory. No file can be received under this name. */
export const stagingName = '.sendall';
const filesName = 'stage';
const mostAttempts = 10;
const releasing = 'The receive directory could not be released';

/** A receive directory that is ours alone until `release`, and in it an empty one in which files are staged. */
export interface ReceiveDirectory {
  readonly root: Directory;
  readonly staging: Directory;
  /** Our own directory, for what is kept from one run to the next. */
  readonly own: Directory;
  /**
   * Whether the path still leads to it, and what is ours is still in it: false once somebody removed or moved one of
   * them.
   */
  isUnmoved(): Promise<boolean>;
  /** Gives up the lock before the rest, for whoever opens anew what is not in place any more. */
  unlock(): Promise<void>;
  /** Removes what is staged, unlocks the directory and leaves it as it was. */
  release(): Promise<void>;
}

/** A private directory of ours that is not inside the receive directory, but on the same disk. */
export interface OwnDirectory {
  readonly path: string;
  /** What its lock is for. */
  readonly lock: LockWords;
}

/**
 * Opens the directory at `pathname`, if it is ours and not writable by others, locks it, and removes what an earlier
 * run left staged. Our own directory is `.sendall` in it, or `own`. Rejects with `directory`, and then leaves it as it
 * was.
 */
export async function openReceiveDirectory(pathname: string, own?: OwnDirectory): Promise<ReceiveDirectory> {
  for (let attempt = 1; ; attempt++) {
    const undo: Undo[] = [];
    try {
      return { ...(await openStep(pathname, own, undo)), release: () => undoAll(undo, releasing) };
    } catch (error) {
      await undoAll(undo, releasing);
      // Another process released this directory a moment ago, and removed the staging directory that we had found.
      if (errnoOf(error) !== 'ENOENT' || attempt === mostAttempts)
        throw asTransferError(error, 'directory', `${printable(pathname)} cannot be used`);
    }
  }
}

/** Adds to `undo` what gives back each thing as soon as it is taken. */
async function openStep(
  pathname: string,
  own: OwnDirectory | undefined,
  undo: Undo[],
): Promise<Omit<ReceiveDirectory, 'release'>> {
  const root = await openRoot(pathname);
  undo.push(() => root.close());
  if (own === undefined) await refuseOwnElsewhere(root);
  const outer = own === undefined ? await openPrivate(root, stagingName) : await Directory.open(own.path);
  if (own === undefined) undo.push(() => removeEmpty(root.at(stagingName)));
  undo.push(() => outer.close());
  const unlock = once(await takeLock(outer, own?.lock));
  undo.push(unlock);
  const removeStaged = (): Promise<void> => rm(outer.at(filesName), { recursive: true, force: true });
  await removeStaged();
  undo.push(removeStaged);
  const staging = await openPrivate(outer, filesName);
  undo.push(() => staging.close());
  const isUnmoved = async (): Promise<boolean> =>
    (await leadsTo(pathname, root)) &&
    (await leadsTo(own?.path ?? root.at(stagingName), outer)) &&
    (await leadsTo(outer.at(filesName), staging));
  return { root, staging, own: outer, isUnmoved, unlock };
}

/** Throws `directory` where what is ours below an open receive directory is on another file system. */
export async function refuseOwnElsewhere(root: Directory): Promise<void> {
  for (const at of await mountsBelow(root))
    if (`${at}/`.startsWith(`${stagingName}/`))
      throw new TransferError('directory', `Another file system is mounted at ${printable(at)} in the directory.`, {
        hint: 'What arrives is staged there and then renamed: unmount it.',
      });
}

/** What is done at the first call only: by the second, what stands under the lock's name is another's. */
function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= action());
}

/** Whether a path leads to this directory; not where that cannot be looked at. */
async function leadsTo(pathname: string, directory: Directory): Promise<boolean> {
  try {
    const [found, held] = await Promise.all([stat(systemPath(pathname)), directory.look('.')]);
    return found.ino === held?.ino && found.dev === held.dev;
  } catch (error) {
    trace('%s cannot be looked at any more: %o', pathname, error);
    return false;
  }
}

/** Opens the directory that the user named, if it is safe to receive into. */
async function openRoot(pathname: string): Promise<Directory> {
  const shown = printable(pathname);
  const root = await Directory.open(pathname, true).catch((cause: unknown) => {
    switch (errnoOf(cause)) {
      case 'ENOENT':
        throw new TransferError('directory', `${shown} does not exist.`, { cause, hint: `mkdir ${shown}` });
      case 'ENOTDIR':
        throw notADirectory(shown, cause);
      default:
        throw asTransferError(cause, 'directory', `${shown} cannot be opened`);
    }
  });
  const danger = await dangerOf(root, shown);
  if (danger === undefined) return root;
  await root.close();
  throw danger;
}

function notADirectory(shown: string, cause?: unknown): TransferError {
  return new TransferError('directory', `${shown} is not a directory.`, { cause, hint: 'Name another one.' });
}

async function dangerOf(root: Directory, shown: string): Promise<TransferError | undefined> {
  const found = await root.look('.');
  if (!found?.isDirectory()) return notADirectory(shown);
  if (process.platform === 'win32') return undefined;
  if (found.uid !== process.geteuid?.()) {
    return new TransferError('directory', `${shown} belongs to another user.`, {
      hint: 'Receive into a directory of your own.',
    });
  }
  if ((found.mode & 0o002) === 0) return undefined;
  return new TransferError('directory', `${shown} is writable by other users.`, {
    hint: `chmod o-w ${shown}, or receive into another directory. A disk without modes (exFAT, FAT) is to be mounted with umask=022 or umask=077.`,
  });
}

/** Opens a private directory below `parent`, made if missing; refuses one that is not ours alone. */
export async function openPrivate(parent: Directory, name: string): Promise<Directory> {
  const pathname = parent.at(name);
  try {
    await mkdir(pathname, { mode: 0o700 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
    const directory = await Directory.open(pathname);
    const found = await directory.look('.');
    if (process.platform === 'win32' || (found?.uid === process.geteuid?.() && ((found?.mode ?? 0o777) & 0o077) === 0))
      return directory;
    // Others may read all that is on such a disk, as it is mounted.
    if (found?.uid === process.geteuid?.() && (await hasNoModes(parent))) {
      if (((found?.mode ?? 0o777) & 0o022) === 0) return directory;
      await directory.close();
      await removeEmpty(pathname);
      throw new TransferError(
        'directory',
        'Its disk has no modes, and is mounted so that others may write to all of it.',
        { hint: 'Mount it with umask=022 or umask=077, or use a disk with ext4, XFS or btrfs.' },
      );
    }
    await directory.close();
    const shown = printable(await realpath(pathname));
    const keep = 'Do not remove it: it says what is a snapshot.';
    throw found?.uid === process.geteuid?.()
      ? new TransferError('directory', `${shown} can be read by others.`, { hint: `chmod 700 ${shown}. ${keep}` })
      : new TransferError('directory', `${shown} belongs to another user.`, { hint: `Run this as its owner. ${keep}` });
  } catch (cause) {
    if (cause instanceof TransferError) throw cause;
    if (errnoOf(cause) === 'ENOENT') throw cause;
    throw new TransferError('directory', `The staging directory ${name} cannot be used: ${whyOf(cause)}.`, { cause });
  }
}

/** Whether others may do with a directory that is made private what they may do with any: found out by making one. */
async function hasNoModes(parent: Directory): Promise<boolean> {
  const probe = `${stagingName}.${randomBytes(8).toString('hex')}`;
  await mkdir(parent.at(probe), { mode: privateMode });
  try {
    return (((await parent.look(probe))?.mode ?? privateMode) & 0o077) !== 0;
  } finally {
    await rmdir(parent.at(probe));
  }
}

/** Removes a directory of ours, if nothing is in it. */
export async function removeEmpty(pathname: string): Promise<void> {
  try {
    await rmdir(pathname);
  } catch (error) {
    // It stays where another receiver locks it by now, someone else's file is in there, or a disk is mounted at it.
    // On a disk that is mounted read-only nothing was made either.
    if (!['ENOTEMPTY', 'EEXIST', 'EBUSY', 'ENOENT', 'EROFS'].includes(errnoOf(error) ?? '')) throw error;
  }
}
