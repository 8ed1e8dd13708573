// Whether the modes on a disk are its own, or those of how it is mounted.
import { statfs } from 'node:fs/promises';
import { systemPath } from '../../name-bytes';
import { trace } from '../../trace';
import type { FoundOnDisk } from './survey';

/** statfs(2), Linux: FAT, exFAT, NTFS (two drivers), CIFS, SMB and disks in user space, of which some have modes. */
const withoutModes: readonly number[] = [
  0x4d44, 0x2011bab0, 0x5346544e, 0x7366746e, 0xff534d42, 0xfe534d42, 0x65735546,
];

/** Whether the disk of an open directory is of a kind that may have no modes. */
export async function mayLackModes(directory: string): Promise<boolean> {
  if (process.platform !== 'linux') return false;
  try {
    return withoutModes.includes((await statfs(systemPath(directory))).type >>> 0);
  } catch (error) {
    trace('of which kind the disk of %s is cannot be found out: %o', directory, error);
    return false;
  }
}

/** The modes that were met in a snapshot. */
export class FoundModes {
  private readonly modes = { file: new Set<number>(), directory: new Set<number>() };
  private differ = false;

  /** `wanted` is what should be there, where that is known. */
  add({ kind, mode }: Pick<FoundOnDisk, 'kind' | 'mode'>, wanted = mode): void {
    if (kind === 'file' || kind === 'directory') this.modes[kind].add(mode);
    this.differ ||= mode !== wanted;
  }

  /**
   * Whether some are others than they should be, and all files have one and all directories too: what a disk without
   * modes shows, and one that was mounted with other options than before.
   */
  get areOfMount(): boolean {
    return this.differ && this.modes.file.size <= 1 && this.modes.directory.size <= 1;
  }
}
