import { basename, join } from 'node:path';
import { find, run } from './command';
import type { Rsyncd } from './rsyncd';
import { send, startReceiver } from './sendall';
import type { Sshd } from './sshd';

/** One way to bring a file or a directory into a directory. What it sends lies there under its own name afterwards. */
export interface Peer {
  readonly name: string;
  /** What is timed. `place` is what `open` returned, else the directory itself. */
  send(source: string, place: string): Promise<unknown>;
  /** Made ready before the clock starts, for one run: returns where to send to and how to end it. */
  open?(directory: string): Promise<{ readonly place: string; close(): Promise<void> }>;
}

/** The servers that some peers need; those of a missing one are left out. */
export interface Servers {
  readonly rsyncd: Rsyncd | undefined;
  readonly sshd: Sshd | undefined;
}

export const cold = 'sendall';
export const cached = 'sendall, digest in the cache';
export const scp = 'scp';
export const careful = 'md5sum, rsync, md5sum';

const md5 = async (path: string): Promise<string | undefined> => (await run('md5sum', [path])).split(' ')[0];

const open: NonNullable<Peer['open']> = async (directory) => {
  const receiver = await startReceiver(directory);
  return { place: receiver.target, close: () => receiver.stop() };
};

const sendallPeers = (cache: string): Peer[] => [
  { name: cold, open, send: (source, target) => send(source, target, { cache: undefined }) },
  { name: cached, open, send: (source, target) => send(source, target, { cache }) },
];

const rsyncPeer = (rsyncd: Rsyncd): Peer => ({
  name: 'rsync (daemon)',
  send: (source, directory) => run('rsync', ['-a', source, `${rsyncd.address(directory)}/`]),
});

const scpPeer = ({ port, options, peer }: Sshd): Peer => ({
  name: scp,
  send: (source, directory) => run('scp', ['-q', '-r', '-P', String(port), ...options, source, `${peer}:${directory}/`]),
});

const carefulPeer = (rsync: Peer): Peer => ({
  name: careful,
  async send(source, directory) {
    const before = await md5(source);
    await rsync.send(source, directory);
    if ((await md5(join(directory, basename(source)))) !== before) throw new Error('The md5 differs.');
  },
});

/** Everything that can carry one big file here. */
export function filePeers({ rsyncd, sshd }: Servers, cache: string): Peer[] {
  const peers: Peer[] = [...sendallPeers(cache)];
  if (find('cp') !== undefined) {
    peers.push({ name: 'cp', send: (source, directory) => run('cp', [source, directory]) });
    peers.push({
      name: 'cp, sync',
      send: async (source, directory) => {
        await run('cp', [source, directory]);
        await run('sync', [join(directory, basename(source))]);
      },
    });
  }
  if (rsyncd !== undefined) {
    const rsync = rsyncPeer(rsyncd);
    peers.push(rsync);
    if (find('md5sum') !== undefined) peers.push(carefulPeer(rsync));
  }
  if (sshd !== undefined) peers.push(scpPeer(sshd));
  return peers;
}

/** Those that matter for the time it takes to start and stop, and for many small files. */
export function smallPeers({ rsyncd, sshd }: Servers, cache: string): Peer[] {
  return [...sendallPeers(cache), ...(rsyncd === undefined ? [] : [rsyncPeer(rsyncd)]), ...(sshd === undefined ? [] : [scpPeer(sshd)])];
}
