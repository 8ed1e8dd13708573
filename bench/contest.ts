import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { run } from './command';
import { idle } from './idle';
import type { Peer } from './peers';

/** What one peer, or one process, came to: a value for each run. */
export interface Row {
  readonly name: string;
  readonly unit: 's' | 'MiB' | 'KiB' | 'MB/s';
  readonly values: readonly number[];
  /** Why it dropped out. */
  readonly failure?: string;
}

export interface Contest {
  readonly peers: readonly Peer[];
  readonly source: string;
  /** Where each run gets a directory of its own. Nothing in it is deleted meanwhile, see below. */
  readonly directory: string;
  readonly reps: number;
  /** About how much each run brings, in bytes. */
  readonly size: number;
  readonly say: (text: string) => void;
  /**
   * Changes the source before each round but the first. With it every peer has one directory for all rounds, and all
   * contests in `directory`: the first round brings the source, the others what has changed since.
   */
  readonly change?: (round: number) => Promise<void>;
}

/** Whoever takes so many seconds takes part in that many rounds only, the rehearsal not counted. */
const slow = [
  { from: 60, rounds: 1 },
  { from: 20, rounds: 3 },
];

/**
 * Lets the peers take turns, each round in another order, so that the noise of the machine falls on all alike. The
 * first round is a rehearsal and does not count: it warms what is to be warm, the digest cache too. A peer that fails,
 * or brings other bytes, drops out.
 *
 * Unless updates are measured, every run writes into a fresh directory, and none is removed before all is over: ext4
 * keeps away from recently deleted inodes, and for a minute after deleting many, creating a file takes it a hundred
 * times as long.
 */
export async function compete(contest: Contest): Promise<Row[]> {
  const { peers, directory, reps, say, change } = contest;
  const values = new Map<Peer, number[]>(peers.map((peer) => [peer, []]));
  const failures = new Map<Peer, string>();
  const rounds = new Map<Peer, number>();
  for (let round = 0; round <= reps; round++) {
    if (round > 0) await change?.(round);
    for (let turn = 0; turn < peers.length; turn++) {
      const index = (turn + round) % peers.length;
      const peer = peers[index];
      if (peer === undefined || failures.has(peer) || round > (rounds.get(peer) ?? reps)) continue;
      try {
        const seconds = await once(
          peer,
          contest,
          join(directory, change === undefined ? `${round}-${turn}` : `peer-${index}`),
        );
        if (round > 0) values.get(peer)?.push(seconds);
        else rounds.set(peer, slow.find(({ from }) => seconds >= from)?.rounds ?? reps);
        say(`  ${round === 0 ? 'rehearsal' : `run ${round}`}: ${peer.name}: ${seconds.toFixed(3)} s`);
      } catch (error) {
        failures.set(peer, String(error));
        say(`  ${peer.name} drops out: ${String(error)}`);
      }
    }
  }
  return peers.map((peer) => {
    const failure = failures.get(peer);
    return {
      name: peer.name,
      unit: 's',
      values: values.get(peer) ?? [],
      ...(failure === undefined ? {} : { failure }),
    };
  });
}

/** One run, and the comparison of every byte after the clock has stopped. @returns seconds. */
async function once(peer: Peer, { source, size, say }: Contest, directory: string): Promise<number> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await touchMemory(size + 64 * 2 ** 20);
  await run('sync', []); // what others have left to be written does not slow this one down
  const opened = await peer.open?.(directory);
  let seconds: number;
  try {
    if (!(await idle())) say('  (the machine does not get idle: the next figure is of little worth)');
    const start = process.hrtime.bigint();
    await peer.send(source, opened?.place ?? directory);
    seconds = Number(process.hrtime.bigint() - start) / 1e9;
  } finally {
    await opened?.close();
  }
  await (peer.check?.(source, directory) ?? sameBytes(source, join(directory, basename(source))));
  return seconds;
}

/**
 * Takes memory and gives it back. In a virtual machine memory is slow when it is touched for the very first time; that
 * would fall on those who write through the page cache, each time anew since nothing is deleted, and not on those who
 * write past it.
 */
async function touchMemory(size: number): Promise<void> {
  if (!existsSync('/dev/shm')) return;
  const file = `/dev/shm/sendall-bench-${process.pid}`;
  try {
    await run('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', `count=${Math.ceil(size / 2 ** 20)}`]);
  } finally {
    await rm(file, { force: true });
  }
}

/** @throws Error unless both, files or directories, are the same byte for byte. */
export async function sameBytes(source: string, copy: string): Promise<void> {
  await run('diff', ['-rq', source, copy]);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}
