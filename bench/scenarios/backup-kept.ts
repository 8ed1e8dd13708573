import { createHash, randomFillSync } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { backupHere, backupPeers, backupSession, restoring, sendallHere, type BackupPeer } from '../backup-peers';
import { run } from '../command';
import { median, type Row } from '../contest';
import { nothing, type Peer } from '../peers';
import { sendall } from '../sendall';
import { makeSource, sizeOf } from './backup';
import { age, contest, ratio, type Outcome, type Scenario, type Settings } from './settings';

/** Makes one snapshot, or one in each repository, before anything is measured. @returns where. */
async function keep(settings: Settings, name: string, source: string, peer: BackupPeer): Promise<string> {
  const directory = join(settings.directory, name, 'kept', peer.name.replaceAll(/\W+/g, '-'));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const opened = await peer.open?.(directory);
  await peer.send(source, opened?.place ?? directory);
  await opened?.close();
  return directory;
}

const wholeVerify = 'sendall verify';
const bigVerify = 'sendall verify, the big file alone';
const device = 'dd iflag=direct, the big file';
const digest = 'sha256 in memory, as much';
const atLeast = 1 / 0.8;
const piece = 2 ** 20;

/**
 * Reading back what was backed up: at least 80 % of what the device reads in order, or of what one thread hashes,
 * whichever is less.
 */
export const backupVerify: Scenario = {
  manyFiles: true,
  space: (amounts) => 2 * sizeOf(amounts) + 2 * amounts.size,
  async run(settings: Settings): Promise<Outcome> {
    const name = 'backup-verify';
    const { size, reps } = settings;
    const source = await makeSource(settings, name);
    const whole = await keep(settings, name, source, sendallHere);
    const big = await keep(settings, name, join(source, 'big'), { ...sendallHere, name: 'big' });
    const verify = (called: string, directory: string): Peer => ({
      name: called,
      send: () => sendall(['verify', directory]),
      check: nothing,
    });
    const file = join(big, 'bench', 'latest', 'big');
    const peers = [
      verify(wholeVerify, whole),
      verify(bigVerify, big),
      { name: device, send: () => run('dd', [`if=${file}`, 'of=/dev/null', 'bs=4M', 'iflag=direct']), check: nothing },
      { name: digest, send: () => Promise.resolve(hashAsMuch(size)), check: nothing },
    ];
    const rows = await contest(settings, name, { peers, source, size: 0, reps });
    const said = await sendall(['verify', whole]);
    const slower = [device, digest].sort((one, other) => seconds(rows, other) - seconds(rows, one))[0] ?? device;
    // The small files at the rate of the big one: as if all bytes stood in order on the device.
    const asOne: Row = {
      name: `${slower}, and the small files at that rate`,
      unit: 's',
      values: valuesOf(rows, slower).map((each) => (each * sizeOf(settings)) / size),
    };
    const all = [...rows, asOne];
    const rates = rows.map((row): Row => ({
      ...row,
      unit: 'MB/s',
      values: row.values.map((each) => (row.name === wholeVerify ? sizeOf(settings) : size) / each / 1e6),
    }));
    const goals = [ratio(all, wholeVerify, asOne.name, atLeast), ratio(all, bigVerify, slower, atLeast)];
    return {
      scenario: name,
      rows: [...all, ...rates],
      goals,
      note: `sendall read back from: ${/"verified":"(\w+)"/.exec(said)?.[1] ?? 'unknown'}`,
    };
  },
};

const valuesOf = (rows: readonly Row[], name: string): readonly number[] =>
  rows.find((row) => row.name === name)?.values ?? [];
const seconds = (rows: readonly Row[], name: string): number => median(valuesOf(rows, name));

function hashAsMuch(size: number): string {
  const bytes = randomFillSync(Buffer.allocUnsafe(piece));
  const hash = createHash('sha256');
  for (let left = size; left > 0; left -= piece) hash.update(bytes.subarray(0, Math.min(left, piece)));
  return hash.digest('hex');
}

/** Bringing everything back to an empty directory, compared with backing it up. */
export const backupRestore: Scenario = {
  manyFiles: true,
  space: (amounts) => (5 + 6 * (amounts.reps + 1)) * sizeOf(amounts),
  async run(settings: Settings): Promise<Outcome> {
    const name = 'backup-restore';
    const source = await makeSource(settings, name);
    await age();
    const keepers = backupPeers(settings.say).filter((peer) => peer.name !== backupSession);
    const restorers: Peer[] = [];
    for (const peer of keepers) restorers.push(restoring(peer, await keep(settings, name, source, peer)));
    const rows = await contest(settings, name, {
      peers: [sendallHere, ...restorers],
      source,
      size: sizeOf(settings),
      reps: settings.reps,
    });
    return { scenario: name, rows, goals: [ratio(rows, `${backupHere}: restore`, backupHere, 1)] };
  },
};
