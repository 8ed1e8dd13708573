import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, TransferError } from '../errors';

/** Window in ms for the lock. */
const mostPatience = 10_000;
/**
 * A change takes milliseconds: a lock of this age, in ms, belongs to nobody any more, whatever has its process number
 * now.
 */
const oldest = 60_000;

/** The right to change a file, by a lock file that only one process can create. */
export interface ChangeLock {
  /**
   * Whether it is still ours: one who found us dead may have taken it. Synchronous, to be asked right before the change
   * takes effect.
   */
  isOurs(): boolean;
  release(): void;
}

/**
 * Takes the lock file `path`, waiting for whoever has it. The lock of a process that is gone, or of one that was
 * stopped for a minute, is taken over. Should several try that at once, one may lose the lock that it just took:
 * `isOurs` tells. Rejects with `unexpected` if somebody else holds it for ten seconds.
 */
export async function takeChangeLock(path: string): Promise<ChangeLock> {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), once: randomBytes(8).toString('hex') });
  const deadline = Date.now() + mostPatience;
  for (;;) {
    if (created(path, mine)) break;
    if (isAbandoned(path)) remove(path);
    else if (Date.now() > deadline) throw takesTooLong(path);
    else await sleep(2 + Math.random() * 20);
  }
  const isOurs = (): boolean => textOf(path) === mine;
  return {
    isOurs,
    release: () => {
      if (isOurs()) remove(path);
    },
  };
}

function created(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

function isAbandoned(path: string): boolean {
  const taken = statSync(path, { throwIfNoEntry: false });
  if (taken === undefined) return false;
  if (Date.now() - taken.mtimeMs > oldest) return true;
  const { pid, host } = holderOf(textOf(path));
  return typeof pid === 'number' && host === hostname() && !exists(pid);
}

/** Nothing where it is being written just now, or was left empty by a power cut: then its age decides. */
function holderOf(text: string | undefined): { readonly pid?: unknown; readonly host?: unknown } {
  try {
    return (JSON.parse(text ?? '') ?? {}) as object;
  } catch {
    // Being written, or empty: see above.
    return {};
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return errnoOf(error) !== 'ESRCH';
  }
  return true;
}

function textOf(path: string): string | undefined {
  return unlessGone(() => readFileSync(path, 'utf8'));
}

function remove(path: string): void {
  unlessGone(() => unlinkSync(path));
}

function unlessGone<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function takesTooLong(path: string): TransferError {
  return new TransferError(
    'unexpected',
    `Another process has held the lock ${path} for ${String(mostPatience / 1000)} s.`,
    {
      hint: 'Remove that file if no other sendall is running.',
    },
  );
}
