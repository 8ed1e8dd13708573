import type { FileHandle } from 'node:fs/promises';
import { alignment } from '../../threads/aligned-memory';

/**
 * Writes the first `length` of `bytes` at `offset`, all of them. Past the page cache where `direct`: then whole sectors
 * are written, for which `bytes` has room, and the end of the file must be cut to size afterwards. Rejects with the
 * operating system's errors.
 */
export async function writeSectors(
  { handle, direct }: { readonly handle: FileHandle; readonly direct: boolean },
  bytes: Uint8Array,
  offset: number,
  length: number,
): Promise<void> {
  const padded = direct ? Math.ceil(length / alignment) * alignment : length;
  bytes.fill(0, length, padded);
  for (let at = 0; at < padded;) {
    // On a full disk the count is short and no error comes with it; that comes with the next try.
    const { bytesWritten } = await handle.write(bytes, at, padded - at, offset + at);
    const taken = direct ? bytesWritten - (bytesWritten % alignment) : bytesWritten;
    if (taken === 0) throw Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' });
    at += taken;
  }
}
