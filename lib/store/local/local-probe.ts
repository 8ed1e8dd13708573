import { constants } from 'node:fs';
import { open, statfs, unlink, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { alignment, AlignedMemory } from '../../threads/aligned-memory';
import { errnoOf } from '../../errors';
import type { NamesTaken } from '../../name';
import type { Directory } from './directory';

const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants as typeof constants & {
  readonly O_DIRECT?: number;
};

/** What the disk below a directory can do. */
export interface Abilities {
  /** O_DIRECT reaches a device, past the page cache. */
  readonly direct: boolean;
  /** Names that differ only by case or Unicode form are one. */
  readonly foldsNames: boolean;
}

/**
 * Magic numbers of file systems (statfs(2)) whose O_DIRECT goes to a local device. Others may accept the flag and still
 * answer from memory (tmpfs since Linux 6.6, NFS, FUSE, ZFS), so for them a receipt says `cache`.
 */
const deviceFileSystems = new Set([
  0xef53 /* ext2, ext3, ext4 */, 0x58465342 /* XFS */, 0xf2f52010 /* F2FS */, 0x9123683e /* btrfs */,
]);

/** Tries it out in `staging`, which stays as it was. */
export async function probe(staging: Directory): Promise<Abilities> {
  return { direct: await takesDirect(staging), foldsNames: await foldsNames(staging) };
}

/** Whether O_DIRECT, where a file in the directory `pathname` takes it, reads from a device. Writes nothing. */
export async function answersFromDevice(pathname: string): Promise<boolean> {
  return (
    process.platform === 'linux' && O_DIRECT !== undefined && deviceFileSystems.has((await statfs(pathname)).type >>> 0)
  );
}

async function takesDirect(staging: Directory): Promise<boolean> {
  if (O_DIRECT === undefined || !(await answersFromDevice(staging.at('.')))) return false;
  const pathname = staging.at(randomBytes(16).toString('hex'));
  const { bytes } = await new AlignedMemory(alignment, 1).lease();
  try {
    const handle = await open(pathname, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_DIRECT, 0o600);
    try {
      await handle.write(bytes, 0, alignment, 0);
      return (await handle.read(bytes, 0, alignment, 0)).bytesRead === alignment;
    } finally {
      await handle.close();
      await unlink(pathname);
    }
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return false;
    throw error;
  }
}

async function foldsNames(staging: Directory): Promise<boolean> {
  const name = `probe-${randomBytes(8).toString('hex')}`;
  await writeFile(staging.at(name), '', { flag: 'wx', mode: 0o600 });
  try {
    return (await staging.look(name.toUpperCase())) !== undefined;
  } finally {
    await unlink(staging.at(name));
  }
}

/** Of further ones that no two machines have at once: tmpfs, overlayfs, FAT, exFAT. */
const furtherLocal = [0x01021994, 0x794c7630, 0x4d44, 0x2011bab0];

/** Whether what is at `path` is on a disk of this machine alone; false where that cannot be found out. */
export async function isLocalDisk(path: string): Promise<boolean> {
  if (process.platform !== 'linux') return false;
  const type = (await statfs(path)).type >>> 0;
  return deviceFileSystems.has(type) || furtherLocal.includes(type);
}

/** FAT and exFAT, by the magic numbers of statfs(2). */
const disksOfWindows: readonly number[] = [0x4d44, 0x2011bab0];

/**
 * Which names the disk of a directory is for: those of Windows are read by systems that know no others. Rejects with
 * nothing.
 */
export async function namesOfDisk(directory: string): Promise<NamesTaken> {
  if (process.platform === 'win32') return 'portable';
  // What cannot be asked is a disk of this system: it refuses what it cannot have, name by name.
  const type = await statfs(directory).then(
    (found) => found.type,
    () => 0,
  );
  return disksOfWindows.includes(type) ? 'portable' : 'any';
}
