import { constants } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import { Directory } from '../../store/local/directory';
import { isBarred, type Located, openLocated, walking } from '../../threads/walker';
import { longestManifestHead, type Manifest, type ManifestHead, manifestName, type ManifestOutline, parseManifest, parseManifestHead, parseManifestOutline, parseOtherFiles } from './manifest';
import { isSnapshotId, type SnapshotId } from './snapshot-id';

/** The name that points to the newest snapshot of a backup. */
export const latestName = 'latest';
const { O_NONBLOCK, O_RDONLY } = constants;

/** One complete snapshot on this machine. */
export interface Snapshot {
  readonly name: EntryName;
  readonly id: SnapshotId;
  /** The path of its directory, for people: to reach what is in it, walk from `directory` to `NAME/ID/…`. */
  readonly place: string;
  /** The path of the receive directory. */
  readonly directory: string;
  /** The beginning of its manifest, or why that cannot be believed. */
  readonly head: ManifestHead | TransferError;
}

/** The snapshots that stand in a receive directory. Reads only, and takes no lock: what has a final name is complete. */
export class Catalog {
  /** `directory` is the path of the receive directory. */
  constructor(readonly directory: string) {}

  /** The backups that have a snapshot, sorted. Rejects with `directory` where the receive directory cannot be read. */
  async names(): Promise<EntryName[]> {
    const entries = await readdir(this.directory, { withFileTypes: true }).catch((error: unknown) => {
      throw asTransferError(error, 'directory', `${printable(this.directory)} cannot be read`);
    });
    const names: EntryName[] = [];
    for (const entry of entries) {
      const name = entry.isDirectory() ? backupNameOf(entry.name) : undefined;
      if (name === undefined) continue;
      // A directory that is closed to us (lost+found) is no backup that we made.
      const ids = await this.idsOf(name).catch((error: TransferError) => {
        if (errnoOf(error.cause) === 'EACCES') return [];
        throw error;
      });
      if (ids.length > 0) names.push(name);
    }
    return names.sort();
  }

  /** The snapshots of a backup, the oldest first: by their numbers, and where a manifest is damaged by their ids. None is an empty list. Rejects with `directory` where they cannot be listed. */
  async snapshots(name: EntryName): Promise<Snapshot[]> {
    const sorted: Snapshot[] = [];
    for (const id of (await this.idsOf(name)).sort()) {
      const snapshot = await this.look(name, id);
      if (snapshot) sorted.push(snapshot);
    }
    const numberOf = ({ head }: Snapshot): number | undefined => (head instanceof TransferError ? undefined : head.number);
    // Ids follow the clock, and clocks go back; those without a number stay beside their neighbours.
    let last = 0;
    const keyed = sorted.map((snapshot) => ({ snapshot, key: (last = numberOf(snapshot) ?? last) }));
    return keyed.sort((one, other) => one.key - other.key).map(({ snapshot }) => snapshot);
  }

  /** The snapshot `NAME/ID` or `NAME/latest`. Rejects with `usage` where there is none. */
  async find(text: string): Promise<Snapshot> {
    const [first = '', second = '', ...others] = text.replace(/\/$/, '').split('/');
    const name = backupNameOf(first);
    if (name === undefined || second === '' || others.length > 0) {
      throw new TransferError('usage', printable(`"${text}" names no snapshot.`), { hint: 'It is NAME/2026-11-20T101233Z or NAME/latest; sendall snapshots lists them.' });
    }
    const all = await this.snapshots(name);
    const found = second === latestName ? all.filter(({ head }) => !(head instanceof TransferError)).at(-1) : all.find(({ id }) => id === second);
    if (!found) throw new TransferError('usage', printable(`There is no snapshot ${text}.`), { hint: 'sendall snapshots lists them.' });
    return found;
  }

  /** All that a snapshot says of itself. Rejects with `mismatch` where its manifest is missing, cut off or changed. */
  async manifest(snapshot: Snapshot): Promise<Manifest> {
    return ofItself(snapshot, parseManifest(await readOwn(within(snapshot, manifestName))));
  }

  /** The same without the entries, which takes a fraction of the time. */
  async outline(snapshot: Snapshot): Promise<ManifestOutline> {
    return ofItself(snapshot, parseManifestOutline(await readOwn(within(snapshot, manifestName))));
  }

  /** Its files whose digest is not `known`; see `parseOtherFiles`. Rejects like `manifest`. */
  async otherFiles(snapshot: Snapshot, known: (digest: string) => boolean): Promise<ReturnType<typeof parseOtherFiles>['files']> {
    return ofItself(snapshot, parseOtherFiles(await readOwn(within(snapshot, manifestName)), known)).files;
  }

  /** Undefined for one that was pruned in the meantime. */
  private async look(name: EntryName, id: SnapshotId): Promise<Snapshot | undefined> {
    const { directory } = this;
    const place = path.join(directory, name, id);
    try {
      const head = parseManifestHead(await readOwn(within({ directory, name, id }, manifestName), longestManifestHead));
      return { name, id, place, directory, head: ofItself({ name, id }, { head }).head };
    } catch (error) {
      const head = asTransferError(error, 'mismatch', `The manifest of ${name}/${id} cannot be read`);
      return isDirectory({ path: directory, below: `${name}/${id}` }) ? { name, id, place, directory, head } : undefined;
    }
  }

  private async idsOf(name: EntryName): Promise<SnapshotId[]> {
    try {
      // Not through a symbolic link: what is elsewhere is not a snapshot of this directory.
      const directory = await Directory.open(path.join(this.directory, name));
      try {
        const entries = await readdir(directory.at('.'), { withFileTypes: true });
        return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name).filter(isSnapshotId);
      } finally {
        await directory.close();
      }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || isBarred(error)) return [];
      throw asTransferError(error, 'directory', `${printable(name)} cannot be read`);
    }
  }
}

function ofItself<Read extends Pick<ManifestOutline, 'head'>>({ name, id }: Pick<Snapshot, 'name' | 'id'>, read: Read): Read {
  if (read.head.name === name && read.head.id === id) return read;
  throw new TransferError('mismatch', `The manifest of ${name}/${id} is that of another snapshot.`);
}

/** The name of a backup: one component that may be stored; undefined for other text. */
export function backupNameOf(text: string): EntryName | undefined {
  try {
    return text.includes('/') ? undefined : parseEntryName(text);
  } catch {
    return undefined;
  }
}

/** Where something of a snapshot is. */
export function within({ directory, name, id }: Pick<Snapshot, 'directory' | 'name' | 'id'>, below: string): Located & { readonly below: string } {
  return { path: directory, below: `${name}/${id}/${below}` };
}

function isDirectory(located: Located): boolean {
  try {
    return walking((walker) => walker.look(located)?.isDirectory() === true);
  } catch (error) {
    if (isBarred(error)) return false;
    throw error;
  }
}

/** A regular file that is ours to read, its beginning only where `most` says so. */
async function readOwn(located: Located, most = Infinity): Promise<Uint8Array> {
  try {
    const file = await openLocated(located, O_RDONLY | O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new TransferError('mismatch', 'A manifest is not a regular file.');
      if (most === Infinity) return await file.readFile();
      const { buffer, bytesRead } = await file.read({ buffer: new Uint8Array(Math.min(most, stats.size)) });
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asTransferError(error, 'mismatch', 'A manifest cannot be read');
  }
}
