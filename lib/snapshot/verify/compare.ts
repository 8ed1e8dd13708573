import path from 'node:path';
import type { DamageReason } from '../../progress';
import type { DigestName } from '../../wire/fields';
import { bytesOfName } from '../../name-bytes';
import { systemCalls } from '../../threads/system-calls';
import { checksumLines, parseChecksumList } from '../manifest/checksum-list';
import type { Manifest, ManifestEntry } from '../manifest/manifest';
import { isSameTime } from '../../store/local/same-time';
import type { FoundOnDisk } from './survey';

export type FileToCompare = Extract<ManifestEntry, { type: 'file' }>;

/** A directory that has no entry of its own, and only must be one. */
export const implied = -1;

/**
 * What should stand in each directory, `.` the snapshot itself: the numbers of the entries by the last components of
 * their names.
 */
export function treeOf(entries: readonly ManifestEntry[]): Map<string, Map<string, number>> {
  const tree = new Map<string, Map<string, number>>([['.', new Map()]]);
  const directory = (name: string): Map<string, number> => {
    const known = tree.get(name);
    if (known) return known;
    const made = new Map<string, number>();
    tree.set(name, made);
    const above = directory(path.posix.dirname(name));
    const base = path.posix.basename(name);
    if (!above.has(base)) above.set(base, implied);
    return made;
  };
  for (const [at, entry] of entries.entries()) {
    if (entry.type === 'missing') continue;
    if (entry.type === 'directory') directory(entry.name);
    directory(path.posix.dirname(entry.name)).set(path.posix.basename(entry.name), at);
  }
  return tree;
}

/**
 * What is wrong with a file but for its content, which is not read if its size is another one. Modes are compared
 * unless its disk has none.
 */
export function compareFile(
  { size, kept, ...entry }: FileToCompare,
  found: Pick<FoundOnDisk, 'kind' | 'size' | 'mode' | 'mtime'>,
  withModes = true,
): DamageReason | undefined {
  if (found.kind !== 'file') return 'changed';
  if (found.size !== size) return found.size < size ? 'truncated' : 'changed';
  const { mode = entry.mode, mtime = entry.mtime } = kept ?? {};
  return (found.mode === mode || !withModes) && isSameTime(found.mtime, mtime) ? undefined : 'metadata';
}

export function compareSymlink(
  { target, mtime, kept }: Extract<ManifestEntry, { type: 'symlink' }>,
  found: FoundOnDisk,
): DamageReason | undefined {
  if (found.kind !== 'symlink' || found.target !== target) return 'changed';
  // Not every system can set these times; some only to the millisecond.
  return systemCalls() === undefined || isSameTime(found.mtime, kept?.mtime ?? mtime, millisecond)
    ? undefined
    : 'metadata';
}

/** `disturbed` says that something was added to it or removed, which is told of by itself, and changes its time. */
export function compareDirectory(
  { kept, ...entry }: Extract<ManifestEntry, { type: 'directory' }>,
  found: FoundOnDisk,
  disturbed: boolean,
  withModes = true,
): DamageReason | undefined {
  if (found.kind !== 'directory') return 'changed';
  const { mode = entry.mode, mtime = entry.mtime } = kept ?? {};
  return (found.mode === mode || !withModes) && (disturbed || isSameTime(found.mtime, mtime)) ? undefined : 'metadata';
}

/** Whether the list of checksums beside a manifest says the same. Other names of a file may be left out of it. */
export function agrees({ head: { digest }, entries }: Manifest, list: Uint8Array): boolean {
  // As it was written, most of the time; taking a long one apart takes as long as reading some thousand files.
  if (bytesOfName([...checksumLines(entries, digest)].join('')).equals(list)) return true;
  const digests = new Map<string, string>();
  for (const entry of entries) if (entry.type === 'file') digests.set(entry.name, digestIn(entry, digest));
  const files = digests.size;
  for (const entry of entries) if (entry.type === 'link') digests.set(entry.name, digests.get(entry.target) ?? '');
  const listed = new Set<string>();
  try {
    for (const line of parseChecksumList(list, digest)) {
      if (digests.get(line.name) !== line.digest) return false;
      listed.add(line.name);
    }
  } catch {
    return false; // no list of that form
  }
  return [...digests.keys()].slice(0, files).every((name) => listed.has(name));
}

/** The digest by which files of a manifest are known. */
export function digestIn({ digests }: FileToCompare, algorithm: DigestName): string {
  return digests[algorithm] ?? '';
}

const millisecond = 1_000_000n;
