import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { trace } from './trace';

/**
 * The directory of this user, below which settings and caches are. Without HOME and an entry in passwd(5), as in many
 * containers, there is none: then a path at which nothing is, so that whoever only reads finds nothing.
 */
export function userDirectory(): string {
  try {
    return homedir();
  } catch (error) {
    trace('this user has no directory: %o', error);
    return '/nonexistent';
  }
}

/**
 * Where the cache of this program is: below an absolute `$XDG_CACHE_HOME` anywhere, else in the platform's usual place.
 */
export function userCache(env: NodeJS.ProcessEnv = process.env, platform: NodeJS.Platform = process.platform): string {
  const { XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = env;
  if (xdg !== undefined && isAbsolute(xdg)) return join(xdg, 'sendall');
  if (platform === 'win32') return join(local || join(userDirectory(), 'AppData', 'Local'), 'sendall');
  return join(userDirectory(), platform === 'darwin' ? 'Library/Caches' : '.cache', 'sendall');
}

/** Whether something is this user's, and nobody else may write to it; true where the system has no such owners. */
export function isOnlyOurs({ uid, mode }: { readonly uid: number; readonly mode: number }): boolean {
  return process.geteuid === undefined || (uid === process.geteuid() && (mode & 0o022) === 0);
}
