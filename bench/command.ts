import { spawn, spawnSync, type ChildProcess, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Where a program runs: the words in front of its command line that bring it there, and the address at which others
 * find it.
 */
export interface Place {
  readonly enter: readonly string[];
  readonly host: string;
}

export const here: Place = { enter: [], host: '127.0.0.1' };

/** Starts a program at its place. It ends with the benchmark, if not before. */
export function start(
  at: Place,
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): ChildProcessByStdio<null, Readable, Readable> {
  const [first = program, ...others] = [...at.enter, program, ...args];
  const child = spawn(first, others, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const end = (): void => void child.kill();
  process.once('exit', end);
  child.once('close', () => process.off('exit', end));
  return child;
}

export interface CommandOptions {
  readonly at?: Place;
  readonly env?: NodeJS.ProcessEnv;
  /** Called with the process's id as soon as there is one. */
  readonly onStart?: (pid: number) => void;
  /** Of what it printed, the lines that tell why it failed; all of them if none does. */
  readonly telling?: RegExp;
}

/**
 * Runs a program to its end. @returns its standard output. @throws Error with the end of what it said if the exit code
 * is not 0.
 */
export async function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const child = start(options.at ?? here, program, args, options.env);
  let output = '';
  let errors = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
  child.once('spawn', () => options.onStart?.(child.pid ?? 0));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (code !== 0) {
    const telling = output
      .split('\n')
      .filter((line) => options.telling?.test(line) === true)
      .join('\n');
    const said = errors.trim() || telling || output.trim();
    throw new Error(`${program} ${args.join(' ')}: ended with ${signal ?? code}\n${said.slice(-2000)}`);
  }
  return output;
}

/**
 * Where a program is, or undefined if it is not installed; sbin counts too, since sshd is there and wants its whole
 * path.
 */
export function find(program: string): string | undefined {
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin:/sbin`;
  const { status, stdout } = spawnSync('sh', ['-c', `command -v ${program}`], {
    encoding: 'utf8',
    env: { ...process.env, PATH: path },
  });
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

/**
 * Starts a program that listens on `port` of its place. @returns when it does. @throws Error if it ended, or kept
 * silent for 10 s.
 */
export async function serve(program: string, args: readonly string[], port: number, at: Place = here): Promise<Server> {
  const child = start(at, program, args);
  child.stdout.resume();
  let errors = '';
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-4096)));
  for (let attempt = 0; attempt < 200; attempt++) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}\n${errors}`);
    if (at === here ? await answers(port) : listens(child.pid ?? 0, port)) return { stop: () => stop(child) };
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

/** Whether somebody listens on `port` in the network namespace of a process, where this one cannot dial. */
function listens(pid: number, port: number): boolean {
  const listening = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')} [0-9A-F]+:0000 0A `);
  try {
    return ['tcp', 'tcp6'].some((table) => listening.test(readFileSync(`/proc/${pid}/net/${table}`, 'latin1')));
  } catch {
    return false; // it has ended, which the caller sees for itself
  }
}
