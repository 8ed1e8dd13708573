import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { FileCalls } from './file-calls';

/**
 * Reads from `offset` on until `into` is full; false where the file ends before. Rejects with the errors of the
 * operating system.
 */
export async function fill(file: FileHandle, into: Uint8Array, offset: number): Promise<boolean> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}

/** The same while this thread waits for the disk. Throws those errors. */
export function fillSync(fd: number, into: Uint8Array, offset: number): boolean {
  for (let done = 0; done < into.length;) {
    const count = readSync(fd, into, done, into.length - done, offset + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}

/** The first `size` bytes of a file, to `at` of `into`; false where it has fewer. Throws those errors, too. */
export function fillBy(calls: FileCalls, fd: number, into: Uint8Array, at: number, size: number): boolean {
  for (let done = 0; done < size;) {
    const count = calls.read(fd, into, at + done, size - done, done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}
