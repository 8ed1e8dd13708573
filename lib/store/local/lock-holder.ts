// Whoever holds a lock, and whether that process still lives: also where it is called by another host name, or by a
// number of its own, as in a container.
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { errnoOf } from '../../errors';
import { systemCalls } from '../../threads/system-calls';
import { trace } from '../../trace';
import type { Directory } from './directory';
import { isLocalDisk } from './local-probe';

/** What a lock says of its holder. */
export interface Holder {
  readonly pid: number;
  readonly host: string;
  /** The boot, and when the process started, in ticks since then; '' where that cannot be known. */
  readonly started: string;
  /** In which namespace its number is one; absent in locks of earlier versions, and where there are none. */
  readonly namespace?: string | undefined;
  /** Whether it keeps the file of its lock open, and locked by the kernel. */
  readonly flock?: true | undefined;
  /** Of this one lock; locks of earlier versions have none. */
  readonly id?: string | undefined;
}

/** What this process says of itself in a lock whose file it has locked by the kernel, or not. */
export function thisHolder(id: string, flock: boolean): Holder {
  const namespace = namespaceHere();
  return {
    pid: process.pid,
    host: hostname(),
    started: startOf(process.pid),
    ...(namespace === undefined ? {} : { namespace }),
    ...(flock ? { flock } : {}),
    id,
  };
}

/** The holder in the text of a lock; undefined where that says of none. Throws SyntaxError for what is no JSON. */
export function parseHolder(text: string): Holder | undefined {
  const { pid, host, started, namespace, flock, id } = (JSON.parse(text) ?? {}) as Partial<Holder>;
  if (typeof pid !== 'number' || typeof host !== 'string' || typeof started !== 'string') return undefined;
  return { pid, host, started, namespace, flock, id };
}

/** Locks the file of a lock by the kernel, until it is closed; false where that cannot be had. */
export function lockByKernel(fd: number): boolean {
  try {
    return systemCalls()?.lock(fd, true) === true;
  } catch (error) {
    trace('a lock is not locked by the kernel: %o', error);
    return false;
  }
}

/**
 * Whether the holder of the lock `name` may live. A kernel knows its own processes: by their numbers in one namespace,
 * by the locks that they hold in all of them. A kernel that is another one than ours, on a disk that only one machine
 * can have, was that of an earlier start.
 */
export async function mayLive(holder: Holder, directory: Directory, name: string): Promise<boolean> {
  const [boot = '', here = ''] = [holder.started, startOf(process.pid)].map((started) => started.split('/')[0]);
  if (boot === '' || here === '') return holder.host !== hostname() || isRunning(holder);
  // Some containers have a boot id of their own, but share the locks of the kernel.
  const alone = boot === here || (await isLocalDisk(directory.at('.')));
  const locked = holder.flock && alone ? isLocked(directory.at(name)) : undefined;
  if (locked !== undefined) return locked;
  if (boot !== here) return holder.host !== hostname() && !alone;
  if (holder.namespace === undefined) return holder.host !== hostname() || isRunning(holder);
  return holder.namespace !== namespaceHere() || isRunning(holder);
}

/** Whether any process holds a kernel lock on a file; undefined where that cannot be found out. */
function isLocked(path: string): boolean | undefined {
  const calls = systemCalls();
  if (!calls) return undefined;
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      return !calls.lock(fd, false);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    trace('whether %s is locked cannot be found out: %o', path, error);
    return undefined;
  }
}

function isRunning(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
  }
  // An ended process keeps its number until its parent asks for it, which some parents never do.
  return holder.started === startOf(holder.pid) && !(isZombie(holder.pid) && threadsOf(holder.pid) <= 1);
}

/** Whether a holder that may live was ended, and has a call to finish. */
export function isEnding({ pid, namespace, host }: Holder): boolean {
  return (namespace === undefined ? host === hostname() : namespace === namespaceHere()) && isZombie(pid);
}

function namespaceHere(): string | undefined {
  try {
    return process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : undefined;
  } catch {
    return undefined; // there is no /proc
  }
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
