import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { median, type Row } from '../contest';
import { watchPeak } from '../memory';
import { sendToAll, startReceiver } from '../sendall';
import { makeFile } from '../sources';
import { from, mebi, ratio, type Outcome, type Scenario, type Settings } from './settings';

const many = 50;
const ofMany = 32 * mebi;
/** So that one disk under all receivers is not what is measured. */
const inMemory = '/dev/shm';
const ticksPerSecond = 100; // sysconf(_SC_CLK_TCK) of Linux
const interval = 20;

/** What one run took: seconds by the clock, processor seconds of the sender, and its peak in MiB. */
interface Taken {
  readonly wall: number;
  readonly processor: number;
  readonly peak: number;
}

/** One file to three receivers at once, against one after another; and to fifty, for the memory of the sender. */
export const several: Scenario = {
  space: ({ size }) => size + ofMany,
  async run(settings: Settings): Promise<Outcome> {
    const directory = await from(settings, 'several');
    const large = await makeFile(join(directory, 'big'), settings.size);
    const small = await makeFile(join(directory, 'small'), ofMany);
    const one: Taken[] = [];
    const three: Taken[] = [];
    for (let round = 0; round < settings.reps; round++) {
      settings.say(`  round ${String(round + 1)} of ${String(settings.reps)}`);
      one.push(await toReceivers(1, large));
      three.push(await toReceivers(3, large));
    }
    const { peak } = await toReceivers(many, small);
    const rows: Row[] = [
      { name: 'one after another, three', unit: 's', values: one.map(({ wall }) => 3 * wall) },
      { name: 'three at once', unit: 's', values: three.map(({ wall }) => wall) },
      { name: 'processor, one', unit: 's', values: one.map(({ processor }) => processor) },
      { name: 'processor, three', unit: 's', values: three.map(({ processor }) => processor) },
      { name: 'sender to fifty', unit: 'MiB', values: [peak] },
    ];
    return {
      scenario: 'several',
      rows,
      goals: [
        ratio(rows, 'three at once', 'one after another, three', 0.6),
        ratio(rows, 'processor, three', 'processor, one', 1.5),
        { name: 'sender to fifty', unit: 'MiB', value: median([peak]), limit: 160 },
      ],
    };
  },
};

async function toReceivers(count: number, source: string): Promise<Taken> {
  const place = await mkdtemp(join(inMemory, 'sendall-bench-'));
  const receivers = [];
  try {
    for (let at = 0; at < count; at++) {
      const to = join(place, String(at));
      await mkdir(to, { mode: 0o700 });
      receivers.push(await startReceiver(to));
    }
    let peak = (): number => NaN;
    let processor = (): number => NaN;
    const start = performance.now();
    await sendToAll(
      source,
      receivers.map(({ ticket }) => ticket),
      (pid) => {
        [peak, processor] = [watchPeak(pid), watchProcessor(pid)];
      },
    );
    return { wall: (performance.now() - start) / 1000, processor: processor(), peak: peak() };
  } finally {
    await Promise.all(receivers.map((receiver) => receiver.stop()));
    await rm(place, { recursive: true });
  }
}

/** Follows the processor seconds of a process that may end at any time: proc(5), utime and stime. */
function watchProcessor(pid: number): () => number {
  let spent = 0;
  const look = (): void => {
    try {
      const fields = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      spent = Math.max(spent, (Number(fields[11]) + Number(fields[12])) / ticksPerSecond);
    } catch {
      clearInterval(timer); // it has ended: what was seen last stands
    }
  };
  const timer = setInterval(look, interval);
  timer.unref();
  return () => spent;
}
