import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { bytesOfName } from '../../name-bytes';
import { checksumLines, checksumListName } from './checksum-list';
import { type ManifestEntry, ManifestEncoder, type ManifestHead, manifestName, type ManifestTotals } from './manifest';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
/** Characters that are written at a time. */
const writtenAtOnce = 256 * 1024;

/** What a snapshot will be when it is complete. */
export interface Finished {
  readonly head: ManifestHead;
  /** Sorted by name. */
  readonly entries: readonly ManifestEntry[];
  readonly totals: ManifestTotals;
}

/**
 * Writes what a snapshot says of itself into its directory at `pathname`, where neither is yet: the list of digests,
 * and the manifest last. Both are durable, but for their names. Resolves with what the register says of the manifest.
 */
export async function writeLists(
  pathname: string,
  finished: Finished,
): Promise<{ readonly manifest: string; readonly size: number }> {
  const { digest } = finished.head;
  await write(path.join(pathname, checksumListName(digest)), checksumLines(finished.entries, digest));
  const encoder = new ManifestEncoder();
  const size = await write(path.join(pathname, manifestName), manifestLines(finished, encoder));
  return { manifest: encoder.sum, size };
}

/** Resolves with its size in bytes. */
async function write(pathname: string, lines: Iterable<string>): Promise<number> {
  const file = await open(pathname, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666);
  try {
    await writeLines(file, lines);
    await file.sync();
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}

async function writeLines(file: FileHandle, lines: Iterable<string>): Promise<void> {
  let text = '';
  for (const line of lines) {
    text += line;
    if (text.length < writtenAtOnce) continue;
    await file.writeFile(bytesOfName(text));
    text = '';
  }
  await file.writeFile(bytesOfName(text));
}

function* manifestLines({ head, entries, totals }: Finished, encoder: ManifestEncoder): Generator<string> {
  yield encoder.head(head);
  for (const entry of entries) yield encoder.entry(entry);
  yield encoder.end(totals);
}
