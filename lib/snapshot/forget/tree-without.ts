// A second directory tree with the same files, without some of its paths.
import { copyFile, constants, link, mkdir, open } from 'node:fs/promises';
import { constants as fileConstants } from 'node:fs';
import { errnoOf } from '../../errors';
import { systemPath } from '../../name-bytes';
import { Directory } from '../../store/local/directory';
import { setFileTime } from '../../threads/system-calls';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fileConstants;
/** Files of a directory that are linked at once. */
const together = 16;

/**
 * Makes in `to`, an empty directory, everything that is in `from` and that `leaves` does not take out, by hard links;
 * directories with their modes and times, durably but for `to` itself. Never follows a symbolic link, and changes
 * nothing in `from`.
 */
export async function treeWithout(
  from: Directory,
  to: Directory,
  leaves: (name: string, isDirectory: boolean) => boolean,
  signal: AbortSignal | undefined,
  inside = '',
): Promise<void> {
  const below: string[] = [];
  const names = await from.list();
  const take = async (name: string): Promise<void> => {
    const found = await from.look(name);
    if (found === undefined || leaves(inside + name, found.isDirectory())) return;
    if (found.isDirectory()) below.push(name);
    else await linkOrCopy(systemPath(from.at(name)), systemPath(to.at(name)), found.isFile());
  };
  for (let at = 0; at < names.length; at += together) {
    signal?.throwIfAborted();
    const taken = await Promise.allSettled(names.slice(at, at + together).map(take));
    // All have ended by now: what still ran when a descriptor is closed would reach into another directory.
    for (const end of taken) if (end.status === 'rejected') throw end.reason;
  }
  for (const name of below) {
    const [source, target] = [await Directory.open(from.at(name)), await makeDirectory(to, name)];
    try {
      await treeWithout(source, target, leaves, signal, `${inside}${name}/`);
    } finally {
      await target.close();
      await source.close();
    }
    await sameState(from.at(name), to.at(name));
  }
}

async function makeDirectory(parent: Directory, name: string): Promise<Directory> {
  await mkdir(systemPath(parent.at(name)), { mode: 0o700 });
  return Directory.open(parent.at(name));
}

/** A copy where the file has as many names as the disk allows. */
async function linkOrCopy(from: string | Buffer, to: string | Buffer, isFile: boolean): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (errnoOf(error) !== 'EMLINK' || !isFile) throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await sameState(from, to, 0);
  }
}

/** Gives `to` mode and modification time of `from`, durably. */
async function sameState(from: string | Buffer, to: string | Buffer, more = O_DIRECTORY): Promise<void> {
  const flags = O_RDONLY | O_NOFOLLOW | more;
  const [source, target] = [await open(pathOf(from), flags), await open(pathOf(to), flags)];
  try {
    const { mode, mtimeNs } = await source.stat({ bigint: true });
    await target.chmod(Number(mode) & 0o7777);
    setFileTime(target.fd, mtimeNs);
    await target.sync();
  } finally {
    await source.close();
    await target.close();
  }
}

function pathOf(pathname: string | Buffer): string | Buffer {
  return typeof pathname === 'string' ? systemPath(pathname) : pathname;
}
