import { type BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf, TransferError } from '../../errors';
import { printable } from '../../name';
import type { SessionSource } from '../../send/transfer';
import { unreadable } from '../../scan/source';
import type { FoundEntry } from '../../scan/tree-scan';
import type { ManifestEntry, ManifestHead } from '../manifest/manifest';

/** So many are looked at in one go. */
const batchSize = 256;

/**
 * The entries of a snapshot as a session sends them: with the metadata of the manifest, and its digest vouching for each file, so that
 * nothing else is ever sent under its name. `place` is the path of the snapshot's directory. What of a file can be seen without
 * reading it, `mismatch`, comes in place of the file. What the snapshot never had is left out.
 */
export async function* snapshotSource(place: string, { digest }: ManifestHead, entries: readonly ManifestEntry[]): SessionSource {
  for (let at = 0; at < entries.length; at += batchSize) {
    const batch = entries.slice(at, at + batchSize);
    const found = await Promise.all(batch.map((entry) => look(place, digest, entry)));
    yield found.filter((entry) => entry !== undefined);
  }
}

/** What to say of an entry that the snapshot never had, for the reason that its manifest gives. */
export function whyMissing(reason: string): string {
  return `it is not in this snapshot: ${reason}`;
}

async function look(place: string, algorithm: ManifestHead['digest'], entry: ManifestEntry): Promise<FoundEntry | TransferError | undefined> {
  if (entry.type === 'missing') return undefined;
  const { name, mtime } = entry;
  const base = { path: path.join(place, name), name, mtime, ctime: mtime };
  switch (entry.type) {
    case 'directory':
      return { type: 'directory', mode: entry.mode, ...base };
    case 'symlink':
      return { type: 'symlink', target: entry.target, ...base };
    case 'link':
      return { type: 'link', target: entry.target, ...base };
    case 'file': {
      const { size, mode, digests } = entry;
      const digest = digests[algorithm];
      const stats = await statsOf(base.path, name);
      if (stats instanceof TransferError) return stats;
      if (!stats.isFile() || digest === undefined) return damaged(name, 'is no regular file any more');
      if (Number(stats.size) !== size) return damaged(name, `has ${String(stats.size)} bytes, and had ${String(size)} when it was stored`);
      const sparse = Number(stats.blocks) * 512 < size;
      return { type: 'file', path: base.path, name, size, mode, mtime: stats.mtimeNs, ctime: stats.ctimeNs, sparse, inode: stats.ino, vouched: { digest, mtime } };
    }
  }
}

async function statsOf(place: string, name: string): Promise<BigIntStats | TransferError> {
  try {
    return await lstat(place, { bigint: true });
  } catch (error) {
    return ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '') ? damaged(name, 'is missing in the snapshot') : unreadable(name, error);
  }
}

function damaged(name: string, how: string): TransferError {
  return new TransferError('mismatch', `${printable(name)} is damaged: it ${how}.`, { fileName: name, hint: 'sendall verify names every snapshot that shares the damage.' });
}
