import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run, stop, type Server } from './command';

const binary = join(__dirname, '..', 'dist', 'cli', 'main.js');

/** A receiver of the built package, as a user would start it. */
export interface RunningReceiver extends Server {
  readonly port: number;
  readonly target: string;
  readonly pid: number;
}

/** Starts a receiver into `directory` on a free port. @returns when it listens. @throws Error with what it said if it ended before. */
export async function startReceiver(directory: string): Promise<RunningReceiver> {
  const args = [binary, 'receive', directory, '--listen', '127.0.0.1:0', '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-4096)));
  const port = await new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text) as { readonly event: string; readonly port?: number };
      if (line.event === 'listening' && line.port !== undefined) resolve(line.port);
    });
    void once(child, 'exit').then(([code]) => reject(new Error(`The receiver ended with ${String(code)}: ${errors.trim()}`)));
  });
  return { port, target: `tcp://127.0.0.1:${port}`, pid: child.pid ?? 0, stop: () => stop(child, 'SIGINT') };
}

export interface SenderOptions {
  /** Where the digest cache is kept, so that the user's own stays as it is; undefined for none. */
  readonly cache: string | undefined;
  readonly onStart?: (pid: number) => void;
}

/** Sends a file or a directory. @returns its events, a line each. @throws Error with what it said unless everything was verified. */
export async function send(source: string, target: string, options: SenderOptions): Promise<string> {
  const { cache, onStart } = options;
  const args = [binary, 'send', source, target, '--json', ...(cache === undefined ? ['--no-cache'] : [])];
  const env = cache === undefined ? process.env : { ...process.env, XDG_CACHE_HOME: cache };
  return run(process.execPath, args, { env, ...(onStart === undefined ? {} : { onStart }) });
}
