import { createHash } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import nodeModule, { createRequire } from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';
import { Script } from 'node:vm';
import { load } from '../lib/load';
import { loadedWithin, withFirstSettings } from './engine-settings';

/**
 * What the module `file` exports, made of the code that an earlier run of the command in `words` has compiled. From
 * 22.1 on, Node keeps that by itself; before, it is kept here. Without a directory of this user's nothing is kept.
 */
export function loadCompiled(file: string, words: readonly string[]): unknown {
  const directory = ownDirectory(process.env);
  const { enableCompileCache } = nodeModule as { enableCompileCache?: (directory: string) => unknown };
  // By itself Node takes a directory below that for temporary files, which on many systems is that of all users:
  // whoever made it first could have code of theirs run by everybody else.
  if (directory !== undefined) enableCompileCache?.(directory);
  if (directory === undefined || enableCompileCache) return require(file) as unknown;

  const command = words.find((word) => /^[a-z]{1,16}$/.test(word)) ?? 'none';
  const source = readFileSync(file, 'latin1'); // esbuild writes ASCII
  const kept = new KeptCode(directory, command, source);
  const cachedData = kept.read();
  const script = new Script(nodeModule.wrap(source), { filename: file, ...(cachedData ? { cachedData } : {}) });
  const module = { exports: {} };
  const define = script.runInThisContext() as (...names: unknown[]) => void;
  define(module.exports, createRequire(file), module, file, dirname(file));
  if (script.cachedDataRejected !== false) kept.writeLater(() => withFirstSettings(() => script.createCachedData()));
  return module.exports;
}

/** So long, in ms, after its start a command has compiled what it needs for that; V8 gives up later what ran only then. */
const compiledWithin = 0.9 * loadedWithin;
const digestLength = 32;

/**
 * What V8 has compiled of `source` in one command, in one file: the SHA-256 of the rest, and the rest. V8 believes what
 * it is given, and would run what a disk has damaged.
 */
class KeptCode {
  private readonly name: string;

  constructor(
    private readonly directory: string,
    private readonly command: string,
    source: string,
  ) {
    const { version, arch } = process;
    const id = createHash('sha256').update(`${version} ${arch} `).update(source, 'latin1').digest('hex');
    this.name = `${command}-${id.slice(0, 32)}`;
  }

  /** Undefined where there is none of this user's, and where it is damaged. */
  read(): Buffer | undefined {
    let fd: number | undefined;
    try {
      fd = openSync(join(this.directory, this.name), 'r');
      if (!load.userDirectory().isOnlyOurs(fstatSync(fd))) return undefined;
      const bytes = readFileSync(fd);
      const code = bytes.subarray(digestLength);
      return digestOf(code).equals(bytes.subarray(0, digestLength)) ? code : undefined;
    } catch {
      return undefined; // it is compiled
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** When this process has been at work for a while, or ends before that with exit code 0. */
  writeLater(compiled: () => Buffer): void {
    const write = (): void => {
      clearTimeout(timer);
      process.off('exit', atEnd);
      this.write(compiled());
    };
    const atEnd = (code: number): void => {
      if (code === 0) write();
    };
    const timer = setTimeout(write, compiledWithin).unref();
    process.on('exit', atEnd);
  }

  /** In place of those of the same command by other versions. */
  private write(code: Buffer): void {
    const file = join(this.directory, this.name);
    const fresh = `${file}.${String(process.pid)}`;
    try {
      writeFileSync(fresh, Buffer.concat([digestOf(code), code]), { mode: 0o600, flag: 'wx' });
      renameSync(fresh, file);
      for (const name of readdirSync(this.directory))
        if (name.startsWith(`${this.command}-`) && name !== this.name) rmSync(join(this.directory, name));
    } catch {
      removeIfThere(fresh); // it is compiled again
    }
  }
}

function removeIfThere(file: string): void {
  try {
    rmSync(file);
  } catch {
    // A disk that took no file, or has become read-only.
  }
}

function digestOf(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/**
 * What NODE_COMPILE_CACHE names, as for Node itself, else `compiled` in the user's cache; made if it is missing.
 * Undefined with NODE_DISABLE_COMPILE_CACHE, and where it cannot be made, or belongs to somebody else, or others may
 * write to it.
 */
export function ownDirectory(env: NodeJS.ProcessEnv): string | undefined {
  const { NODE_COMPILE_CACHE: named = '', NODE_DISABLE_COMPILE_CACHE: switchedOff = '' } = env;
  if (switchedOff !== '') return undefined;
  try {
    // Not by way of everything else that commands use: that is what should be kept.
    const { isOnlyOurs, userCache } = load.userDirectory();
    const directory = isAbsolute(named) ? named : join(userCache(env), 'compiled');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return isOnlyOurs(statSync(directory)) ? directory : undefined;
  } catch {
    return undefined; // it is compiled again
  }
}
