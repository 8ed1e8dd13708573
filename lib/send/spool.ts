import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { createDigest } from '../digest/digest';
import { errnoOf, TransferError } from '../errors';
import type { EntryName } from '../name';
import { OpenSource } from './open-source';

/**
 * Writes a stream of unknown length to a temporary file, since the plain wire wants its size and md5 before its first
 * byte. `stop` ends the input. Rejects with `source-unreadable` or `interrupted`.
 */
export async function spool(
  input: Readable,
  name: EntryName,
  stop: AbortSignal,
): Promise<{ source: OpenSource; md5: string }> {
  const digest = await createDigest('md5');
  const { handle } = await spoolFile(input, name, stop, (bytes) => digest.update(bytes));
  return { source: await OpenSource.of(handle, name), md5: digest.digest() };
}

/**
 * Writes a stream to a temporary file, which the caller closes. Its name is removed before the first byte is written,
 * so that nothing is left of it however this process ends; `pathname` opens it as long as it is open. Rejects as
 * `spool` does.
 */
export async function spoolFile(
  input: Readable,
  name: EntryName,
  stop: AbortSignal | undefined,
  seen: (bytes: Uint8Array) => void = () => undefined,
): Promise<{ readonly handle: FileHandle; readonly pathname: string }> {
  const pathname = path.join(tmpdir(), `sendall-${randomBytes(8).toString('hex')}`);
  const { O_CREAT, O_EXCL, O_RDWR } = constants;
  const handle = await open(pathname, O_CREAT | O_EXCL | O_RDWR, 0o600);
  const interrupt = (): void => void input.destroy();
  stop?.addEventListener('abort', interrupt, { once: true });
  try {
    if (stop?.aborted) interrupt();
    // Windows cannot remove a file that is open; there it is left to the system's cleaning.
    if (process.platform !== 'win32') await unlink(pathname);
    for await (const piece of input as AsyncIterable<Uint8Array | string>) {
      const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
      seen(bytes);
      for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at)).bytesWritten;
    }
    return { handle, pathname: byDescriptor(handle) ?? pathname };
  } catch (cause) {
    await handle.close();
    if (stop?.aborted) throw new TransferError('interrupted', 'Interrupted.', { cause });
    const full = errnoOf(cause) === 'ENOSPC';
    throw new TransferError(
      'source-unreadable',
      `The input could not be kept in ${tmpdir()}: ${full ? 'the disk is full' : cause instanceof Error ? cause.message : String(cause)}.`,
      {
        cause,
        fileName: name,
        hint: full ? 'Set TMPDIR to a directory with more room.' : '',
      },
    );
  } finally {
    stop?.removeEventListener('abort', interrupt);
  }
}

/** The name of a descriptor of this process, by which a file without a name is opened again. */
function byDescriptor({ fd }: FileHandle): string | undefined {
  switch (process.platform) {
    case 'linux':
      return `/proc/self/fd/${String(fd)}`;
    case 'win32':
      return undefined;
    default:
      return `/dev/fd/${String(fd)}`;
  }
}
