import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The file that all of program.ts is in, where the build has made it; undefined where there are its modules only. The
 * single executable has another one of these (packaging/executable/bundled-program.ts).
 */
export function bundledProgram(): string | undefined {
  const file = join(__dirname, '..', 'bundled', 'cli', 'program.js');
  return existsSync(file) ? file : undefined;
}
