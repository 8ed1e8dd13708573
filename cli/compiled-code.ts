import { mkdirSync, statSync } from 'node:fs';
import nodeModule from 'node:module';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * Lets Node, from 22.1 on, keep compiled code from one run to the next; elsewhere, and where there is no directory for
 * it, nothing is kept. By itself Node takes one below the directory for temporary files, which on many systems is that
 * of all users: whoever made it first could have code of theirs run by everybody else.
 */
export function keepCompiledCode(): void {
  const { enableCompileCache } = nodeModule as { enableCompileCache?: (directory: string) => unknown };
  const directory = enableCompileCache && ownDirectory(process.env);
  if (directory !== undefined) enableCompileCache?.(directory);
}

/**
 * `sendall/compiled` in the user's cache, made if it is missing; undefined where it cannot be made, or belongs to
 * somebody else, or others may write to it.
 */
export function ownDirectory({ XDG_CACHE_HOME: cache, LOCALAPPDATA: local }: NodeJS.ProcessEnv): string | undefined {
  try {
    const usual = process.platform === 'win32' && local ? local : join(homedir(), '.cache');
    const directory = join(cache !== undefined && isAbsolute(cache) ? cache : usual, 'sendall', 'compiled');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(directory);
    const user = process.geteuid?.();
    return user === undefined || (uid === user && (mode & 0o022) === 0) ? directory : undefined;
  } catch {
    return undefined; // it is compiled again
  }
}
