// An object store on this machine: a large file to it and read back, against rclone; small files in a snapshot, first
// and once more, against restic.
import { mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { find, run } from '../command';
import { sameBytes } from '../contest';
import { type ObjectServer, startObjectServer } from '../object-server';
import { nothing, type Peer } from '../peers';
import { send, sendall, startReceiver } from '../sendall';
import { makeFile, makeTree } from '../sources';
import { contest, from, mebi, ratio, type Amounts, type Outcome, type Scenario, type Settings } from './settings';

const sendallFile = 'sendall to receive s3://';
const rcloneFile = 'rclone copy, rclone check --download';
const sendallBackup = 'sendall backup s3://';
const resticBackup = 'restic backup s3:';
const again = ', unchanged';

/** Everything of all rounds stays in the store: it frees what is deleted hours later. */
const kept = ({ size, files, reps }: Amounts): number => 2 * (reps + 1) * (size + files * 4096) + 512 * mebi;

export const store: Scenario = {
  manyFiles: true,
  space: ({ size, files, reps }) => (reps + 2) * size + 2 * files * 4096,
  async run(settings: Settings): Promise<Outcome | undefined> {
    const place = join(settings.directory, 'store');
    let server: ObjectServer;
    try {
      server = await startObjectServer(join(place, 'radosgw'), kept(settings));
    } catch (error) {
      settings.say(`  store is left out: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
    const { size, files, reps } = settings;
    const keyOf = (directory: string): string => relative(settings.directory, directory).replaceAll('/', '-');
    const where = (directory: string): string => `s3://${server.bucket}/${keyOf(directory)}`;
    try {
      const source = await from(settings, 'store');
      await mkdir(join(source, 'file'));
      const file = await makeFile(join(source, 'file', 'big'), size);
      const tree = await makeTree(join(source, 'tree'), files, 4096);
      const restic = find('restic') === undefined ? [] : [resticPeer(server, keyOf)];
      if (restic.length === 0) settings.say('  restic is left out: not installed');
      const large = [sendallPeer(where), rclonePeer(server, keyOf)];
      const small = [backupPeer(where), ...restic];
      const once = small.map((peer) => ({ ...peer, name: peer.name + again }));
      const rows = [
        ...(await contest(settings, 'store', { peers: large, source: file, size, reps })),
        ...(await contest(settings, join('store', 'tree'), { peers: small, source: tree, size: files * 4096, reps })),
        ...(await contest(settings, join('store', 'again'), {
          peers: once,
          source: tree,
          size: files * 4096,
          reps,
          change: nothing,
        })),
      ];
      return {
        scenario: 'store',
        rows,
        goals: [
          ratio(rows, sendallFile, rcloneFile, 0.9),
          ratio(rows, sendallBackup, resticBackup, 0.5),
          ratio(rows, sendallBackup + again, resticBackup + again, 1),
        ],
        note: 'Ceph radosgw in memory, on this machine: its processor time is that of all of them. restic encrypts, and reads nothing back.',
      };
    } finally {
      await server.stop();
    }
  },
};

function sendallPeer(where: (directory: string) => string): Peer {
  return {
    name: sendallFile,
    async open(directory) {
      const receiver = await startReceiver(where(directory));
      return { place: receiver.ticket, close: () => receiver.stop() };
    },
    send: (source, ticket) => send(source, ticket),
    async check(source, directory) {
      const scratch = `${directory}-exported`;
      await sendall(['export', where(directory), scratch]);
      await sameBytes(source, join(scratch, basename(source)));
      await rm(scratch, { recursive: true });
    },
  };
}

function rclonePeer(server: ObjectServer, keyOf: (directory: string) => string): Peer {
  return {
    name: rcloneFile,
    async send(source, directory) {
      const target = `:s3:${server.bucket}/rclone-${keyOf(directory)}`;
      await run('rclone', ['copy', dirname(source), target]);
      return run('rclone', ['check', '--download', dirname(source), target]);
    },
    check: nothing,
  };
}

function backupPeer(where: (directory: string) => string): Peer {
  return {
    name: sendallBackup,
    send: (source, directory) => sendall(['backup', source, where(directory), '--name', 'bench']),
    check: async (_, directory) => void (await sendall(['verify', where(directory), '--snapshot', 'bench/latest'])),
  };
}

function resticPeer(server: ObjectServer, keyOf: (directory: string) => string): Peer {
  const made = new Set<string>();
  const restic = (directory: string, ...words: readonly string[]): Promise<string> => {
    const repository = `s3:${server.endpoint}/${server.bucket}/restic-${keyOf(directory)}`;
    return run('restic', ['--quiet', '--repo', repository, '--cache-dir', join(directory, 'cache'), ...words], {
      env: { ...process.env, RESTIC_PASSWORD: 'none of it matters' },
    });
  };
  return {
    name: resticBackup,
    async open(directory) {
      await mkdir(directory, { recursive: true });
      if (!made.has(directory)) await restic(directory, 'init');
      made.add(directory);
      return { place: directory, close: nothing };
    },
    send: (source, directory) => restic(directory, 'backup', source),
    check: async (_, directory) => void (await restic(directory, 'check')),
  };
}
