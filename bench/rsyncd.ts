import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { find, freePort, here, serve, type Place, type Server } from './command';

/**
 * An rsync daemon of our own on a free port, of the loopback unless it is elsewhere, which writes anywhere under the
 * directory of the benchmark.
 */
export interface Rsyncd extends Server {
  /** The address of a path below that directory. */
  address(path: string): string;
}

/**
 * Starts it for everything under `directory`. @returns undefined if rsync is missing or does not start; `say` tells
 * why.
 */
export async function startRsyncd(
  directory: string,
  say: (text: string) => void,
  at: Place = here,
): Promise<Rsyncd | undefined> {
  const rsync = find('rsync');
  if (rsync === undefined) {
    say('rsync is left out: not installed');
    return undefined;
  }
  const port = await freePort();
  const config = join(directory, 'rsyncd.conf');
  const owner = process.getuid?.() === 0 ? ['uid = root', 'gid = root'] : [];
  const lines = [...owner, 'use chroot = no', '[bench]', `path = ${directory}`, 'read only = no'];
  try {
    await writeFile(config, `${lines.join('\n')}\n`);
    const server = await serve(
      rsync,
      ['--daemon', '--no-detach', `--address=${at.host}`, `--port=${port}`, `--config=${config}`],
      port,
      at,
    );
    return { ...server, address: (path) => `rsync://${at.host}:${port}/bench/${path.slice(directory.length + 1)}` };
  } catch (error) {
    say(`rsync is left out: ${String(error)}`);
    return undefined;
  }
}
