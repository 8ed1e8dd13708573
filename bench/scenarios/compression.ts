// What compression is worth: a source tree over a link that is slower than this machine codes, and what cannot become
// shorter.
import { join } from 'node:path';
import type { Server } from '../command';
import type { Row } from '../contest';
import { rsyncPeer, sessionPeer } from '../peers';
import { startRsyncd } from '../rsyncd';
import { copySourceTree, makeFile } from '../sources';
import { atBest, makeNetwork, type Link, type Network } from '../wan/network';
import { contest, from, mebi, ratio, type Outcome, type Scenario, type Settings } from './settings';

const link: Link = { roundTrip: 20, rate: 100, loss: 0 };
const sourceTree = 50 * mebi;
const random = 32 * mebi;
const packages = join(__dirname, '..', '..', 'node_modules');

const named = (compress: 'auto' | 'on' | 'off', what: string): string => `sendall --compress ${compress}, ${what}`;

/** A source tree in half of the time, and random bytes in at most 3 % more than without. */
export const compression: Scenario = {
  space: ({ reps }) => 5 * (reps + 1) * (sourceTree + random),
  async run(settings: Settings): Promise<Outcome | undefined> {
    const directory = join(settings.directory, 'compression');
    let network: Network;
    try {
      network = await makeNetwork(join(directory, 'link'), link, settings.congestion, settings.say);
    } catch (error) {
      settings.say(`  compression is left out: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
    const rows: Row[] = [];
    let rsyncd: Server | undefined;
    let seen: string;
    try {
      const place = await from(settings, 'compression');
      const { near, far } = network;
      const daemon = await startRsyncd(directory, settings.say, far);
      rsyncd = daemon;
      for (const [what, size, source] of [
        ['source tree', sourceTree, await copySourceTree(packages, join(place, 'tree'), sourceTree)],
        ['random bytes', random, await makeFile(join(place, 'random'), random)],
      ] as const) {
        const ours = (['off', 'on', 'auto'] as const).map((compress) =>
          sessionPeer({ name: named(compress, what), compress, near, far }),
        );
        const theirs = daemon ? [rsyncPeer(daemon, near), rsyncPeer(daemon, near, ['-z'])] : [];
        const peers = [...ours, ...theirs.map((peer) => ({ ...peer, name: `${peer.name}, ${what}` }))];
        const scenario = join('compression', what.replace(' ', '-'));
        rows.push(...(await contest(settings, scenario, { peers, source, size, reps: settings.reps })));
      }
    } finally {
      await rsyncd?.stop();
      seen = await network.stop();
    }
    const goals = [
      ratio(rows, named('auto', 'source tree'), named('off', 'source tree'), 0.5),
      ratio(rows, named('auto', 'random bytes'), named('off', 'random bytes'), 1.03),
    ];
    const best = (size: number): string => `${(size / mebi).toFixed(0)} MiB take ${atBest(link, size).toFixed(2)} s`;
    const note = `${String(link.roundTrip)} ms round trip, ${String(link.rate)} Mbit/s; the link alone: ${best(sourceTree)}, ${best(random)}\n${seen}`;
    return { scenario: 'compression', rows, goals, note };
  },
};
