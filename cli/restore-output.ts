import { createReadStream } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { load, printable, TransferError } from '../lib/internal';
import type { Restored } from '../lib/index';

/**
 * Restores one file by `restore`, which is given a private directory to restore into, and writes it to standard output
 * once it is there and verified: nobody reads a byte that is not what was stored. Rejects with `usage` where it is not
 * one file, and like `restore`.
 */
export async function restoreToOutput(
  what: string,
  restore: (destination: string) => Promise<Restored>,
  signal: AbortSignal,
): Promise<void> {
  const { removeTree } = load.removal();
  const scratch = await mkdtemp(path.join(tmpdir(), 'sendall-restore-'));
  try {
    const { files } = await restore(scratch);
    const [file, ...others] = files;
    if (!file || others.length > 0)
      throw new TransferError('usage', `${printable(what)} is not one file, and standard output takes no more.`, {
        hint: 'Name one file, as sendall snapshots lists it, or restore into a directory.',
      });
    const restored = await madeReadable(scratch, file.path ?? file.file_name);
    await pipeline(createReadStream(restored), process.stdout, { end: false, signal }).catch((error: unknown) => {
      // Nobody reads any more: what does, ends it.
      if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
    });
  } finally {
    await removeTree(scratch);
  }
}

/** The path of what was restored; its modes, and those of the directories above it, may close it to us. */
async function madeReadable(scratch: string, name: string): Promise<string> {
  let pathname = scratch;
  for (const component of name.split('/')) {
    pathname = path.join(pathname, component);
    await chmod(pathname, 0o700);
  }
  return pathname;
}
