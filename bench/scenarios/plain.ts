import { join } from 'node:path';
import { cached, careful, cold, filePeers, scp, session, sessionPeer, smallPeers } from '../peers';
import { makeFile, makeTree } from '../sources';
import { contest, from, ratio, readBackFrom, type Outcome, type Scenario, type Settings } from './settings';

const cacheOf = (settings: Settings): string => join(settings.directory, 'cache');

/** One big file. */
export const file: Scenario = {
  space: ({ size, reps }) => 8 * (reps + 1) * size,
  async run(settings: Settings): Promise<Outcome> {
    const source = await makeFile(join(await from(settings, 'file'), 'big'), settings.size);
    const peers = filePeers(settings.servers, cacheOf(settings));
    const rows = await contest(settings, 'file', { peers, source, size: settings.size, reps: settings.reps });
    const goals = [ratio(rows, cold, careful, 0.75), ratio(rows, cached, scp, 0.55)];
    return {
      scenario: 'file',
      rows,
      goals,
      note: await readBackFrom(settings, 'file', source, ({ target }) => target),
    };
  },
};

/**
 * A file of one byte, to a receiver that is already running: what starting and stopping costs. Cheap, so it is done
 * more often.
 */
export const tiny: Scenario = {
  space: () => 0,
  async run(settings: Settings): Promise<Outcome> {
    const source = await makeFile(join(await from(settings, 'tiny'), 'one'), 1);
    const peers = [sessionPeer(), ...smallPeers(settings.servers, cacheOf(settings))];
    const rows = await contest(settings, 'tiny', { peers, source, size: 1, reps: settings.reps * 3 });
    return { scenario: 'tiny', rows, goals: [ratio(rows, cold, scp, 1), ratio(rows, session, scp, 0.9)] };
  },
};

/** Many small files. */
export const tree: Scenario = {
  manyFiles: true,
  space: ({ files, reps }) => 5 * (reps + 1) * files * 4096,
  async run(settings: Settings): Promise<Outcome> {
    const source = await makeTree(join(await from(settings, 'tree'), 'tree'), settings.files, 4096);
    const peers = smallPeers(settings.servers, cacheOf(settings));
    const rows = await contest(settings, 'tree', {
      peers,
      source,
      size: 2 * settings.files * 4096,
      reps: settings.reps,
    });
    return { scenario: 'tree', rows, goals: [ratio(rows, cold, scp, 0.5)] };
  },
};
