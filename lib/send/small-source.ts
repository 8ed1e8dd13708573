import { closeSync, constants, fstatSync, readSync } from 'node:fs';
import { createDigest } from '../digest/digest';
import { type Located, walking } from '../threads/walker';

/** A small file with its content, read between two looks at it; or why its content is not here. */
export type SmallSource = { readonly content: Uint8Array; readonly md5: string } | 'large' | 'changed' | 'not a file';

/** Files up to this size are read whole and hashed in one go. */
export const smallFile = 64 * 1024;
const memory = new Uint8Array(new ArrayBuffer(smallFile));

/** Reads a file if it is small, without giving way to anything else meanwhile. Throws the operating system's errors. */
export async function readSmallSource(source: Located): Promise<SmallSource> {
  const content = readContent(source);
  if (typeof content === 'string') return content;
  const digest = await createDigest('md5');
  digest.update(content);
  return { content, md5: digest.digest() };
}

function readContent(source: Located): Uint8Array | Exclude<SmallSource, object> {
  // A named pipe without a writer is not waited for.
  const fd = walking((walker) => walker.open(source, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
  try {
    const before = fstatSync(fd, { bigint: true });
    if (!before.isFile()) return 'not a file';
    if (before.size > smallFile) return 'large';
    const size = Number(before.size);
    let at = 0;
    for (let count = -1; at < size && count !== 0; at += count) count = readSync(fd, memory, at, size - at, at);
    const after = fstatSync(fd, { bigint: true });
    const changed =
      at !== size || after.size !== before.size || after.mtimeNs !== before.mtimeNs || after.ctimeNs !== before.ctimeNs;
    return changed ? 'changed' : memory.slice(0, size);
  } finally {
    closeSync(fd);
  }
}
