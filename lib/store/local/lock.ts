import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { link, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, lacksRoom, TransferError } from '../../errors';
import type { Directory } from './directory';
import { ignored } from '../../trace';

/**
 * Who holds a lock: enough to tell whether that process still lives, on Linux even after its number was given to
 * another.
 */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in ticks since boot; '' where that cannot be known. */
  readonly started: string;
  /** Of this one lock; locks of earlier versions have none. */
  readonly id?: string | undefined;
}

/** What a lock is for, in the words of the refusal. */
export interface LockWords {
  /** Whoever has it: `Another receiver`. */
  readonly holder: string;
  /** What that one is using. */
  readonly held: string;
  readonly hint: string;
  /** The path of the lock, for people. */
  readonly path: string;
}

const ofReceivers: LockWords = {
  holder: 'Another receiver',
  held: 'this directory',
  hint: 'Stop that one first, or receive into another directory.',
  path: '.sendall/lock',
};

const lockName = 'lock';
const guardName = 'lock.removing';
const mostAttempts = 50;
const retryAfter = 20;
/** How long a holder that was killed may take to end, in ms. */
const endsWithin = 10_000;
/** A lock that cannot be read is being written just now, unless it is this old, in ms: then a power cut ended that. */
const writtenWithin = 5_000;
/**
 * The ids of what this process gave up and could not remove from the disk: no locks any more, although the process
 * lives.
 */
const givenUp = new Set<string>();

/**
 * Takes the lock file of a staging directory; resolves with the function that gives it back. The lock of a process that
 * is
 * gone is taken over, by one only of those who try. Rejects with `directory`, in these words, while another process
 * holds it;
 * with ENOENT where somebody tidied up at that moment, and it is to be tried again.
 */
export async function takeLock(directory: Directory, words = ofReceivers): Promise<() => Promise<void>> {
  const id = randomBytes(8).toString('hex');
  const mine: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid), id };
  const draft = `${lockName}.${id}`;
  const began = performance.now();
  try {
    // Flushed, so that a power cut leaves no lock that nobody can read.
    await writeFile(directory.at(draft), JSON.stringify(mine), { flag: 'wx', mode: 0o600, flush: true });
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      if (await linked(directory, draft, lockName)) {
        // The lock is ours by now, and must not stay behind because of what cannot be tidied up.
        await removeDrafts(directory, draft).catch(ignored('the lock is ours, whatever cannot be tidied up'));
        await unlink(directory.at(draft)).catch(ignored('the lock is ours, whatever cannot be tidied up'));
        return () => giveUp(directory, id, [lockName, draft]);
      }
      const found = await look(directory, lockName);
      if (typeof found === 'object') throw inUse(found, words);
      if (found === 'dead') await removeDead(directory, draft);
      else await sleep(retryAfter);
      // It was killed, and its last calls on the disk are not over.
      if (found === 'ending' && performance.now() - began < endsWithin) attempt--;
    }
    throw new TransferError('directory', 'The lock of the receive directory could not be taken.', {
      hint: `Remove ${words.path} if nothing uses it.`,
    });
  } catch (error) {
    await giveUp(directory, id, [draft]).catch(ignored('why there is no lock is told'));
    // Whoever has the lock is the better reason than that there is no room for another.
    const found = lacksRoom(error) ? await look(directory, lockName) : undefined;
    throw typeof found === 'object' ? inUse(found, words) : error;
  }
}

/** Removes what stands under these names with this id. What cannot be removed is dead from now on. */
async function giveUp(directory: Directory, id: string, names: readonly string[]): Promise<void> {
  givenUp.add(id);
  for (const name of names) await rm(directory.at(name), { force: true });
  givenUp.delete(id);
}

function inUse({ pid, host }: Holder, { holder, held, hint }: LockWords): TransferError {
  return new TransferError('directory', `${holder} (process ${String(pid)} on ${host}) is using ${held}.`, { hint });
}

/** `link` makes the whole lock appear at once, and fails if there is one. */
async function linked(directory: Directory, draft: string, name: string): Promise<boolean> {
  try {
    await link(directory.at(draft), directory.at(name));
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST') return false;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS' && code !== 'EOPNOTSUPP') throw error;
  }
  // A disk without hard links: the lock is written in place instead.
  try {
    await writeFile(directory.at(name), await readFile(directory.at(draft)), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Who lives and holds the lock `name`; else whether it is dead, about to be, or gone or being written, so that it is to
 * be looked at again.
 */
async function look(directory: Directory, name: string): Promise<Holder | 'dead' | 'ending' | 'unclear'> {
  try {
    const { pid, host, started, id } = (JSON.parse(await readFile(directory.at(name), 'utf8')) ??
      {}) as Partial<Holder>;
    if (typeof pid === 'number' && typeof host === 'string' && typeof started === 'string') {
      if (!alive({ pid, host, started, id })) return 'dead';
      return host === hostname() && isZombie(pid) ? 'ending' : { pid, host, started };
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'unclear';
    if (!(error instanceof SyntaxError)) throw error;
  }
  const written = await directory.look(name);
  return written && Date.now() - written.mtimeMs > writtenWithin ? 'dead' : 'unclear';
}

/**
 * Removes a lock whose holder is gone. One contender at a time does that, and looks again before: the lock that we saw
 * may have
 * been removed since, and the one that stands there now be alive.
 */
async function removeDead(directory: Directory, draft: string): Promise<void> {
  if (!(await linked(directory, draft, guardName))) {
    if ((await look(directory, guardName)) === 'dead') await rm(directory.at(guardName), { force: true });
    else await sleep(retryAfter);
    return;
  }
  try {
    if ((await look(directory, lockName)) === 'dead') await unlink(directory.at(lockName));
  } finally {
    await unlink(directory.at(guardName));
  }
}

/**
 * Removes what receivers left that were killed while they took the lock, also in the middle of writing a draft. Whoever
 * is writing
 * one just now finds it gone (ENOENT) and begins anew; it would not have got the lock anyway.
 */
async function removeDrafts(directory: Directory, mine: string): Promise<void> {
  for (const name of await directory.list()) {
    if (!name.startsWith(`${lockName}.`) || name === mine) continue;
    const found = await look(directory, name);
    if (found === 'dead' || (found === 'unclear' && name !== guardName)) await rm(directory.at(name), { force: true });
  }
}

function alive(holder: Holder): boolean {
  if (holder.id !== undefined && givenUp.has(holder.id)) return false;
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
  }
  // One that has ended keeps its number until its parent asks for it, which some never do.
  return holder.started === startOf(holder.pid) && !(isZombie(holder.pid) && threadsOf(holder.pid) <= 1);
}

/** When a process started (field 22), with the boot that belongs to it; '' where that cannot be known. */
function startOf(pid: number): string {
  const ticks = statOf(pid)[19];
  if (ticks === undefined) return '';
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}/${ticks}`;
  } catch {
    // The process is gone, or there is no /proc.
    return '';
  }
}

/** Whether a process was ended (field 3); its other threads may have a call to finish. */
function isZombie(pid: number): boolean {
  return ['Z', 'X'].includes(statOf(pid)[0] ?? '');
}

function threadsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${String(pid)}/task`).length;
  } catch {
    // The process is gone, or there is no /proc.
    return 0;
  }
}

/**
 * The fields of /proc/PID/stat (proc(5)) from the third on, behind the command's closing parenthesis; none where that
 * cannot be read.
 */
function statOf(pid: number): string[] {
  if (process.platform !== 'linux') return [];
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    // The process is gone, or there is no /proc.
    return [];
  }
}
