import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Called with the process's id as soon as there is one. */
  readonly onStart?: (pid: number) => void;
}

/** Runs a program to its end. @returns its standard output. @throws Error with its standard error if the exit code is not 0. */
export async function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const child = spawn(program, args, { cwd: options.cwd, env: options.env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
  child.once('spawn', () => options.onStart?.(child.pid ?? 0));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ended with ${signal ?? code}\n${errors.trim() || output.trim()}`);
  return output;
}

/** Where a program is, or undefined if it is not installed; sbin counts too, since sshd is there and wants its whole path. */
export function find(program: string): string | undefined {
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin:/sbin`;
  const { status, stdout } = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8', env: { ...process.env, PATH: path } });
  return status === 0 ? stdout.trim() : undefined;
}

/** A port of the loopback that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A program that goes on running until it is stopped. */
export interface Server {
  stop(): Promise<void>;
}

/** Starts a program that listens on `port` of the loopback. @returns when it does. @throws Error if it ended, or kept silent for 10 s. */
export async function serve(program: string, args: readonly string[], port: number): Promise<Server> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  process.once('exit', () => child.kill()); // an interrupted benchmark leaves no servers behind
  let errors = '';
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-4096)));
  for (let attempt = 0; attempt < 200; attempt++) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}\n${errors}`);
    if (await answers(port)) return { stop: () => stop(child) };
    await sleep(50);
  }
  await stop(child);
  throw new Error(`${program} does not listen on port ${port}\n${errors}`);
}

/** Ends a process: asks first, and insists after 5 s. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  const insist = setTimeout(() => child.kill('SIGKILL'), 5000);
  await gone;
  clearTimeout(insist);
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
