import { join } from 'node:path';
import { median, type Row } from '../contest';
import {
  daemon,
  rsyncPeer,
  runningSession,
  runningSessionPeer,
  session,
  sessionPeer,
  thenSync,
  type Peer,
} from '../peers';
import { parseSent } from '../sendall';
import { changeTree, makeFile, makeTree, overwriteMiddle } from '../sources';
import { age, contest, from, mebi, ratio, type Outcome, type Scenario, type Settings } from './settings';

/** Many small files once more, a hundredth of them changed since the last time; and with nothing changed at all. */
export const sessionAgain: Scenario = {
  manyFiles: true,
  space: ({ files }) => 6 * files * 4096,
  async run(settings: Settings): Promise<Outcome> {
    const { files, reps, servers } = settings;
    const source = await makeTree(join(await from(settings, 'session-again'), 'tree'), files, 4096);
    const rsync = servers.rsyncd === undefined ? [] : [rsyncPeer(servers.rsyncd)];
    const running = runningSessionPeer();
    const peers = [sessionPeer({ replace: true }), running, ...rsync, ...rsync.map(thenSync)];
    const size = 2 * files * 4096;
    const change = async (round: number): Promise<void> => {
      await changeTree(source, files, 4096, round);
      await age();
    };
    let [rows, unchanged]: Row[][] = [[], []];
    try {
      rows = await contest(settings, 'session-again', { peers, source, size, reps, change });
      settings.say('  nothing changed:');
      const nothing = (): Promise<void> => Promise.resolve();
      unchanged = await contest(settings, 'session-again', { peers, source, size, reps, change: nothing });
    } finally {
      await running.stop();
    }
    const goals = [ratio(rows, session, daemon, 1), ratio(rows, runningSession, daemon, 1)];
    const all = [...rows, ...unchanged.map((row): Row => ({ ...row, name: `${row.name}, nothing changed` }))];
    return { scenario: 'session-again', rows: all, goals };
  },
};

/** A big file in which 1 MiB was overwritten, at no round offset: what crosses the wire, and how long it takes. */
export const sessionInplace: Scenario = {
  space: ({ size }) => 6 * size,
  async run(settings: Settings): Promise<Outcome> {
    const { size, reps, servers } = settings;
    const source = await makeFile(join(await from(settings, 'session-inplace'), 'big'), size);
    const ours = counted(sessionPeer({ replace: true }), (said) => parseSent(said).bytesOnWire);
    const theirs =
      servers.rsyncd === undefined
        ? []
        : [rsyncPeer(servers.rsyncd), rsyncPeer(servers.rsyncd, undefined, ['--inplace'])];
    const rsync = theirs.map((peer) => counted(peer, rsyncSent));
    const peers = [ours, ...rsync];
    const change = (): Promise<void> => overwriteMiddle(source, mebi).then(age);
    const rows = await contest(settings, 'session-inplace', { peers, source, size, reps, change });
    const wire = peers.map(({ name, sent }): Row => ({
      name: `${name}, on the wire`,
      unit: 'KiB',
      values: sent.slice(1).map((bytes) => bytes / 1024),
    }));
    const limit = 3 * 1024 + 64; // three segments of 1 MiB, and what is said about them
    const goals = [
      { name: `${session}, on the wire`, unit: 'KiB', value: median(wire[0]?.values ?? []), limit } as const,
    ];
    return { scenario: 'session-inplace', rows: [...rows, ...wire], goals };
  },
};

/** A peer that also keeps account of how many bytes each of its runs sent, the first one included. */
export function counted(peer: Peer, count: (said: string) => number): Peer & { readonly sent: readonly number[] } {
  const sent: number[] = [];
  return {
    ...peer,
    sent,
    async send(source, place) {
      const said = await peer.send(source, place);
      sent.push(count(said));
      return said;
    },
  };
}

export function rsyncSent(said: string): number {
  return Number(/^Total bytes sent: ([\d,]+)$/m.exec(said)?.[1]?.replaceAll(',', '') ?? NaN);
}
