import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { crowdFiles } from '../../bench/crowd';
import { Burdened, lost } from '../burdened';
import { inSession, plainly, sendAtOnce } from '../crowd';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';

/**
 * How long senders come and go, in ms, and how long before that nothing is measured: threads start, and memory grows to
 * its usual size.
 */
const lasts: Readonly<Record<Dose, { readonly warm: number; readonly measured: number }>> = {
  short: { warm: 3_000, measured: 5_000 },
  long: { warm: 60_000, measured: 3_540_000 },
  proof: { warm: 500, measured: 1_000 },
};
const sizes = [4, 5_000, 200_000, 1024 * 1024 + 1];
const largeSizes = sizes.slice(2);
/** Rounds of senders, however slow the machine is. */
const fewestRounds = 10;
/** Senders at a time, half of them in sessions. */
const together = 8;
/**
 * How much more may be resident in the last quarter than in the first, each by its median, in MiB: garbage comes and
 * goes.
 */
const mostGrowth = 48;
/** In MiB. */
const mostResident = 256;

const median = (values: readonly number[]): number =>
  [...values].sort((one, other) => one - other)[values.length >> 1] ?? 0;

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  const { warm, measured } = lasts[dose];
  const receiver = await Burdened.start(surroundings);
  const broken: string[] = [];
  const resident: number[] = [];
  let tries = 0;
  try {
    const [plain, session] = [plainly(receiver.port), inSession(receiver.ticket)];
    const turn = async (): Promise<void> => {
      const files = crowdFiles(together, random.bytes(random.oneOf(dose === 'proof' ? largeSizes : sizes)));
      const fates = (
        await Promise.all([
          sendAtOnce(files.slice(0, together / 2), plain),
          sendAtOnce(files.slice(together / 2), session),
        ])
      ).flat();
      broken.push(...lost(fates, files, receiver.place));
      for (const { name } of files) rmSync(join(receiver.place, name), { force: true });
      tries += together;
    };
    for (const until = performance.now() + warm; performance.now() < until;) await turn();
    receiver.mark();
    let told = performance.now();
    for (
      const until = told + measured;
      (performance.now() < until || resident.length < fewestRounds) && broken.length === 0;
    ) {
      await turn();
      resident.push(receiver.residentNow);
      if (performance.now() - told < 60_000) continue;
      told = performance.now();
      say(
        `${String(tries)} transfers, ${String(Math.round(receiver.residentNow))} MiB, ${String(receiver.descriptors)} descriptors`,
      );
    }
    const quarter = Math.ceil(resident.length / 4);
    const [first, last] = [median(resident.slice(0, quarter)), median(resident.slice(-quarter))];
    if (last - first > mostGrowth)
      broken.push(
        `${first.toFixed(0)} MiB were resident in the first quarter, and ${last.toFixed(0)} in the last, after ${String(tries)} transfers.`,
      );
    broken.push(...(await receiver.complaints(mostResident)));
    return {
      tries,
      broken,
      figures: { first_quarter_mib: Math.round(first), last_quarter_mib: Math.round(last), ...receiver.figures },
    };
  } finally {
    await receiver.end();
  }
}

/** An hour of senders that come and go. */
export const soak: Experiment = {
  name: 'soak',
  alone: true,
  promise:
    'However long senders come and go, the receiver needs no more memory and has no more open than at the beginning.',
  run,
  sabotages: [
    {
      name: 'every session leaves a descriptor open',
      edits: [
        {
          file: 'lib/receive/session.js',
          from: 'this.taken.stop();',
          to: "this.taken.stop(); require('node:fs').openSync('/dev/null');",
        },
      ],
    },
    {
      name: 'memory of every session is kept',
      edits: [
        {
          file: 'lib/receive/session.js',
          from: 'this.taken.stop();',
          to: 'this.taken.stop(); (globalThis.kept ??= []).push(Buffer.alloc(8 << 20, 1));',
        },
      ],
    },
  ],
};
