import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { find, run } from './command';
import { sameBytes } from './contest';
import type { Peer } from './peers';
import { backup, sendall, startReceiver } from './sendall';

/**
 * A peer that makes a snapshot with each run: of all runs into one directory, each takes from the one before what has
 * not changed.
 */
export interface BackupPeer extends Peer {
  /** Brings the newest snapshot back into `to`, which is empty, and durably: under the name of the source. */
  restore(source: string, directory: string, to: string): Promise<string>;
  check(source: string, directory: string): Promise<void>;
}

export const backupHere = 'sendall backup';
export const backupSession = 'sendall backup, session';
export const linkDest = 'rsync --link-dest, sync -f';

const backupName = 'bench';
const secret = 'none of it matters';

/**
 * Everything that makes snapshots here; which are left out, `say` tells. All of them are durable when they say that
 * they are done.
 */
export function backupPeers(say: (text: string) => void): BackupPeer[] {
  const others = { rsync: rsyncLinkDest, restic, borg };
  const installed = Object.entries(others).filter(([program]) => {
    const isThere = find(program) !== undefined;
    if (!isThere) say(`  ${program} is left out: not installed`);
    return isThere;
  });
  return [sendallHere, sendallSession, ...installed.map(([, make]) => make())];
}

/** What a table of these peers says beneath it. */
export async function durability(): Promise<string> {
  const versions = ['restic version', 'borg --version', 'rsync --version'].map(async (command) => {
    const [program = '', flag = ''] = command.split(' ');
    return find(program) === undefined ? undefined : (await run(program, [flag])).split('\n')[0];
  });
  const known = (await Promise.all(versions)).filter((version) => version !== undefined);
  return [
    ...known,
    'restic encrypts, borg does not. Both flush what they write and its directory; after all others comes sync -f.',
  ].join('\n');
}

const sync = (directory: string): Promise<string> => run('sync', ['-f', directory]);

/** sendall to a directory of this machine. */
export const sendallHere: BackupPeer = {
  name: backupHere,
  send: (source, directory) => backup(source, { directory }, backupName),
  restore: (_, directory, to) => sendall(['restore', directory, `${backupName}/latest`, to]),
  check: checkSnapshots,
};

/** sendall in a session, encrypted, to a receiver that is already running. */
export const sendallSession: BackupPeer = {
  ...sendallHere,
  name: backupSession,
  async open(directory) {
    const receiver = await startReceiver(directory);
    return { place: receiver.ticket, close: () => receiver.stop() };
  },
  send: (source, ticket) => backup(source, { ticket }, backupName),
};

/**
 * The newest snapshot is the source; and all of them, the older ones too, are what the standard tool finds in their
 * lists.
 */
async function checkSnapshots(source: string, directory: string): Promise<void> {
  const snapshots = join(directory, backupName);
  await sameBytes(source, join(snapshots, 'latest', basename(source)));
  const ids = (await readdir(snapshots)).filter((id) => id !== 'latest');
  for (const id of ids) await run('env', ['-C', join(snapshots, id), 'sha256sum', '--quiet', '-c', 'SHA256SUMS']);
}

/** Plain files in a directory for each snapshot. It flushes nothing by itself. */
function rsyncLinkDest(): BackupPeer {
  const snapshots = new Numbers();
  const newest = (directory: string): string => join(directory, String(snapshots.last(directory)));
  return {
    name: linkDest,
    async send(source, directory) {
      const before = snapshots.last(directory) === 0 ? [] : [`--link-dest=${newest(directory)}`];
      snapshots.next(directory);
      const said = await run('rsync', ['-a', ...before, source, `${newest(directory)}/`]);
      await sync(directory);
      return said;
    },
    async restore(source, directory, to) {
      await run('rsync', ['-a', join(newest(directory), basename(source)), `${to}/`]);
      return sync(to);
    },
    check: (source, directory) => sameBytes(source, join(newest(directory), basename(source))),
  };
}

/**
 * Encrypted and compressed as by default. Flushes its packs, its index and their directories; what it restores it does
 * not.
 */
function restic(): BackupPeer {
  const restic = (directory: string, from: string, ...args: readonly string[]): Promise<string> => {
    const words = [
      'restic',
      '--quiet',
      '--repo',
      join(directory, 'repository'),
      '--cache-dir',
      join(directory, 'cache'),
      ...args,
    ];
    return run('env', ['-C', from, ...words], { env: { ...process.env, RESTIC_PASSWORD: secret } });
  };
  return keptApart({
    name: 'restic',
    init: (directory) => restic(directory, directory, 'init'),
    send: (source, directory) => restic(directory, dirname(source), 'backup', basename(source)),
    restore: (_, directory, to) => restic(directory, to, 'restore', 'latest', '--target', to),
  });
}

/**
 * Not encrypted, which is the fastest; compressed as by default. Flushes its segments and their directory; what it
 * extracts it does not.
 */
function borg(): BackupPeer {
  const archives = new Numbers();
  const borg = (directory: string, from: string, ...args: readonly string[]): Promise<string> =>
    run('env', ['-C', from, 'borg', ...args], {
      env: { ...process.env, BORG_BASE_DIR: join(directory, 'base'), BORG_REPO: join(directory, 'repository') },
    });
  return keptApart({
    name: 'borg, no encryption',
    init: (directory) => borg(directory, directory, 'init', '--encryption', 'none'),
    send: (source, directory) =>
      borg(directory, dirname(source), 'create', `::${String(archives.next(directory))}`, basename(source)),
    restore: (_, directory, to) => borg(directory, to, 'extract', `::${String(archives.last(directory))}`),
  });
}

interface Repository extends Pick<BackupPeer, 'name' | 'send' | 'restore'> {
  init(directory: string): Promise<string>;
}

/**
 * One that keeps packs, which only it can read: made before the clock starts, with a cache of its own; compared by what
 * comes back.
 */
function keptApart(repository: Repository): BackupPeer {
  return {
    ...repository,
    async open(directory) {
      if (!existsSync(join(directory, 'repository'))) await repository.init(directory);
      return { place: directory, close: () => Promise.resolve() };
    },
    async restore(source, directory, to) {
      await repository.restore(source, directory, to);
      return sync(to);
    },
    async check(source, directory) {
      // In memory: so many files, and then their removal, would slow down on a disk whoever comes next.
      const scratch = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sendall-bench-'));
      try {
        await repository.restore(source, directory, scratch);
        await sameBytes(source, join(scratch, basename(source)));
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    },
  };
}

/** Counts the snapshots in each directory. */
class Numbers {
  private readonly counts = new Map<string, number>();

  /** 0 for none. */
  last(directory: string): number {
    return this.counts.get(directory) ?? 0;
  }

  next(directory: string): number {
    this.counts.set(directory, this.last(directory) + 1);
    return this.last(directory);
  }
}

/** A peer that brings back what another one has kept in `kept`. */
export const restoring = (peer: BackupPeer, kept: string): Peer => ({
  name: `${peer.name}: restore`,
  send: (source, to) => peer.restore(source, kept, to),
});
