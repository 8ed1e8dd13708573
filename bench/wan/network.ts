import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { find, here, run, start, type Place } from '../command';

/** A wide-area link, both ways alike. */
export interface Link {
  /** In ms. */
  readonly roundTrip: number;
  /** Of the wire, in Mbit/s, with what Ethernet adds to each packet. */
  readonly rate: number;
  /** Each way, in percent. */
  readonly loss: number;
}

/** Two places with nothing but a link between them. */
export interface Network {
  readonly near: Place;
  readonly far: Place;
  /** Runs bare TCP streams, see streams.c. */
  readonly streams: string;
  /** Nothing goes through in either direction until `resume`, and nobody is told: what was on its way arrives then. */
  pause(): void;
  resume(): void;
  /** Takes it down. @returns what the link has seen. */
  stop(): Promise<string>;
}

const ends = [
  { side: 'near', own: '198.18.0.1', other: '198.18.0.2' }, // addresses set aside for measuring networks
  { side: 'far', own: '198.18.0.2', other: '198.18.0.1' },
] as const;

/**
 * The least seconds that `size` bytes take over a link, TCP's headers in each packet of 1500 bytes included, and
 * nothing else.
 */
export function atBest({ rate }: Link, size: number): number {
  const [payload, packet] = [1500 - 52, 1500 + 38];
  return (size * 8 * packet) / payload / (rate * 1e6);
}

/** @throws Error with one sentence about what it takes and is not here. */
export function checkMachine(): void {
  if (process.getuid?.() !== 0) throw new Error('Only root can make a network namespace.');
  for (const program of ['ip', 'cc'])
    if (find(program) === undefined) throw new Error(`The program ${program} is not installed.`);
  if (!existsSync('/dev/net/tun')) throw new Error('There is no /dev/net/tun.');
}

/**
 * Makes two network namespaces and a link between them, programs in `directory`. @throws Error saying what is missing
 * here.
 */
export async function makeNetwork(
  directory: string,
  link: Link,
  congestion: string | undefined,
  say: (text: string) => void,
): Promise<Network> {
  checkMachine();
  await mkdir(directory, { recursive: true });
  const [emulator, streams] = [await compile(directory, 'link'), await compile(directory, 'streams')];
  const spaces = { near: `sendall-bench-${process.pid}-near`, far: `sendall-bench-${process.pid}-far` };
  const forget = (): void => {
    for (const { side } of ends) remove(spaces[side]);
  };
  process.once('exit', forget); // an interrupted benchmark leaves nothing behind
  try {
    for (const { side } of ends) await run('ip', ['netns', 'add', spaces[side]]);
    const child = start(here, emulator, [
      spaces.near,
      spaces.far,
      ...[link.roundTrip, link.rate, link.loss].map(String),
    ]);
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()));
    const ended = once(child, 'close');
    await Promise.race([once(child.stdout, 'data'), ended]);
    if (!said.startsWith('ready')) throw new Error(said.trim());
    for (const { side, own, other } of ends) await connect(spaces[side], own, other, congestion, say);
    const at = ({ side, own }: (typeof ends)[number]): Place => ({
      enter: ['ip', 'netns', 'exec', spaces[side]],
      host: own,
    });
    return {
      near: at(ends[0]),
      far: at(ends[1]),
      streams,
      pause: () => void child.kill('SIGSTOP'),
      resume: () => void child.kill('SIGCONT'),
      async stop() {
        child.kill('SIGCONT');
        child.kill();
        await ended;
        process.off('exit', forget);
        forget();
        return said.trim().split('\n').slice(1).join('\n');
      },
    };
  } catch (error) {
    process.off('exit', forget);
    forget();
    throw error;
  }
}

/** Gives one end its address. What is learned of the path on one run is not kept for the next. */
async function connect(
  space: string,
  own: string,
  other: string,
  congestion: string | undefined,
  say: (text: string) => void,
): Promise<void> {
  const ip = (...args: string[]): Promise<string> => run('ip', ['-n', space, ...args]);
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'set', 'wan0', 'mtu', '1500', 'txqueuelen', '10000', 'up');
  await ip('address', 'add', own, 'peer', other, 'dev', 'wan0');
  await run('ip', ['netns', 'exec', space, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save']);
  if (congestion === undefined) return;
  try {
    // By the route, since a namespace may not choose every algorithm as its default.
    await ip('route', 'replace', other, 'dev', 'wan0', 'src', own, 'congctl', congestion);
  } catch (error) {
    say(`  (not ${congestion}, but what this machine has: ${String(error)})`);
  }
}

/**
 * Ends all that still runs in a namespace, such as the children of a server, which would wait for a dead link; then the
 * namespace.
 */
function remove(space: string): void {
  const { stdout } = spawnSync('ip', ['netns', 'pids', space], { encoding: 'utf8' });
  for (const pid of stdout.split('\n').filter((line) => line !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // it has just ended
    }
  }
  spawnSync('ip', ['netns', 'del', space]);
}

async function compile(directory: string, name: string): Promise<string> {
  const program = join(directory, name);
  await run('cc', ['-O2', '-o', program, join(__dirname, `${name}.c`), '-lpthread']);
  return program;
}
