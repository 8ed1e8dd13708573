import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';

const words = (...command: string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/**
 * Makes an exFAT disk in the file `image`, if it is to `make` one, and mounts it at a directory. Throws where this
 * machine, or this user, cannot.
 */
export function mountExfat(image: string, at: string, options: string, make = true): void {
  if (make) {
    writeFileSync(image, '');
    truncateSync(image, 32 * 1024 ** 2);
    words('mkfs.exfat', image);
  }
  const device = words('losetup', '-f', '--show', image).trim();
  try {
    // The kernel's own, or the one in user space, which says ENOENT of a name that it does not take.
    try {
      words('mount', '-t', 'exfat', '-o', options, device, at);
    } catch {
      words('mount.exfat-fuse', '-o', options, device, at);
    }
  } finally {
    words('losetup', '-d', device);
  }
}
