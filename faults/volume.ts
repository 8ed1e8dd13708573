import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, statfsSync } from 'node:fs';
import { find } from '../bench/command';
import type { Loans } from './loans';

export const fileSystems = ['ext4', 'xfs'] as const;
export type FileSystem = (typeof fileSystems)[number];

/** Lets nothing reach the device before somebody asks for it: ext4 would write its journal every 5 s. */
const late = ['commit=300'];
const optionsOf: Readonly<Record<FileSystem, readonly string[]>> = { ext4: late, xfs: ['nouuid'] };
const makeWords: Readonly<Record<FileSystem, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0,nodiscard'],
  xfs: ['mkfs.xfs', '-q', '-K', '-m', 'reflink=1'],
};
/** The smallest file system that mkfs.xfs makes. */
export const smallestXfs = 300;
const unmountTries = 100;

/** What this machine lacks for file systems in files, as a sentence. */
export function missingForVolumes(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'Only root can mount file systems, on Linux.';
  const programs = ['mount', 'umount', 'losetup', 'mkfs.ext4', 'mkfs.xfs'].filter(
    (program) => find(program) === undefined,
  );
  if (programs.length > 0) return `There is no ${programs.join(', no ')}.`;
  try {
    run('losetup', ['-f']);
    return undefined;
  } catch {
    return 'There are no loop devices.';
  }
}

/** Makes a file system of `mib` MiB in the file `image`, which takes the room of what is written to it. */
export function makeVolume(image: string, kind: FileSystem, mib: number): void {
  const file = openSync(image, 'wx', 0o600);
  ftruncateSync(file, mib * 2 ** 20);
  closeSync(file);
  const [program = '', ...words] = makeWords[kind];
  run(program, [...words, image]);
}

/**
 * Mounts what is in `image` at `place`, which is made. @returns what unmounts it, at once. @throws Error if it cannot
 * be mounted.
 */
export function mountVolume(image: string, place: string, kind: FileSystem, loans: Loans): () => void {
  return mountAt(place, ['-t', kind, '-o', ['loop', ...optionsOf[kind]].join(','), image], loans);
}

/** Mounts a file system in memory at `place`, which is made. @returns what unmounts it. */
export function mountMemory(place: string, loans: Loans): () => void {
  return mountAt(place, ['-t', 'tmpfs', '-o', 'mode=0700', 'tmpfs'], loans);
}

/** Leaves such a file system `mib` MiB of room for more than it has by now. */
export function narrow(place: string, mib: number): void {
  const { bsize, blocks, bfree } = statfsSync(place);
  run('mount', ['-o', `remount,size=${(blocks - bfree) * bsize + mib * 2 ** 20}`, place]);
}

/** Copies an image as it is at this moment, holes included. */
export function copyImage(image: string, to: string): void {
  run('cp', ['--sparse=always', image, to]);
}

/** Writes all that is not yet on the device of the file system at `place`. */
export function syncVolume(place: string): void {
  run('sync', ['-f', place]);
}

function mountAt(place: string, words: readonly string[], loans: Loans): () => void {
  mkdirSync(place, { recursive: true });
  run('mount', [...words, place]);
  return loans.take(() => unmount(place));
}

/** Somebody who was just killed may use it for another moment. The loop device goes with it. */
function unmount(place: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      run('umount', attempt < unmountTries ? [place] : ['--lazy', place]);
      return;
    } catch (error) {
      if (attempt === unmountTries) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
}

function run(program: string, words: readonly string[]): void {
  try {
    execFileSync(find(program) ?? program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const { stderr } = error as { readonly stderr?: Buffer };
    throw new Error(`${program} ${words.join(' ')}: ${stderr?.toString().trim() ?? String(error)}`, { cause: error });
  }
}
