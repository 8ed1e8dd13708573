// What of this program stands in files of its own: the modules of workers, addons, and the web page. The single
// executable has another one of these (packaging/executable/program-parts.ts), which finds them inside of itself.
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { WorkerOptions } from 'node:worker_threads';

/** What a thread is started from: a file, or with `eval` a text. */
export interface WorkerStart {
  readonly from: string;
  readonly options: WorkerOptions;
}

/**
 * The worker's module `file`, given without its extension: a .ts file where this one is, loaded by the same `--require`
 * as this one; else plain JavaScript that needs nothing of what the process was started with.
 */
export function workerStart(file: string): WorkerStart {
  const extension = path.extname(__filename);
  return { from: file + extension, options: extension === '.ts' ? {} : { execArgv: [] } };
}

/**
 * An optional dependency. Throws where it is missing, or cannot be loaded. To find out which build is for a Linux, its
 * own index has Node make a report of the process: that takes ten times as long as to load it, and waits for the name
 * server if something is connected.
 */
export function blakeAddon(): typeof import('@napi-rs/blake-hash') {
  const index = require.resolve('@napi-rs/blake-hash');
  try {
    const build = `@napi-rs/blake-hash-${process.platform}-${process.arch}-gnu`;
    return createRequire(index)(build) as ReturnType<typeof blakeAddon>;
  } catch {
    return require(index) as ReturnType<typeof blakeAddon>; // no such Linux
  }
}

/** The same for koffi, the foreign function interface, on Linux for x64 and arm64. */
export function foreignAddon(): unknown {
  return require(`@koromix/koffi-linux-${process.arch}`) as unknown;
}

/** The files of the web page by their names, which the build puts into `dist/web`. Throws ENOENT where it did not. */
export function pageParts(): readonly (readonly [name: string, bytes: Uint8Array])[] {
  const built = path.extname(__filename) === '.ts' ? ['dist', 'web'] : ['web'];
  const directory = path.join(__dirname, '..', '..', ...built);
  return readdirSync(directory).map((name) => [name, readFileSync(path.join(directory, name))]);
}
