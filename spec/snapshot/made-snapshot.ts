import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, posix } from 'node:path';

import { createDigest, type DigestAlgorithm } from '../../lib/digest/digest';
import type { ErrorCode } from '../../lib/errors';
import { parseEntryName } from '../../lib/name';
import { checksumLine, checksumListName } from '../../lib/snapshot/manifest/checksum-list';
import { latestName } from '../../lib/snapshot/manifest/catalog';
import {
  type Manifest,
  ManifestEncoder,
  type ManifestEntry,
  type ManifestHead,
  manifestName,
  type ManifestTotals,
} from '../../lib/snapshot/manifest/manifest';
import { parseSnapshotId, timeOf } from '../../lib/snapshot/manifest/snapshot-id';
import { ownPathOf, readRegister, writeRegister } from '../../lib/snapshot/register/register';
import { Directory } from '../../lib/store/local/directory';

/**
 * Content of a file, another name of one, where a symbolic link points to, an empty directory, or something that could
 * not be stored.
 */
export type MadeEntry =
  | string
  | Uint8Array
  | { readonly link: string }
  | { readonly symlink: string }
  | { readonly directory: true }
  | { readonly missing: ErrorCode };

export interface MadeSnapshot {
  /** The path of its directory. */
  readonly place: string;
  readonly manifest: Manifest;
}

/** Which snapshot to make; `digest` is sha256 unless told, and whose backup it is this machine's. */
export interface WantedSnapshot {
  readonly name: string;
  readonly id: string;
  readonly number: number;
  readonly digest?: DigestAlgorithm;
  /** The id of a key. */
  readonly owner?: string;
}

/**
 * Writes a whole snapshot below the receive directory `root`, and points `latest` to it: files (0644), the directories
 * above them (0755), all of the time that `id` names, the manifest and the list of checksums; and registers it. With
 * the `place` of a snapshot as `previous`, files that it has under the same name with the same content are hard links
 * to it.
 */
export async function madeSnapshot(
  root: string,
  wanted: WantedSnapshot,
  tree: Readonly<Record<string, MadeEntry>>,
  { previous }: { readonly previous?: string } = {},
): Promise<MadeSnapshot> {
  const { digest = 'sha256' } = wanted;
  const head: ManifestHead = { ...wanted, name: parseEntryName(wanted.name), id: parseSnapshotId(wanted.id), digest };
  const place = join(root, head.name, head.id);
  mkdirSync(place, { recursive: true });
  const time = timeOf(head.id);

  let newBytes = 0;
  const make = async (name: string, made: MadeEntry): Promise<ManifestEntry> => {
    if (typeof made === 'object' && 'missing' in made)
      return { type: 'missing', name, code: made.missing, reason: 'made without it' };
    const [entryName, at] = [parseEntryName(name, { allowHidden: true }), join(place, name)];
    if (typeof made === 'object' && 'directory' in made) {
      mkdirSync(at, { recursive: true });
      chmodSync(at, 0o755);
      return { type: 'directory', name: entryName, mode: 0o755, mtime: BigInt(time.getTime()) * 1_000_000n };
    }
    if (typeof made === 'object' && 'symlink' in made) {
      symlinkSync(made.symlink, at);
      lutimesSync(at, time, time);
      return { type: 'symlink', name: entryName, target: made.symlink, mtime: mtimeOf(at) };
    }
    if (typeof made === 'object' && 'link' in made) {
      linkSync(join(place, made.link), at);
      return {
        type: 'link',
        name: entryName,
        target: parseEntryName(made.link, { allowHidden: true }),
        mtime: mtimeOf(at),
      };
    }
    const content = Buffer.from(made);
    const older = previous === undefined ? undefined : join(previous, name);
    if (older !== undefined && existsSync(older) && lstatSync(older).isFile() && readFileSync(older).equals(content))
      linkSync(older, at);
    else {
      newBytes += content.length;
      writeFileSync(at, content);
      chmodSync(at, 0o644);
      utimesSync(at, time, time);
    }
    const whole = await createDigest(digest);
    whole.update(content);
    return {
      type: 'file',
      name: entryName,
      size: content.length,
      mode: lstatSync(at).mode & 0o777,
      mtime: mtimeOf(at),
      digests: { [digest]: whole.digest() },
      source: {},
    };
  };

  const entries: ManifestEntry[] = [];
  // Links come last, when what they are names of is there.
  const isLink = (made: MadeEntry): boolean => typeof made === 'object' && 'link' in made;
  for (const [name, made] of withDirectories(tree).sort(
    ([, one], [, other]) => Number(isLink(one)) - Number(isLink(other)),
  ))
    entries.push(await make(name, made));
  for (const { type, name } of entries) if (type === 'directory') utimesSync(join(place, name), time, time);

  const files = entries.filter((entry) => entry.type === 'file');
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const totals = {
    entries: entries.length,
    bytes,
    newBytes,
    missing: entries.filter(({ type }) => type === 'missing').length,
  };
  const manifest: Manifest = { head, entries, totals };
  writeFileSync(join(place, checksumListName(digest)), checksumsOf(manifest));
  writeFileSync(join(place, manifestName), encoded(manifest));
  const latest = join(dirname(place), latestName);
  rmSync(latest, { force: true });
  symlinkSync(head.id, latest);
  await registerMade(root, wanted);
  return { place, manifest };
}

/**
 * Puts a snapshot on the register of the receive directory `root` with the manifest that it has now, as whoever commits
 * one does; in place of what is registered under its id. `number` may be left out of one that is registered already.
 */
export async function registerMade(
  root: string,
  { name, id, number, owner = 'local' }: Pick<WantedSnapshot, 'name' | 'id' | 'owner'> & { readonly number?: number },
): Promise<void> {
  const [backup, snapshot] = [parseEntryName(name), parseSnapshotId(id)];
  const bytes = readFileSync(join(root, backup, snapshot, manifestName));
  const manifest = createHash('sha256')
    .update(bytes.subarray(0, bytes.lastIndexOf('\n', bytes.length - 2) + 1))
    .digest('hex');
  const known = (await readRegister(root, backup)) ?? { name: backup, owner, snapshots: [] };
  const before = known.snapshots.find((each) => each.id === snapshot);
  const entry = {
    number: number ?? before?.number ?? 0,
    id: snapshot,
    owner: known.owner,
    manifest,
    size: bytes.length,
  };
  const own = ownPathOf(root, backup);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  const directory = await Directory.open(own);
  await writeRegister(directory, {
    ...known,
    snapshots: [...known.snapshots.filter((each) => each !== before), entry],
  });
  await directory.close();
}

/** A manifest as its bytes; `totals` instead of those it has. */
export function encoded({ head, entries, totals }: Manifest, others: Partial<ManifestTotals> = {}): Buffer {
  const encoder = new ManifestEncoder();
  return Buffer.from(
    [encoder.head(head), ...entries.map((entry) => encoder.entry(entry)), encoder.end({ ...totals, ...others })].join(
      '',
    ),
  );
}

/** The list of checksums that belongs to a manifest: every name of every file. */
function checksumsOf({ head, entries }: Manifest): string {
  const digests = new Map(
    entries.flatMap((entry): [string, string][] =>
      entry.type === 'file' ? [[entry.name, entry.digests[head.digest] ?? '']] : [],
    ),
  );
  const digestOf = (entry: ManifestEntry): string | undefined =>
    digests.get(entry.type === 'link' ? entry.target : entry.name);
  return entries
    .flatMap((entry) =>
      entry.type === 'file' || entry.type === 'link'
        ? [checksumLine({ name: entry.name, digest: digestOf(entry) ?? '' })]
        : [],
    )
    .join('');
}

/** The tree and the directories above what is in it, in order of names: directories before what they hold. */
function withDirectories(tree: Readonly<Record<string, MadeEntry>>): [string, MadeEntry][] {
  const all = new Map<string, MadeEntry>(Object.entries(tree));
  for (const [name, made] of Object.entries(tree)) {
    if (typeof made === 'object' && 'missing' in made) continue;
    for (let above = posix.dirname(name); above !== '.' && !all.has(above); above = posix.dirname(above))
      all.set(above, { directory: true });
  }
  return [...all].sort(([one], [other]) => (one < other ? -1 : 1));
}

function mtimeOf(place: string): bigint {
  return lstatSync(place, { bigint: true }).mtimeNs;
}
