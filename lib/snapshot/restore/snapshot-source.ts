import { type BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { SessionSource } from '../../send/finding';
import { dataIn } from '../../scan/data-in';
import { unreadable } from '../../scan/source';
import type { FoundEntry } from '../../scan/tree-scan';
import { entryByManifest } from './entry-by-manifest';
import { Directory } from '../../store/local/directory';
import { DirectoryTree } from '../../store/local/directory-tree';
import { isReadable } from '../../store/local/mode-on-disk';
import { type Snapshot, within } from '../manifest/catalog';
import type { ManifestEntry, ManifestHead } from '../manifest/manifest';
import { systemPath } from '../../name-bytes';
import { carriedTime } from '../../threads/carried-time';
import { walking } from '../../threads/walker';

/** Entries that are looked at in one go. */
const batchSize = 256;

/**
 * The entries of a snapshot as a session sends them: with the metadata of the manifest, and its digest vouching for
 * each file, so that nothing else is ever sent under its name. What of a file can be seen without reading it,
 * `mismatch`, comes in place of the file; so does what lies behind a symbolic link. What the snapshot never had is left
 * out. Rejects with the errors of the operating system.
 */
export async function* snapshotSource(
  snapshot: Snapshot,
  { digest }: ManifestHead,
  entries: readonly ManifestEntry[],
): SessionSource {
  const root = await Directory.open(snapshot.directory, true);
  const tree = new DirectoryTree(root, false);
  try {
    for (let at = 0; at < entries.length; at += batchSize) {
      const batch = entries.slice(at, at + batchSize);
      const found = await Promise.all(batch.map((entry) => look(snapshot, tree, digest, entry)));
      yield found.filter((entry) => entry !== undefined);
    }
  } finally {
    tree.close();
    await root.close();
  }
}

/** What to say of an entry that the snapshot never had, for the reason that its manifest gives. */
export function whyMissing(reason: string): string {
  return `it is not in this snapshot: ${reason}`;
}

async function look(
  snapshot: Snapshot,
  tree: DirectoryTree,
  algorithm: ManifestHead['digest'],
  entry: ManifestEntry,
): Promise<FoundEntry | TransferError | undefined> {
  if (entry.type === 'missing') return undefined;
  const located = within(snapshot, entry.name);
  if (entry.type !== 'file') return entryByManifest(entry, located);
  const { name, size, mode, mtime, digests, metadata } = entry;
  const digest = digests[algorithm];
  const stats = await statsOf(tree, located.below, name);
  if (stats instanceof TransferError) return stats;
  if (!stats.isFile() || digest === undefined) return damaged(name, 'is no regular file any more');
  if (Number(stats.size) !== size)
    return damaged(name, `has ${String(stats.size)} bytes, and had ${String(size)} when it was stored`);
  if (process.geteuid?.() === Number(stats.uid) && !isReadable(Number(stats.mode))) return closedToUs(name);
  const sparse = Number(stats.blocks) * 512 < size;
  return {
    type: 'file',
    ...located,
    name,
    size,
    mode,
    mtime: carriedTime(stats.mtimeNs),
    ctime: stats.ctimeNs,
    sparse,
    data: sparse ? walking((walker) => dataIn(walker.at(located), size)) : undefined,
    inode: stats.ino,
    metadata,
    vouched: { digest, mtime },
  };
}

async function statsOf(tree: DirectoryTree, below: string, name: string): Promise<BigIntStats | TransferError> {
  try {
    const reached = await tree.find(below as EntryName);
    if (!reached) return damaged(name, 'is missing in the snapshot');
    return await lstat(systemPath(reached.directory.at(path.posix.basename(below))), { bigint: true }).finally(() =>
      reached.release(),
    );
  } catch (error) {
    if (error instanceof TransferError) return damaged(name, 'lies in what is no directory any more');
    if (errnoOf(error) === 'EACCES') return closedToUs(name, error);
    return errnoOf(error) === 'ENOENT' ? damaged(name, 'is missing in the snapshot') : unreadable(name, error);
  }
}

/** What an earlier version stored with a mode that keeps out whoever keeps the snapshots. */
function closedToUs(name: string, cause?: unknown): TransferError {
  return new TransferError('source-unreadable', `${printable(name)} may not be read by this user in the snapshot.`, {
    cause,
    fileName: name,
    hint: 'It is stored with the mode that it had: run as root, by sudo, sendall restore DIR brings it with that mode.',
  });
}

function damaged(name: string, how: string): TransferError {
  return new TransferError('mismatch', `${printable(name)} is damaged: it ${how}.`, {
    fileName: name,
    hint: 'sendall verify names every snapshot that shares the damage.',
  });
}
