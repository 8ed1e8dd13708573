import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compete, median, sameBytes, type Contest, type Row } from './contest';
import { crowdFiles, sendCrowd } from './crowd';
import { watchPeak } from './memory';
import { cached, careful, cold, filePeers, scp, smallPeers, type Servers } from './peers';
import { send, startReceiver } from './sendall';
import { makeFile, makeSparseFile, makeTree } from './sources';

const mebi = 2 ** 20;

export interface Settings {
  /** Of the big file, in bytes. */
  readonly size: number;
  /** Of the tree. */
  readonly files: number;
  readonly reps: number;
  /** Empty, ours, on the disk to be measured. */
  readonly directory: string;
  readonly servers: Servers;
  readonly say: (text: string) => void;
}

/** What is to be reached: `value` at most `limit`. NaN where it could not be measured. */
export interface Goal {
  readonly name: string;
  readonly unit: 'ratio' | 'MiB' | 'lost';
  readonly value: number;
  readonly limit: number;
}

export interface Outcome {
  readonly scenario: string;
  readonly rows: readonly Row[];
  readonly goals: readonly Goal[];
  readonly note?: string;
}

export const scenarios = { file, tiny, tree, memory, crowd };
export type Scenario = keyof typeof scenarios;

/** The median of one row divided by that of another. */
function ratio(rows: readonly Row[], ours: string, theirs: string, limit: number): Goal {
  const of = (name: string): number => median(rows.find((row) => row.name === name)?.values ?? []);
  return { name: `${ours} / ${theirs}`, unit: 'ratio', value: of(ours) / of(theirs), limit };
}

/** The digest cache believes only in files that were left alone for a while, as most are. */
const age = (): Promise<void> => sleep(2500);

async function contest(settings: Settings, name: string, contestants: Pick<Contest, 'peers' | 'source' | 'size' | 'reps'>): Promise<Row[]> {
  await age();
  return compete({ ...contestants, directory: join(settings.directory, name, 'to'), say: settings.say });
}

async function from(settings: Settings, name: string): Promise<string> {
  const directory = join(settings.directory, name, 'from');
  await mkdir(directory, { recursive: true });
  return directory;
}

const cacheOf = (settings: Settings): string => join(settings.directory, 'cache');

/** One big file. */
async function file(settings: Settings): Promise<Outcome> {
  const source = await makeFile(join(await from(settings, 'file'), 'big'), settings.size);
  const peers = filePeers(settings.servers, cacheOf(settings));
  const rows = await contest(settings, 'file', { peers, source, size: settings.size, reps: settings.reps });
  const goals = [ratio(rows, cold, careful, 0.75), ratio(rows, cached, scp, 0.55)];
  return { scenario: 'file', rows, goals, note: `sendall read back from: ${await readBackFrom(settings, source)}` };
}

/** How far sendall's reading back goes on this disk: the figures mean something else if it is only to the page cache. */
async function readBackFrom(settings: Settings, source: string): Promise<string> {
  const place = join(settings.directory, 'file', 'to', 'once-more');
  await mkdir(place, { mode: 0o700 });
  const receiver = await startReceiver(place);
  try {
    const said = await send(source, receiver.target, { cache: cacheOf(settings) });
    return /"verified":"(\w+)"/.exec(said)?.[1] ?? 'unknown';
  } catch (error) {
    return `failed: ${String(error)}`;
  } finally {
    await receiver.stop();
  }
}

/** A file of one byte, to a receiver that is already running: what starting and stopping costs. Cheap, so it is done more often. */
async function tiny(settings: Settings): Promise<Outcome> {
  const source = await makeFile(join(await from(settings, 'tiny'), 'one'), 1);
  const peers = smallPeers(settings.servers, cacheOf(settings));
  const rows = await contest(settings, 'tiny', { peers, source, size: 1, reps: settings.reps * 3 });
  return { scenario: 'tiny', rows, goals: [ratio(rows, cold, scp, 1)] };
}

/** Many small files. */
async function tree(settings: Settings): Promise<Outcome> {
  const source = await makeTree(join(await from(settings, 'tree'), 'tree'), settings.files, 4096);
  const peers = smallPeers(settings.servers, cacheOf(settings));
  const rows = await contest(settings, 'tree', { peers, source, size: 2 * settings.files * 4096, reps: settings.reps });
  return { scenario: 'tree', rows, goals: [ratio(rows, cold, scp, 0.5)] };
}

/** The peak resident memory of both sides for a file, and for a sparse one of eight times its size. */
async function memory(settings: Settings): Promise<Outcome> {
  const directory = await from(settings, 'memory');
  const sources = [
    await makeFile(join(directory, 'big'), settings.size),
    await makeSparseFile(join(directory, 'bigger'), 8 * settings.size),
  ];
  const rows: Row[] = [];
  for (const [index, source] of sources.entries()) {
    const size = `${((index === 0 ? 1 : 8) * settings.size) / mebi} MiB`;
    const place = join(settings.directory, 'memory', `to-${index}`);
    await mkdir(place, { mode: 0o700 });
    const receiver = await startReceiver(place);
    const peaks = [{ name: `receiver of ${size}`, peak: watchPeak(receiver.pid) }];
    const onStart = (pid: number): void => void peaks.push({ name: `sender of ${size}`, peak: watchPeak(pid) });
    try {
      await send(source, receiver.target, { cache: undefined, onStart });
      rows.push(...peaks.map(({ name, peak }): Row => ({ name, unit: 'MiB', values: [peak()] })));
    } finally {
      await receiver.stop();
    }
    await sameBytes(source, join(place, index === 0 ? 'big' : 'bigger'));
    settings.say(`  ${size}: ${peaks.map(({ name, peak }) => `${name} ${peak().toFixed(0)} MiB`).join(', ')}`);
  }
  return { scenario: 'memory', rows, goals: rows.map(({ name, values }) => ({ name, unit: 'MiB', value: median(values), limit: 160 })) };
}

/** 200 senders of 1 MiB at once. */
async function crowd(settings: Settings): Promise<Outcome> {
  const [directory, place] = [await from(settings, 'crowd'), join(settings.directory, 'crowd', 'to')];
  const files = crowdFiles(200, randomBytes(mebi));
  for (const { name, bytes } of files) await writeFile(join(directory, name), Buffer.concat(bytes));
  await mkdir(place, { mode: 0o700 });
  const receiver = await startReceiver(place);
  const peak = watchPeak(receiver.pid);
  let receipts: number;
  const start = process.hrtime.bigint();
  let seconds: number;
  try {
    receipts = await sendCrowd(files, receiver.port);
    seconds = Number(process.hrtime.bigint() - start) / 1e9;
  } finally {
    await receiver.stop();
  }
  const rows: Row[] = [
    { name: `${files.length} senders of 1 MiB`, unit: 's', values: [seconds] },
    { name: 'receiver of all', unit: 'MiB', values: [peak()] },
  ];
  settings.say(`  ${receipts} of ${files.length} verified`);
  if (receipts === files.length) for (const { name } of files) await sameBytes(join(directory, name), join(place, name));
  const goals: Goal[] = [
    { name: 'receiver of all', unit: 'MiB', value: peak(), limit: 256 },
    { name: 'files without a receipt', unit: 'lost', value: files.length - receipts, limit: 0 },
  ];
  return { scenario: 'crowd', rows, goals };
}
