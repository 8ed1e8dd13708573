import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { errnoOf, TransferError } from '../errors';
import type { Directory } from './directory';

/** Who holds a lock: enough to tell whether that process still lives, on Linux even after its number was given to another. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in ticks since boot; '' where that cannot be known. */
  readonly started: string;
}

const lockName = 'lock';

/**
 * Takes the lock file of a staging directory; resolves with the function that gives it back. The lock of a process that is
 * gone is taken over. Rejects with `directory` while another process holds it.
 */
export async function takeLock(directory: Directory): Promise<() => Promise<void>> {
  const mine: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid) };
  const draft = `${lockName}.${randomBytes(8).toString('hex')}`;
  await writeFile(directory.at(draft), JSON.stringify(mine), { flag: 'wx', mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      if (await linked(directory, draft)) return () => unlink(directory.at(lockName));
      const holder = await readHolder(directory, lockName);
      if (holder && alive(holder)) {
        throw new TransferError('directory', `Another receiver (process ${String(holder.pid)} on ${holder.host}) is using this directory.`, {
          hint: 'Stop that one first, or receive into another directory.',
        });
      }
      await moveAway(directory);
    }
  } finally {
    await unlink(directory.at(draft));
  }
  throw new TransferError('directory', 'The lock of the receive directory could not be taken.', { hint: 'Remove .sendall/lock if no receiver runs.' });
}

/** `link` makes the whole lock appear at once, and fails if there is one. */
async function linked(directory: Directory, draft: string): Promise<boolean> {
  try {
    await link(directory.at(draft), directory.at(lockName));
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST') return false;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS' && code !== 'EOPNOTSUPP') throw error;
  }
  // A disk without hard links: the lock is written in place instead.
  try {
    await writeFile(directory.at(lockName), await readFile(directory.at(draft)), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function readHolder(directory: Directory, name: string): Promise<Holder | undefined> {
  try {
    const { pid, host, started } = JSON.parse(await readFile(directory.at(name), 'utf8')) as Partial<Holder>;
    return typeof pid === 'number' && typeof host === 'string' && typeof started === 'string' ? { pid, host, started } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Renaming is what only one of several contenders can do to a dead lock; one that was taken meanwhile is put back. */
async function moveAway(directory: Directory): Promise<void> {
  const away = `${lockName}.${randomBytes(8).toString('hex')}`;
  try {
    await rename(directory.at(lockName), directory.at(away));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  const holder = await readHolder(directory, away);
  if (holder && alive(holder)) await rename(directory.at(away), directory.at(lockName));
  else await unlink(directory.at(away));
}

function alive(holder: Holder): boolean {
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
  }
  return holder.started === startOf(holder.pid);
}

/** Field 22 of /proc/PID/stat (proc(5)), counted after the command's closing parenthesis, with the boot it belongs to. */
function startOf(pid: number): string {
  if (process.platform !== 'linux') return '';
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}/${ticks}`;
  } catch {
    return '';
  }
}
