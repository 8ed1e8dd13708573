import { join } from 'node:path';
import { daemon, daemonSynced, otherPeers, scp, session as ours, sessionPeers } from '../peers';
import { makeFile, makeTree } from '../sources';
import { contest, from, ratio, readBackFrom, type Outcome, type Scenario, type Settings } from './settings';

/** One big file, encrypted, to a receiver that is already running. */
export const session: Scenario = {
  space: ({ size, reps }) => 7 * (reps + 1) * size,
  async run(settings: Settings): Promise<Outcome> {
    const source = await makeFile(join(await from(settings, 'session'), 'big'), settings.size);
    const peers = [...sessionPeers(settings.servers), ...otherPeers(settings.servers)];
    const rows = await contest(settings, 'session', { peers, source, size: settings.size, reps: settings.reps });
    const goals = [ratio(rows, ours, daemon, 0.8), ratio(rows, ours, scp, 0.4)];
    return {
      scenario: 'session',
      rows,
      goals,
      note: await readBackFrom(settings, 'session', source, ({ ticket }) => ticket),
    };
  },
};

/** Many small files. */
export const sessionTree: Scenario = {
  manyFiles: true,
  space: ({ files, reps }) => 5 * (reps + 1) * files * 4096,
  async run(settings: Settings): Promise<Outcome> {
    const source = await makeTree(join(await from(settings, 'session-tree'), 'tree'), settings.files, 4096);
    const peers = sessionPeers(settings.servers);
    const rows = await contest(settings, 'session-tree', {
      peers,
      source,
      size: 2 * settings.files * 4096,
      reps: settings.reps,
    });
    const goals = [ratio(rows, ours, daemonSynced, 1.5), ratio(rows, ours, scp, 0.15)];
    return { scenario: 'session-tree', rows, goals, note: `The aim is 1.0 of ${daemonSynced}; 1.5 is the limit.` };
  },
};
