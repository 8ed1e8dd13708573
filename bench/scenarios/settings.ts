import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compete, median, type Contest, type Row } from '../contest';
import type { Servers } from '../peers';
import { parseSent, send, startReceiver, type RunningReceiver } from '../sendall';

export const mebi = 2 ** 20;

/** How much is to be measured. */
export interface Amounts {
  /** Of the big file, in bytes. */
  readonly size: number;
  /** Of the tree. */
  readonly files: number;
  readonly reps: number;
}

export interface Settings extends Amounts {
  /** Empty, ours, on the disk to be measured. */
  readonly directory: string;
  readonly servers: Servers;
  /** Which congestion control the wide-area links get; undefined for that of this machine. */
  readonly congestion: string | undefined;
  readonly say: (text: string) => void;
}

/** What is to be reached: `value` at most `limit`. NaN where it could not be measured. */
export interface Goal {
  readonly name: string;
  readonly unit: 'ratio' | 's' | 'MiB' | 'KiB' | 'lost';
  readonly value: number;
  readonly limit: number;
}

export interface Outcome {
  readonly scenario: string;
  readonly rows: readonly Row[];
  readonly goals: readonly Goal[];
  readonly note?: string;
}

export interface Scenario {
  /** @returns undefined where it cannot be measured here, which it has said. */
  run(settings: Settings): Promise<Outcome | undefined>;
  /** About how many bytes lie on the disk when it is over. */
  space(amounts: Amounts): number;
  /** So many inodes that removing them would slow down whoever comes next, see `compete`. */
  readonly manyFiles?: boolean;
}

/** The median of one row divided by that of another. */
export function ratio(rows: readonly Row[], ours: string, theirs: string, limit: number): Goal {
  const of = (name: string): number => median(rows.find((row) => row.name === name)?.values ?? []);
  return { name: `${ours} / ${theirs}`, unit: 'ratio', value: of(ours) / of(theirs), limit };
}

/** The digest cache believes only in files that were left alone for a while, as most are. */
export const age = (): Promise<void> => sleep(2500);

export async function contest(
  settings: Settings,
  name: string,
  contestants: Omit<Contest, 'directory' | 'say'>,
): Promise<Row[]> {
  await age();
  return compete({ ...contestants, directory: join(settings.directory, name, 'to'), say: settings.say });
}

/** A directory for what a scenario sends. */
export async function from(settings: Settings, name: string): Promise<string> {
  const directory = join(settings.directory, name, 'from');
  await mkdir(directory, { recursive: true });
  return directory;
}

/**
 * How far sendall's reading back goes on this disk: the figures mean something else if it is only to the page cache.
 */
export async function readBackFrom(
  settings: Settings,
  name: string,
  source: string,
  target: (receiver: RunningReceiver) => string,
): Promise<string> {
  const place = join(settings.directory, name, 'to', 'once-more');
  await mkdir(place, { mode: 0o700, recursive: true });
  const receiver = await startReceiver(place);
  try {
    return `sendall read back from: ${parseSent(await send(source, target(receiver))).verified}`;
  } catch (error) {
    return `sendall read back from: failed: ${String(error)}`;
  } finally {
    await receiver.stop();
  }
}
