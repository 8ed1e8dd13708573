// The single executable's own lib/threads/program-parts.ts: workers, the web page and addons are assets in it. The
// system loads addons from files only, so they are written once into a directory that is ours alone, named by what is
// in them.
import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { getAsset } from 'node:sea';
import { threadId } from 'node:worker_threads';
import type * as parts from '../../lib/threads/program-parts';

/** The SHA-256 of each addon's file; packaging/executable.ts has esbuild put it here. */
declare const addonDigests: Readonly<Record<string, string>>;
/** The names of the page's files; the same. */
declare const pageNames: readonly string[];

export const workerStart: typeof parts.workerStart = (file) => ({
  from: getAsset(`${path.basename(file)}.js`, 'utf8'),
  options: { eval: true, execArgv: [] },
});

export const blakeAddon: typeof parts.blakeAddon = () => loaded('blake.node') as ReturnType<typeof parts.blakeAddon>;

export const foreignAddon: typeof parts.foreignAddon = () => loaded('koffi.node');

export const pageParts: typeof parts.pageParts = () =>
  pageNames.map((name) => [name, new Uint8Array(getAsset(`web/${name}`))]);

const addons = new Map<string, unknown>();

/** Throws where no directory takes it, and where none that does may hold programs: whoever needs it goes on without. */
function loaded(name: string): unknown {
  if (addons.has(name)) return addons.get(name);
  const digest = addonDigests[name];
  if (digest === undefined) throw new Error(`This executable has no ${name}.`);
  const content = new Uint8Array(getAsset(name));
  const failures: unknown[] = [];
  for (const directory of cacheDirectories()) {
    try {
      const file = keptIn(directory, `${digest}.node`, content);
      const module = { exports: {} };
      process.dlopen(module, file);
      addons.set(name, module.exports);
      return module.exports;
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures, `${name} cannot be loaded.`);
}

/** The service's own by systemd.exec(5), then the user's. */
function cacheDirectories(): string[] {
  const { CACHE_DIRECTORY: services = '', XDG_CACHE_HOME: users = '' } = process.env;
  const own = [services.split(':')[0] ?? '', users, path.join(homedir(), '.cache')];
  return [...new Set(own.filter((each) => path.isAbsolute(each)))].map((each) => path.join(each, 'sendall', 'addons'));
}

/** The path of a file with this content, in a directory that nobody else may write to. */
function keptIn(directory: string, name: string, content: Uint8Array): string {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { uid, mode } = lstatSync(directory);
  if ((uid !== process.getuid?.() && process.getuid) || (mode & 0o022) !== 0)
    throw new Error(`${directory} is not ours alone.`);
  const file = path.join(directory, name);
  if (isSame(file, content)) return file;
  const fresh = `${file}.${String(process.pid)}.${String(threadId)}`;
  try {
    writeFileSync(fresh, content, { mode: 0o500, flag: 'wx' });
    renameSync(fresh, file);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  return file;
}

function isSame(file: string, content: Uint8Array): boolean {
  try {
    return lstatSync(file).isFile() && Buffer.compare(readFileSync(file), content) === 0;
  } catch {
    return false; // it is not there yet
  }
}
