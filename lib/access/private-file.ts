import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, type Stats } from 'node:fs';
import { open, readdir, realpath, rm, stat } from 'node:fs/promises';
import { userDirectory } from '../user-directory';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { asTransferError, errnoOf, TransferError } from '../errors';
import { makePath } from '../make-path';
import { takeChangeLock, type ChangeLock } from './change-lock';
import { ignored } from '../trace';

const mostBytes = 4 * 1024 ** 2; // some 15,000 keys
const mostAttempts = 20;
const leftAfter = 60_000; // ms: until then, a temporary file may belong to somebody who is about to use it

/**
 * Where the files of this user are that last: an absolute `$XDG_CONFIG_HOME` anywhere, else the platform's usual place.
 */
export function configDirectory(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  const { XDG_CONFIG_HOME: xdg, APPDATA: roaming } = env;
  if (xdg !== undefined && isAbsolute(xdg)) return join(xdg, 'sendall');
  if (platform === 'win32') return join(roaming || join(userDirectory(), 'AppData', 'Roaming'), 'sendall');
  return join(userDirectory(), '.config', 'sendall');
}

/**
 * The text of a file that holds keys, undefined where there is no such file. Throws `usage` where others could read or
 * write it, where it is not ours or no regular file, and `unexpected` where the system does not let us read it.
 * Synchronous: such files are small.
 */
export function readPrivateFile(path: string): string | undefined {
  try {
    // A named pipe is refused below, not waited for.
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      refuseUnlessPrivate(fstatSync(file), path);
      return readFileSync(file, 'utf8');
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw asTransferError(error, 'unexpected', `${path} cannot be read`);
  }
}

/**
 * Replaces the text of such a file by what `change` makes of it, atomically and durably: whoever reads sees the old
 * text or the new one, whole. Changes by several processes happen one after the other. `change` throws to leave
 * everything as it is; it may be asked again. The directory is made if there is none.
 */
export async function changePrivateFile(path: string, change: (text: string | undefined) => string): Promise<void> {
  try {
    await makePath(dirname(path), 0o700);
    const target = await followed(path);
    refuseUnlessOurDirectory(await stat(dirname(target)), dirname(target));
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const lock = await takeChangeLock(`${target}.lock`);
      try {
        if (await replaced(target, change(readPrivateFile(target)), lock)) return;
      } finally {
        lock.release();
      }
    }
  } catch (error) {
    throw asTransferError(error, 'unexpected', `${path} cannot be changed`);
  }
  throw new TransferError('unexpected', `${path} cannot be changed: others keep taking its lock.`);
}

/**
 * The entries of the JSON object that `text` is. Throws `usage`; nothing of the text is repeated, since it holds keys.
 */
export function entriesOf(text: string | undefined, path: string): [string, unknown][] {
  if (text === undefined) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged(path, 'it is not JSON'); // without the cause, which quotes the text
  }
  if (!isRecord(value)) throw damaged(path, 'it is not one JSON object');
  return Object.entries(value);
}

/** What is thrown when a file of keys makes no sense: it is never taken for an empty one. */
export function damaged(path: string, flaw: string): TransferError {
  return new TransferError('usage', `${path} is damaged: ${flaw}.`, {
    hint: 'Repair it, or move it away to begin with none.',
  });
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A name for a machine, as people type it in place of a path or an address, and so that it is neither. Throws `usage`.
 */
export function checkKeyName(name: string): void {
  if (isKeyName(name)) return;
  // A ticket in the wrong place is longer, and not repeated.
  const shown = name.length > 64 ? 'That' : JSON.stringify(name);
  throw new TransferError('usage', `${shown} cannot be the name of a machine.`, {
    hint: 'Up to 64 letters, digits, ".", "_" and "-", of which the first is a letter, a digit or "_".',
  });
}

export function isKeyName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(name);
}

/** Where `path` leads, since a rename would put a file in place of a symbolic link. */
async function followed(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return path;
    throw error;
  }
}

/** Whether `text` is in place; if not, somebody took the lock over, and what he wrote must be read first. */
async function replaced(target: string, text: string, lock: ChangeLock): Promise<boolean> {
  await removeLeftovers(target);
  const temporary = `${target}.${randomBytes(8).toString('hex')}.new`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    if (!lock.isOurs()) return false;
    renameSync(temporary, target); // no turn of the event loop after the look at the lock
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(target));
  return true;
}

/** What processes left that were killed in the middle of a change: there are keys in it. */
async function removeLeftovers(target: string): Promise<void> {
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(`${basename(target)}.`) || !/\.[0-9a-f]{16}\.new$/.test(name)) continue;
    const path = join(dirname(target), name);
    const left = await stat(path).catch(ignored('gone by now'));
    if (left && Date.now() - left.mtimeMs > leftAfter) await rm(path, { force: true });
  }
}

async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function refuseUnlessPrivate(found: Stats, path: string): void {
  if (!found.isFile()) throw new TransferError('usage', `${path} is not a file.`);
  if (found.size > mostBytes)
    throw new TransferError('usage', `${path} is larger than ${String(mostBytes)} bytes: that is no file of keys.`);
  if (process.geteuid === undefined) return;
  if (found.uid !== process.geteuid()) throw notOurs(path);
  if ((found.mode & 0o077) === 0) return;
  throw new TransferError('usage', `Other users can read or write ${path}, which holds keys.`, {
    hint: `Run chmod 600 ${path}`,
  });
}

function refuseUnlessOurDirectory(found: Stats, path: string): void {
  if (process.geteuid === undefined) return;
  if (found.uid !== process.geteuid()) throw notOurs(path);
  if ((found.mode & 0o022) === 0) return;
  throw new TransferError('usage', `Other users can write to ${path}, which is to hold keys.`, {
    hint: `Run chmod 700 ${path}`,
  });
}

function notOurs(path: string): TransferError {
  return new TransferError('usage', `${path} belongs to another user.`, {
    hint: `Run chown ${String(process.geteuid?.())} ${path}`,
  });
}
