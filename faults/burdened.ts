import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { watchPeak } from '../bench/memory';
import type { CrowdFile } from '../bench/crowd';
import { SendallProcess } from '../spec/cli/sendall-process';
import type { Fate } from './crowd';
import type { Surroundings } from './experiment';

/**
 * What it may have open more than before without that being called a leak: threads that were started since have some
 * each.
 */
const descriptorsForThreads = 16;
/** How long a receiver may take to close what it has open, in ms. */
const settlesWithin = 5_000;

/** A receiver whose memory and descriptors are watched. */
export class Burdened {
  mostDescriptors = 0;
  private before = 0;
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly receiver: SendallProcess,
    readonly place: string,
    readonly port: number,
    readonly ticket: string,
    /** The most that was resident so far, in MiB. */
    readonly resident: () => number,
  ) {
    this.before = this.descriptors;
    this.timer = setInterval(() => (this.mostDescriptors = Math.max(this.mostDescriptors, this.descriptors)), 50);
  }

  static async start({ build, directory }: Surroundings, words: readonly string[] = []): Promise<Burdened> {
    const place = join(directory, 'in');
    mkdirSync(place, { mode: 0o700 });
    const receiver = new SendallProcess(['receive', place, '--listen', '127.0.0.1:0', '--json', ...words], {
      cwd: directory,
      build,
    });
    const { port, ticket } = JSON.parse((await receiver.says(/\{"event":"listening".*\}/))[0]) as {
      readonly port: number;
      readonly ticket: string;
    };
    return new Burdened(receiver, place, port, ticket, watchPeak(receiver.child.pid as number));
  }

  /** From here on nothing may be left open. */
  mark(): void {
    this.before = this.descriptors;
    this.mostDescriptors = this.before;
  }

  get descriptors(): number {
    return readdirSync(`/proc/${String(this.receiver.child.pid)}/fd`).length;
  }

  /** What is resident at this moment, in MiB. */
  get residentNow(): number {
    return (
      Number(
        /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${String(this.receiver.child.pid)}/status`, 'utf8'))?.[1],
      ) / 1024
    );
  }

  /** What is wrong with the memory and the descriptors it has. */
  async complaints(mostResident: number): Promise<string[]> {
    const enough = this.before + descriptorsForThreads;
    for (const until = performance.now() + settlesWithin; this.descriptors > enough && performance.now() < until;)
      await pause(100);
    const left = this.descriptors;
    return [
      ...(left > enough
        ? [`It had ${String(this.before)} descriptors open before, and has ${String(left)} after.`]
        : []),
      ...(this.resident() > mostResident
        ? [`${this.resident().toFixed(0)} MiB were resident, more than ${String(mostResident)}.`]
        : []),
    ];
  }

  async end(): Promise<void> {
    clearInterval(this.timer);
    this.receiver.child.kill('SIGKILL');
    await this.receiver.ended;
  }

  get figures(): Readonly<Record<string, number>> {
    return {
      resident_mib: Math.round(this.resident()),
      descriptors_before: this.before,
      descriptors_most: this.mostDescriptors,
      descriptors_after: this.descriptors,
    };
  }
}

/** Whoever of the crowd got no receipt, and every file that is not what was sent. */
export function lost(fates: readonly Fate[], files: readonly CrowdFile[], place: string): string[] {
  const without = fates.flatMap(({ name, failure }) =>
    failure === undefined ? [] : [`${name} got no receipt: ${failure}`],
  );
  const other = files.filter(({ name, bytes }) => !readOrNothing(join(place, name)).equals(Buffer.concat(bytes)));
  return [...without, ...other.map(({ name }) => `${name} is not what was sent.`)];
}

/** The times to the receipt that half, and all but a hundredth, of the senders did not exceed, in ms. */
export function timesOf(fates: readonly Fate[]): Readonly<Record<string, number>> {
  const times = fates.flatMap(({ took }) => took ?? []).sort((one, other) => one - other);
  const at = (share: number): number =>
    Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0);
  return { receipt_p50_ms: at(0.5), receipt_p99_ms: at(0.99) };
}

function readOrNothing(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
