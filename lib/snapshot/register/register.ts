/**
 * The register of a receive directory: what this receiver itself has committed. Only what it names is a snapshot; what
 * else lies under the name of a backup is foreign, and never read for anybody. It is kept in
 * `.sendall/snapshots/NAME/register`, which is private.
 *
 * A snapshot is committed in this order, each step durable before the next begins:
 *   1. all of it, its manifest last, where it is staged;
 *   2. `register.next`: the register as it will be;
 *   3. the rename that gives the snapshot its name, and the directory in which it has that;
 *   4. the rename of `register.next` to `register`.
 * Killed or cut off before 3, the snapshot is still staged, and `register.next` says nothing. After 3 it has its name
 * and is whole, and `register.next` says so: whoever reads takes that for the register, and whoever locks the backup
 * next does step 4. So no entry is ever read of what is not there whole. Step 4 takes no more room on the disk: a full
 * one does not come in between.
 *
 * One that is made anew without some of its entries takes the same steps: `register.next` says what its manifest will
 * be, and step 3 exchanges the two directories, so that at every instant one of them is there whole.
 *
 * One is removed in this order: its directory is renamed to `removing-ID` beside the register, which takes it out of
 * sight; what is in it is removed; the register without it; the empty directory. An entry whose snapshot is neither
 * there nor at `removing-ID` is lost.
 */
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import { Directory } from '../../store/local/directory';
import { stagingName } from '../../store/local/receive-directory';
import { manifestName, sumLine } from '../manifest/manifest';
import { encodeRegister, parseRegister, type RegisteredBackup, type RegisteredSnapshot } from './register-text';

export type { RegisteredBackup, RegisteredSnapshot } from './register-text';

/** In our own directory, each backup has one in here. */
export const snapshotsName = 'snapshots';
/** What stands before the id of a snapshot that is being removed. */
export const removingPrefix = 'removing-';
const registerName = 'register';
const nextName = 'register.next';
const draftName = 'register.new';
const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const absentErrors = ['ENOENT', 'ENOTDIR', 'ELOOP'];

/** The path of what the receive directory `directory` keeps for a backup beside its snapshots. */
export function ownPathOf(directory: string, name: EntryName): string {
  return path.join(directory, stagingName, snapshotsName, name);
}

/**
 * The backups that are registered in the receive directory at `directory`, sorted. Rejects with `directory` where that,
 * or the register, cannot be read.
 */
export async function registeredNames(directory: string): Promise<EntryName[]> {
  return within(directory, [stagingName, snapshotsName], async (snapshots) => {
    const names: EntryName[] = [];
    for (const name of (await snapshots?.list()) ?? []) {
      if (snapshots && isName(name) && (await isRegistered(snapshots, name))) names.push(name);
    }
    return names.sort();
  });
}

/**
 * What is registered of a backup; undefined where nothing is. A snapshot that was committed and not registered yet
 * counts. Takes no lock. Rejects with `mismatch` for a register that is damaged, with `directory` where it cannot be
 * read.
 */
export async function readRegister(directory: string, name: EntryName): Promise<RegisteredBackup | undefined> {
  return within(directory, [stagingName, snapshotsName, name], async (own, root) => {
    if (!own) return undefined;
    // In this order: what is read as the next one may be the register a moment later, and is not missed then.
    const next = await readNext(own, name);
    const register = await read(own, registerName, name);
    return next && (await counts(next, register, root)) ? next : register;
  });
}

/**
 * The same for whoever has locked the backup: what was broken off is brought to its end. `own` is
 * `.sendall/snapshots/NAME`, `root` the receive directory.
 */
export async function settleRegister(
  own: Directory,
  root: Directory,
  name: EntryName,
): Promise<RegisteredBackup | undefined> {
  const next = await readNext(own, name);
  const register = await read(own, registerName, name);
  if (next && (await counts(next, register, root))) {
    await syncBelow(root, name);
    await acceptNext(own);
    return next;
  }
  for (const left of [nextName, draftName]) await rm(own.at(left), { force: true });
  return register;
}

/** Replaces the register, durably. */
export async function writeRegister(own: Directory, register: RegisteredBackup): Promise<void> {
  await writeDurably(own, draftName, encodeRegister(register));
  await rename(own.at(draftName), own.at(registerName));
  await own.sync();
}

/** Step 2 of a commit: says durably what the register will be once its newest snapshot has its name. */
export async function prepareNext(own: Directory, register: RegisteredBackup): Promise<void> {
  await writeDurably(own, draftName, encodeRegister(register));
  await rename(own.at(draftName), own.at(nextName));
  await own.sync();
}

/** Step 4: the newest snapshot has its name. */
export async function acceptNext(own: Directory): Promise<void> {
  await rename(own.at(nextName), own.at(registerName));
  await own.sync();
}

/** Gives up the right to the name of a backup of which there is no snapshot. */
export async function removeRegister(own: Directory): Promise<void> {
  await rm(own.at(registerName), { force: true });
  await own.sync();
}

/** The one with the highest number. */
export function newestOf({ snapshots }: Pick<RegisteredBackup, 'snapshots'>): RegisteredSnapshot | undefined {
  return snapshots.at(-1);
}

/** Whether a snapshot that is not there is being removed. */
export async function isBeingRemoved(directory: string, name: EntryName, id: string): Promise<boolean> {
  return within(
    directory,
    [stagingName, snapshotsName, name],
    async (own) => (await own?.look(`${removingPrefix}${id}`)) !== undefined,
  );
}

/**
 * Opens the directories `below` the receive directory one after another, without following symbolic links, for `work`;
 * undefined where there is none.
 */
async function within<Result>(
  directory: string,
  below: readonly string[],
  work: (own: Directory | undefined, root: Directory) => Promise<Result>,
): Promise<Result> {
  const opened: Directory[] = [];
  try {
    const root = await Directory.open(directory, true);
    opened.push(root);
    let own: Directory | undefined = root;
    for (const each of below) {
      own = own && (await openIfPresent(own, each));
      if (own) opened.push(own);
      if (own && each === stagingName) await refuseUnlessPrivate(own);
    }
    return await work(own, root);
  } catch (error) {
    throw asTransferError(error, 'directory', `${printable(directory)} cannot be read`);
  } finally {
    for (const each of opened) await each.close();
  }
}

async function openIfPresent(parent: Directory, name: string): Promise<Directory | undefined> {
  return Directory.open(parent.at(name)).catch((error: unknown) => {
    if (absentErrors.includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  });
}

/** Rejects where other users can write to it: then the register proves nothing. */
async function refuseUnlessPrivate(own: Directory): Promise<void> {
  const mode = (await own.look('.'))?.mode ?? 0;
  if (process.platform === 'win32' || (mode & 0o022) === 0) return;
  throw new TransferError('directory', `Others can write to ${stagingName} in the receive directory.`, {
    hint: `chmod 700 ${stagingName}. A disk without modes (exFAT, FAT) is to be mounted with umask=022 or umask=077.`,
  });
}

function isName(text: string): text is EntryName {
  try {
    return parseEntryName(text) === text;
  } catch {
    return false; // no backup is called so: another program put it there
  }
}

async function isRegistered(snapshots: Directory, name: string): Promise<boolean> {
  const own = await openIfPresent(snapshots, name);
  if (!own) return false;
  try {
    return (await own.look(registerName)) !== undefined;
  } finally {
    await own.close();
  }
}

async function read(own: Directory, file: string, name: EntryName): Promise<RegisteredBackup | undefined> {
  const text = await textOf(own, file);
  return text === undefined ? undefined : parseRegister(text, name);
}

/** One that is damaged was never made durable, or is not the only one: the register before it counts. */
async function readNext(own: Directory, name: EntryName): Promise<RegisteredBackup | undefined> {
  return read(own, nextName, name).catch((error: unknown) => {
    if (error instanceof TransferError) return undefined;
    throw error;
  });
}

async function textOf(own: Directory, file: string): Promise<string | undefined> {
  try {
    const handle = await open(own.at(file), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whether what was to become of a snapshot has become of it: the one that is new in `next`, or another one there. */
async function counts(
  next: RegisteredBackup,
  register: RegisteredBackup | undefined,
  root: Directory,
): Promise<boolean> {
  const known = new Map(register?.snapshots.map((snapshot) => [snapshot.number, snapshot.manifest]));
  const newest = (register && newestOf(register)?.number) ?? 0;
  const changed = next.snapshots.filter(({ number, manifest }) => known.get(number) !== manifest);
  const [first, ...more] = changed;
  // One of these is of another time: nothing changes more than one.
  if (!first || more.length > 0 || (!known.has(first.number) && first.number < newest)) return false;
  return stands(root, next.name, first);
}

/**
 * Whether the snapshot has its name, as far as size and last line of its manifest tell; what is read of it is compared
 * as a whole.
 */
async function stands(root: Directory, name: EntryName, snapshot: RegisteredSnapshot | undefined): Promise<boolean> {
  if (!snapshot) return false;
  const backupDirectory = await openIfPresent(root, name);
  const snapshotDirectory = backupDirectory && (await openIfPresent(backupDirectory, snapshot.id));
  try {
    if (!snapshotDirectory) return false;
    const file = await open(snapshotDirectory.at(manifestName), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const wanted = sumLine(snapshot.manifest);
      const { size } = await file.stat();
      const { buffer } = await file.read(
        Buffer.alloc(wanted.length),
        0,
        wanted.length,
        Math.max(0, size - wanted.length),
      );
      return size === snapshot.size && buffer.toString('latin1') === wanted;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (absentErrors.includes(errnoOf(error) ?? '')) return false;
    throw error;
  } finally {
    await snapshotDirectory?.close();
    await backupDirectory?.close();
  }
}

async function syncBelow(root: Directory, name: EntryName): Promise<void> {
  await root.sync();
  const backupDirectory = await Directory.open(root.at(name));
  try {
    await backupDirectory.sync();
  } finally {
    await backupDirectory.close();
  }
}

async function writeDurably(own: Directory, name: string, text: string): Promise<void> {
  const file = await open(own.at(name), O_CREAT | O_TRUNC | O_NOFOLLOW | O_WRONLY, 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
