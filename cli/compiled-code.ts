import { mkdirSync, statSync } from 'node:fs';
import nodeModule from 'node:module';
import { join } from 'node:path';
import { load } from '../lib/load';

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
 * `compiled` in the user's cache, made if it is missing; undefined where it cannot be made, or belongs to somebody
 * else, or others may write to it.
 */
export function ownDirectory(env: NodeJS.ProcessEnv): string | undefined {
  try {
    // Not by way of everything else that commands use: that is what should be kept.
    const { isOnlyOurs, userCache } = load.userDirectory();
    const directory = join(userCache(env), 'compiled');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return isOnlyOurs(statSync(directory)) ? directory : undefined;
  } catch {
    return undefined; // it is compiled again
  }
}
