import { closeSync, constants, fstatSync, readSync } from 'node:fs';
import { createDigest } from '../digest/digest';
import { type Located, walking } from '../threads/walker';

/** A small file with its content, read between two looks at it; or why its content is not here. */
export type SmallSource =
  /** `grew`: the file is longer by now. */
  | { readonly content: Uint8Array; readonly md5: string; readonly grew: boolean }
  | 'large'
  | 'changed'
  | 'not a file'
  | 'sizeless';

/** Files up to this size are read whole and hashed in one go. */
export const smallFile = 64 * 1024;
const memory = new Uint8Array(new ArrayBuffer(smallFile));

/** Reads a file if it is small, without giving way to anything else meanwhile. Throws the operating system's errors. */
export async function readSmallSource(source: Located): Promise<SmallSource> {
  const read = readContent(source);
  if (typeof read === 'string') return read;
  const digest = await createDigest('md5');
  digest.update(read.content);
  return { ...read, md5: digest.digest() };
}

function readContent(
  source: Located,
): { readonly content: Uint8Array; readonly grew: boolean } | Exclude<SmallSource, object> {
  // A named pipe without a writer is not waited for.
  const fd = walking((walker) => walker.open(source, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
  try {
    const before = fstatSync(fd, { bigint: true });
    if (!before.isFile()) return 'not a file';
    if (before.size > smallFile) return 'large';
    const size = Number(before.size);
    const content = readInto(fd, memory.subarray(0, size)) && memory.slice(0, size);
    const tellsSize = size > 0 || readSync(fd, memory, 0, 1, 0) === 0;
    const after = fstatSync(fd, { bigint: true });
    if (!content) return 'changed';
    if (after.size === before.size && after.mtimeNs === before.mtimeNs && after.ctimeNs === before.ctimeNs)
      return tellsSize ? { content, grew: false } : 'sizeless';
    // Of what has grown only a second look tells whether more than that was done to it.
    const again = memory.subarray(0, size);
    const same = after.size > before.size && readInto(fd, again) && Buffer.compare(again, content) === 0;
    return same ? { content, grew: true } : 'changed';
  } finally {
    closeSync(fd);
  }
}

/** Fills `into` with the first bytes of a file; false where it has fewer. */
function readInto(fd: number, into: Uint8Array): boolean {
  for (let at = 0; at < into.length;) {
    const count = readSync(fd, into, at, into.length - at, at);
    if (count === 0) return false;
    at += count;
  }
  return true;
}
