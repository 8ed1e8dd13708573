import { basename, join } from 'node:path';
import { find, here, run, type Place } from './command';
import type { Rsyncd } from './rsyncd';
import { type RunningReceiver, send, startReceiver } from './sendall';
import type { Sshd } from './sshd';

/** One way to bring a file or a directory into a directory. */
export interface Peer {
  readonly name: string;
  /** What is timed. `place` is what `open` returned, else the directory itself. @returns what it printed. */
  send(source: string, place: string): Promise<string>;
  /** Made ready before the clock starts, for one run: returns where to send to and how to end it. */
  open?(directory: string): Promise<{ readonly place: string; close(): Promise<void> }>;
  /**
   * Compares what was brought, after the clock has stopped; without it, that lies under its own name. @throws Error
   * unless it is the same byte for byte.
   */
  check?(source: string, directory: string): Promise<void>;
}

/** For what keeps nothing that could be compared. */
export const nothing = (): Promise<void> => Promise.resolve();

/** The servers that some peers need; those of a missing one are left out. */
export interface Servers {
  readonly rsyncd: Rsyncd | undefined;
  readonly sshd: Sshd | undefined;
}

export const cold = 'sendall';
export const cached = 'sendall, digest in the cache';
export const session = 'sendall session';
export const runningSession = 'sendall session, receiver running, no events';
export const scp = 'scp';
export const careful = 'md5sum, rsync, md5sum';
export const daemon = 'rsync (daemon)';
export const daemonSynced = `${daemon}, sync -f`;

const md5 = async (path: string): Promise<string | undefined> => (await run('md5sum', [path])).split(' ')[0];

const open: NonNullable<Peer['open']> = async (directory) => {
  const receiver = await startReceiver(directory);
  return { place: receiver.target, close: () => receiver.stop() };
};

/** sendall on the plain wire. */
export const sendallPeers = (cache: string): Peer[] => [
  { name: cold, open, send: (source, target) => send(source, target) },
  { name: cached, open, send: (source, target) => send(source, target, { cache }) },
];

export interface SessionPeer {
  readonly name?: string;
  readonly connections?: number;
  readonly compress?: 'auto' | 'on' | 'off';
  /** The receiver takes changed files. */
  readonly replace?: boolean;
  /** Where the two sides are. */
  readonly near?: Place;
  readonly far?: Place;
}

/** sendall in a session: encrypted, to a ticket. */
export const sessionPeer = ({
  name = session,
  connections,
  compress,
  replace = false,
  near = here,
  far = here,
}: SessionPeer = {}): Peer => ({
  name,
  async open(directory) {
    const receiver = await startReceiver(directory, { at: far, replace });
    return { place: receiver.ticket, close: () => receiver.stop() };
  },
  send: (source, ticket) => send(source, ticket, { at: near, connections, compress }),
});

/**
 * The same to one receiver for each directory, which runs on until `stop`, as rsync's daemon does; neither side tells of
 * single files, as rsync does not.
 */
export function runningSessionPeer(): Peer & { stop(): Promise<void> } {
  const running = new Map<string, RunningReceiver>();
  return {
    name: runningSession,
    async open(directory) {
      const receiver = running.get(directory) ?? (await startReceiver(directory, { replace: true, quiet: true }));
      running.set(directory, receiver);
      return { place: receiver.ticket, close: () => Promise.resolve() };
    },
    send: (source, ticket) => send(source, ticket, { quiet: true }),
    async stop() {
      for (const receiver of running.values()) await receiver.stop();
      running.clear();
    },
  };
}

export const rsyncPeer = (rsyncd: Rsyncd, near: Place = here, flags: readonly string[] = []): Peer => ({
  name: [daemon, ...flags].join(' '),
  send: (source, directory) =>
    run('rsync', ['-a', '--stats', ...flags, source, `${rsyncd.address(directory)}/`], { at: near }),
});

export const rsyncSshPeer = ({ port, options, peer }: Sshd, near: Place = here): Peer => ({
  name: 'rsync (ssh)',
  send: (source, directory) =>
    run('rsync', ['-a', '-e', ['ssh', '-p', String(port), ...options].join(' '), source, `${peer}:${directory}/`], {
      at: near,
    }),
});

export const scpPeer = ({ port, options, peer }: Sshd, near: Place = here): Peer => ({
  name: scp,
  send: (source, directory) =>
    run('scp', ['-q', '-r', '-P', String(port), ...options, source, `${peer}:${directory}/`], { at: near }),
});

/** Another peer, and after it everything that its file system has still to write. */
export const thenSync = (peer: Peer): Peer => ({
  ...peer,
  name: `${peer.name}, sync -f`,
  async send(source, directory) {
    const said = await peer.send(source, directory);
    await run('sync', ['-f', directory]);
    return said;
  },
});

const carefulPeer = (rsync: Peer): Peer => ({
  name: careful,
  async send(source, directory) {
    const before = await md5(source);
    const said = await rsync.send(source, directory);
    if ((await md5(join(directory, basename(source)))) !== before) throw new Error('The md5 differs.');
    return said;
  },
});

const cp: Peer = { name: 'cp', send: (source, directory) => run('cp', ['-r', source, directory]) };

/** Everything that can carry one big file here. */
export function filePeers({ rsyncd, sshd }: Servers, cache: string): Peer[] {
  const peers: Peer[] = [...sendallPeers(cache)];
  if (find('cp') !== undefined) {
    peers.push(cp);
    peers.push({
      name: 'cp, sync',
      async send(source, directory) {
        await cp.send(source, directory);
        return run('sync', [join(directory, basename(source))]);
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
  return [
    ...sendallPeers(cache),
    ...(rsyncd === undefined ? [] : [rsyncPeer(rsyncd)]),
    ...(sshd === undefined ? [] : [scpPeer(sshd)]),
  ];
}

/** Those that a session is compared with, on one file and on many. */
export function sessionPeers({ rsyncd, sshd }: Servers): Peer[] {
  const rsync = rsyncd === undefined ? [] : [rsyncPeer(rsyncd)];
  return [sessionPeer(), ...rsync, ...rsync.map(thenSync), ...(sshd === undefined ? [] : [scpPeer(sshd)])];
}

/** What else carries one big file, for comparison. */
export function otherPeers({ rsyncd, sshd }: Servers): Peer[] {
  return [
    ...(rsyncd === undefined || sshd === undefined ? [] : [rsyncSshPeer(sshd)]),
    ...(find('cp') === undefined ? [] : [cp]),
  ];
}
