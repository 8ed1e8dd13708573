import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { printable, TransferError } from '../lib/internal';
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
  const scratch = await mkdtemp(path.join(tmpdir(), 'sendall-restore-'));
  try {
    const { files } = await restore(scratch);
    const [file, ...others] = files;
    if (!file || others.length > 0)
      throw new TransferError('usage', `${printable(what)} is not one file, and standard output takes no more.`, {
        hint: 'Name one file, as sendall snapshots lists it, or restore into a directory.',
      });
    await pipeline(createReadStream(path.join(scratch, file.path ?? file.file_name)), process.stdout, {
      end: false,
      signal,
    }).catch((error: unknown) => {
      // Nobody reads any more: what does, ends it.
      if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
