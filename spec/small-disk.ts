import { execFileSync } from 'node:child_process';

/**
 * Mounts a disk in memory at a directory, with these options of tmpfs; false where this machine or this user cannot.
 */
export function mountSmallDisk(directory: string, options: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
