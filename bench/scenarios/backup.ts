import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import {
  backupHere,
  backupPeers,
  backupSession,
  durability,
  linkDest,
  sendallSession,
  type BackupPeer,
} from '../backup-peers';
import { run } from '../command';
import { median, type Contest, type Row } from '../contest';
import { rsyncPeer } from '../peers';
import { parseSent } from '../sendall';
import { changeHundredth, insertMiddle, makeFile, makeTree } from '../sources';
import {
  age,
  contest,
  from,
  mebi,
  ratio,
  type Amounts,
  type Goal,
  type Outcome,
  type Scenario,
  type Settings,
} from './settings';
import { counted, rsyncSent } from './update';

/** What a backup scenario backs up: a big file and many small ones. */
export async function makeSource(settings: Settings, name: string): Promise<string> {
  const source = join(await from(settings, name), 'source');
  await makeTree(join(source, 'tree'), settings.files, 4096);
  await makeFile(join(source, 'big'), settings.size);
  return source;
}

export const sizeOf = ({ size, files }: Amounts): number => size + files * 4096;

/** Real files, as they come: what this project is built with. */
async function makeRealSource(
  settings: Settings,
  name: string,
): Promise<{ readonly source: string; readonly size: number }> {
  const source = join(await from(settings, name), 'node_modules');
  await run('cp', ['-a', await realpath(join(__dirname, '..', '..', 'node_modules')), source]);
  const [kibibytes] = (await run('du', ['-sk', source])).split('\t');
  return { source, size: Number(kibibytes) * 1024 };
}

const realSize = 128 * mebi;
const many = (runs: number): Pick<Scenario, 'manyFiles' | 'space'> => ({
  manyFiles: true,
  space: (amounts) => (runs * (amounts.reps + 1) + 1) * (sizeOf(amounts) + realSize),
});

/** The first backup of all. */
export const backup: Scenario = {
  ...many(5),
  async run(settings: Settings): Promise<Outcome> {
    const { made, real } = await both(settings, 'backup');
    const goals = [toFastest(made, backupHere), toFastest(real, backupHere, ofReal)];
    return { scenario: 'backup', rows: [...made, ...real], goals, note: await durability() };
  },
};

/** The one after it, with a hundredth of the files changed. */
export const backupAgain: Scenario = {
  ...many(2),
  async run(settings: Settings): Promise<Outcome> {
    const change = (source: string) => (round: number) => changeHundredth(source, round).then(age);
    const { made, real } = await both(settings, 'backup-again', change);
    const goals = [ratio(made, backupHere, linkDest, 1), ratio(real, backupHere + ofReal, linkDest + ofReal, 1)];
    return { scenario: 'backup-again', rows: [...made, ...real], goals, note: await durability() };
  },
};

const ofReal = ', node_modules';

/** One contest on what was made for it, another one on real files. */
async function both(
  settings: Settings,
  name: string,
  change?: (source: string) => NonNullable<Contest['change']>,
): Promise<{ made: Row[]; real: Row[] }> {
  const { reps } = settings;
  const peers = backupPeers(settings.say);
  const measure = (called: string, source: string, size: number): Promise<Row[]> =>
    contest(settings, called, {
      peers,
      source,
      size,
      reps,
      ...(change === undefined ? {} : { change: change(source) }),
    });
  const made = await measure(name, await makeSource(settings, name), sizeOf(settings));
  settings.say('  node_modules:');
  const called = join(name, 'real');
  const { source, size } = await makeRealSource(settings, called);
  const real = await measure(called, source, size);
  return { made, real: real.map((row) => ({ ...row, name: row.name + ofReal })) };
}

/** Compared with whichever of the others was the fastest. */
function toFastest(rows: readonly Row[], ours: string, of = ''): Goal {
  const others = rows.filter(
    ({ name, values }) => ![backupHere, backupSession].some((own) => name === own + of) && values.length > 0,
  );
  const [fastest] = others.sort((one, other) => median(one.values) - median(other.values));
  return ratio(rows, ours + of, fastest?.name ?? 'no other', 1);
}

/** A big file into whose middle 1 MiB was inserted: what crosses the wire, and how long it takes. */
export const backupInsert: Scenario = {
  space: ({ size, reps }) => (7 + 3 * reps) * (size + reps * mebi),
  async run(settings: Settings): Promise<Outcome> {
    const { size, reps, servers } = settings;
    const source = await makeFile(join(await from(settings, 'backup-insert'), 'big'), size);
    const ours = counted(sendallSession, (said) => parseSent(said).bytesOnWire);
    const theirs = servers.rsyncd === undefined ? [] : [counted(rsyncPeer(servers.rsyncd), rsyncSent)];
    const others = backupPeers(settings.say).filter(({ name }: BackupPeer) => name !== backupSession);
    const change = (): Promise<void> => insertMiddle(source, mebi).then(age);
    const rows = await contest(settings, 'backup-insert', {
      peers: [ours, ...theirs, ...others],
      source,
      size,
      reps,
      change,
    });
    const wire = [ours, ...theirs].map(({ name, sent }): Row => ({
      name: `${name}, on the wire`,
      unit: 'KiB',
      values: sent.slice(1).map((bytes) => bytes / 1024),
    }));
    const goals = [
      {
        name: `${backupSession}, on the wire`,
        unit: 'KiB',
        value: median(wire[0]?.values ?? []),
        limit: 6 * 1024,
      } as const,
    ];
    return { scenario: 'backup-insert', rows: [...rows, ...wire], goals };
  },
};
