import { TransferError } from '../errors';
import { changed, unreadable } from '../scan/source';
import { fill } from '../threads/fill';
import { isBarred, openLocated } from '../threads/walker';
import { isInode } from '../scan/found';
import type { Outgoing } from './entries';
import { carriedTime } from '../threads/carried-time';

/**
 * A piece of a file once more, since the connection that carried it died. Rejects with `source-changed` where the file
 * is another one, or was written to and is no longer than when it was offered; with `source-unreadable` where it cannot
 * be read. Of a longer one it gives what is there now.
 */
export async function rereadPiece({ found }: Outgoing, offset: number, size: number): Promise<Uint8Array> {
  if (found.type !== 'file') throw new TransferError('connection-lost', 'What was lost cannot be read again.');
  const bytes = new Uint8Array(size);
  const handle = await openLocated(found).catch((error: unknown) => {
    throw isBarred(error) ? changed(found.name) : unreadable(found.name, error);
  });
  try {
    if (!(await handle.stat()).isFile()) throw changed(found.name);
    if (!(await fill(handle, bytes, offset))) throw changed(found.name);
    const now = await handle.stat({ bigint: true });
    // If more was done to it than that, the receiver finds that it does not match its digest, and asks for all of it:
    // who reads that looks at what was there before.
    const grew = now.size > BigInt(found.size) && !found.vouched && isInode(found.inode, now.ino);
    const isAsOffered =
      now.size === BigInt(found.size) &&
      carriedTime(now.mtimeNs) === found.mtime &&
      // Another ctime alone is no change where someone vouches for it: it gets one with each hard link.
      (now.ctimeNs === found.ctime || found.vouched !== undefined);
    if (!isAsOffered && !grew) throw changed(found.name);
    return bytes;
  } finally {
    await handle.close();
  }
}
