import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, lacksRoom, TransferError } from '../../errors';
import type { Directory } from './directory';
import { type Holder, isEnding, lockByKernel, mayLive, parseHolder, thisHolder } from './lock-holder';
import { printable } from '../../name';
import { ignored } from '../../trace';

/** What a lock is for, in the words of the refusal. */
export interface LockWords {
  /** The holder: `Another receiver`. */
  readonly holder: string;
  /** What the holder is using. */
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
/** Window in ms for the end of a holder that was killed. */
const endsWithin = 10_000;
/** A lock that cannot be read is being written just now, unless it is this old, in ms: then a power cut ended that. */
const writtenWithin = 5_000;
/**
 * The ids of what this process gave up and could not remove from the disk: no locks any more, although the process
 * lives.
 */
const givenUp = new Set<string>();

/**
 * Takes the lock file of a staging directory; resolves with the function that releases it. The lock of a process that
 * is gone is taken over, by one contender only. Rejects with `directory`, in these words, while another process holds
 * it; with ENOENT where the directory was removed at that moment, and the caller is to try again.
 */
export async function takeLock(directory: Directory, words = ofReceivers): Promise<() => Promise<void>> {
  const id = randomBytes(8).toString('hex');
  const draft = `${lockName}.${id}`;
  const began = performance.now();
  let held: FileHandle | undefined;
  try {
    // Flushed, so that a power cut leaves no lock that nobody can read.
    held = await open(directory.at(draft), 'wx', 0o600);
    await held.writeFile(JSON.stringify(thisHolder(id, lockByKernel(held.fd))));
    await held.sync();
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      if (await linked(directory, draft, lockName)) {
        // The lock is ours by now, and must not stay behind because of what cannot be tidied up.
        await removeDrafts(directory, draft).catch(ignored('the lock is ours, whatever cannot be tidied up'));
        await unlink(directory.at(draft)).catch(ignored('the lock is ours, whatever cannot be tidied up'));
        const lock = held;
        return () => giveUp(directory, id, [lockName, draft]).finally(() => lock.close());
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
    await held?.close();
    await giveUp(directory, id, [draft]).catch(ignored('why there is no lock is told'));
    // That another process holds the lock explains more than that there is no room for ours.
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

function inUse({ pid, host }: Holder, { holder, held, hint, path }: LockWords): TransferError {
  return new TransferError('directory', `${holder} (process ${String(pid)} on ${printable(host)}) is using ${held}.`, {
    hint: `${hint} If there is no such process any more, remove ${path} in the receive directory.`,
  });
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
  // A disk without hard links: the lock is written in place instead, and no kernel's lock is on that file.
  try {
    const { flock: _, ...holder } = parseHolder(await readFile(directory.at(draft), 'utf8')) ?? {};
    await writeFile(directory.at(name), JSON.stringify(holder), { flag: 'wx', mode: 0o600 });
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
    const holder = parseHolder(await readFile(directory.at(name), 'utf8'));
    if (holder) {
      if ((holder.id !== undefined && givenUp.has(holder.id)) || !(await mayLive(holder, directory, name)))
        return 'dead';
      return isEnding(holder) ? 'ending' : holder;
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
 * may have been removed since, and the present one may be held.
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
 * Removes drafts of locks that killed receivers have left, also half-written ones. A process that is writing one at
 * this moment finds it gone (ENOENT) and begins anew; it would not have got the lock anyway.
 */
async function removeDrafts(directory: Directory, mine: string): Promise<void> {
  for (const name of await directory.list()) {
    if (!name.startsWith(`${lockName}.`) || name === mine) continue;
    const found = await look(directory, name);
    if (found === 'dead' || (found === 'unclear' && name !== guardName)) await rm(directory.at(name), { force: true });
  }
}
