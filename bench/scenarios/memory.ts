import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { median, sameBytes, type Row } from '../contest';
import { watchPeak } from '../memory';
import { send, startReceiver, type RunningReceiver } from '../sendall';
import { makeFile, makeSparseFile, makeTree } from '../sources';
import { from, mebi, type Goal, type Outcome, type Scenario, type Settings } from './settings';

const limit = 160;

/**
 * The peak resident memory of both sides on the plain wire, for a file, and for a sparse one of eight times its size.
 */
export const memory: Scenario = {
  space: ({ size }) => 10 * size,
  async run(settings: Settings): Promise<Outcome> {
    const directory = await from(settings, 'memory');
    const big = await makeFile(join(directory, 'big'), settings.size);
    const bigger = await makeSparseFile(join(directory, 'bigger'), 8 * settings.size);
    const plain = ({ target }: RunningReceiver): string => target;
    const rows = [
      ...(await peaks(settings, 'memory', { what: `${settings.size / mebi} MiB`, source: big, target: plain })),
      ...(await peaks(settings, 'memory', {
        what: `${(8 * settings.size) / mebi} MiB`,
        source: bigger,
        target: plain,
      })),
    ];
    return { scenario: 'memory', rows, goals: goals(rows) };
  },
};

/**
 * The same in a session, for a file and for five times the files of the tree, 1 KiB each, over one connection and over
 * sixteen.
 */
export const sessionMemory: Scenario = {
  manyFiles: true,
  space: ({ size, files }) => 3 * size + 3 * 5 * files * 4096,
  async run(settings: Settings): Promise<Outcome> {
    const directory = await from(settings, 'session-memory');
    const files = 5 * settings.files;
    const sources = [
      { what: `${settings.size / mebi} MiB`, source: await makeFile(join(directory, 'big'), settings.size) },
      { what: `${files} files`, source: await makeTree(join(directory, 'tree'), files, 1024) },
    ];
    const rows: Row[] = [];
    for (const connections of [1, 16]) {
      for (const { what, source } of sources) {
        const over = `${what}, ${connections} connection${connections === 1 ? '' : 's'}`;
        rows.push(
          ...(await peaks(settings, 'session-memory', {
            what: over,
            source,
            target: ({ ticket }) => ticket,
            connections,
          })),
        );
      }
    }
    return { scenario: 'session-memory', rows, goals: goals(rows) };
  },
};

interface Watched {
  readonly what: string;
  readonly source: string;
  readonly target: (receiver: RunningReceiver) => string;
  readonly connections?: number;
}

/**
 * The peaks of both sides of one transfer, whose bytes are compared. A transfer that fails has no peaks, but a reason.
 */
async function peaks(
  settings: Settings,
  scenario: string,
  { what, source, target, connections }: Watched,
): Promise<Row[]> {
  const place = join(settings.directory, scenario, `to-${what.replaceAll(/\W+/g, '-')}`);
  await mkdir(place, { mode: 0o700 });
  const receiver = await startReceiver(place);
  const watched = [{ name: `receiver of ${what}`, peak: watchPeak(receiver.pid) }];
  const onStart = (pid: number): void => void watched.push({ name: `sender of ${what}`, peak: watchPeak(pid) });
  try {
    try {
      await send(source, target(receiver), { onStart, connections });
    } finally {
      for (const { peak } of watched) peak();
      await receiver.stop();
    }
    await sameBytes(source, join(place, basename(source)));
  } catch (error) {
    settings.say(`  ${what}: ${String(error)}`);
    return watched.map(({ name }): Row => ({ name, unit: 'MiB', values: [], failure: String(error) }));
  }
  settings.say(`  ${watched.map(({ name, peak }) => `${name}: ${peak().toFixed(0)} MiB`).join(', ')}`);
  return watched.map(({ name, peak }): Row => ({ name, unit: 'MiB', values: [peak()] }));
}

function goals(rows: readonly Row[]): Goal[] {
  return rows.map(({ name, values }) => ({ name, unit: 'MiB', value: median(values), limit }));
}
