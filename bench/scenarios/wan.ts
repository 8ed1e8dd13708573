import { join } from 'node:path';
import { freePort, run, serve, type Server } from '../command';
import type { Row } from '../contest';
import { nothing, rsyncPeer, scpPeer, session, sessionPeer, type Peer } from '../peers';
import { startRsyncd } from '../rsyncd';
import { makeFile } from '../sources';
import { startSshd } from '../sshd';
import { atBest, makeNetwork, type Link, type Network } from '../wan/network';
import {
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

const linkAlone = 'the link alone, computed';
const eight = 'eight bare TCP streams';

/**
 * A long fat link that loses nothing but what its queue cannot hold: at least 80 % of its rate, start and end included.
 */
export const wan50 = over('wan50', { roundTrip: 50, rate: 1000, loss: 0 }, (rows) => [
  ratio(rows, session, linkAlone, 1.25),
]);

/** A longer one that loses packets. */
export const wan100 = over('wan100', { roundTrip: 100, rate: 500, loss: 0.1 }, (rows) => [
  ratio(rows, session, eight, 1.15),
]);

const sizeOf = ({ size }: Amounts): number => Math.min(size, 512 * mebi);

function over(name: string, link: Link, goals: (rows: readonly Row[]) => Goal[]): Scenario {
  return {
    space: (amounts) => 5 * (amounts.reps + 1) * sizeOf(amounts),
    async run(settings: Settings): Promise<Outcome | undefined> {
      const directory = join(settings.directory, name);
      let network: Network;
      try {
        network = await makeNetwork(join(directory, 'link'), link, settings.congestion, settings.say);
      } catch (error) {
        settings.say(`  ${name} is left out: ${error instanceof Error ? error.message : String(error)}`);
        return undefined;
      }
      const size = sizeOf(settings);
      const servers: Server[] = [];
      let rows: Row[];
      let seen: string;
      try {
        const source = await makeFile(join(await from(settings, name), 'big'), size);
        const peers = await wanPeers(settings, directory, network, link, servers);
        rows = await contest(settings, name, { peers, source, size, reps: settings.reps });
      } finally {
        await Promise.all(servers.map((server) => server.stop()));
        seen = await network.stop();
      }
      const all: Row[] = [{ name: linkAlone, unit: 's', values: [atBest(link, size)] }, ...rows];
      const which = `${link.roundTrip} ms round trip, ${link.rate} Mbit/s, ${link.loss} % loss each way, ${settings.congestion ?? 'the default'} congestion control`;
      return { scenario: name, rows: all, goals: goals(all), note: `${which}, ${size / mebi} MiB\n${seen}` };
    },
  };
}

/** Those with one connection only are for links without loss: over others they would take a quarter of an hour. */
async function wanPeers(
  settings: Settings,
  directory: string,
  network: Network,
  link: Link,
  servers: Server[],
): Promise<Peer[]> {
  const { near, far, streams } = network;
  const port = await freePort();
  servers.push(await serve(streams, ['take', far.host, String(port)], port, far));
  const bare: Peer = {
    name: eight,
    check: nothing,
    send: (source) => run(streams, ['send', far.host, String(port), source, '8'], { at: near }),
  };
  const peers = [
    sessionPeer({ near, far }),
    sessionPeer({ name: `${session}, 8 connections`, connections: 8, near, far }),
    bare,
  ];
  if (link.loss > 0) return peers;
  const [rsyncd, sshd] = [
    await startRsyncd(directory, settings.say, far),
    await startSshd(directory, settings.say, far),
  ];
  for (const server of [rsyncd, sshd]) if (server !== undefined) servers.push(server);
  if (rsyncd !== undefined) peers.push(rsyncPeer(rsyncd, near));
  if (sshd !== undefined) peers.push(scpPeer(sshd, near));
  return peers;
}
