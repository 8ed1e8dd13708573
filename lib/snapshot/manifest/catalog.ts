import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, TransferError } from '../../errors';
import type { EntryName } from '../../name';
import { isBarred, type Located, openLocated, walking } from '../../threads/walker';
import {
  type DecodedManifest,
  decodeManifest,
  longestManifestHead,
  manifestName,
  outlineDecoder,
  parseManifestHead,
} from './manifest';
import { isBeingRemoved, readRegister, registeredNames, type RegisteredSnapshot } from '../register/register';
import { unregisteredHint } from './foreign';
import { ofItself, type OwnedSnapshots, type Snapshot, SnapshotCatalog } from './snapshot-catalog';

export { asRegistered, backupNameOf, latestName, type Snapshot } from './snapshot-catalog';

const pieceSize = 256 * 1024;

/**
 * The snapshots that this receiver has committed in a receive directory, as its register names them. Reads only, and
 * takes no lock: what has a final name is complete.
 */
export class Catalog extends SnapshotCatalog {
  /** `directory` is the path of the receive directory. */
  constructor(readonly directory: string) {
    super();
  }

  /**
   * The backups that have a snapshot, sorted. Rejects with `directory` where the receive directory or its register
   * cannot be read.
   */
  async names(): Promise<EntryName[]> {
    const names: EntryName[] = [];
    for (const name of await registeredNames(this.directory)) {
      const isEmpty = await this.registered(name).then(
        (entries) => entries.length === 0,
        () => false, // told of by whoever reads it
      );
      if (!isEmpty) names.push(name);
    }
    return names;
  }

  /**
   * The snapshots of a backup by their numbers, the oldest first. None is an empty list. Rejects with `mismatch` where
   * the register is damaged, with `directory` where it cannot be read.
   */
  async snapshots(name: EntryName): Promise<Snapshot[]> {
    return this.lookAt(name, await this.registered(name));
  }

  async owned(name: EntryName): Promise<OwnedSnapshots> {
    const register = await readRegister(this.directory, name);
    return { owner: register?.owner, snapshots: await this.lookAt(name, register?.snapshots ?? []) };
  }

  protected hint(name: string): Promise<string | undefined> {
    return unregisteredHint(this.directory, name);
  }

  protected bytesOf(snapshot: Snapshot): AsyncIterable<Uint8Array> {
    return piecesOf(within(snapshot, manifestName), snapshot.entry.size);
  }

  private async lookAt(name: EntryName, entries: readonly RegisteredSnapshot[]): Promise<Snapshot[]> {
    const found: Snapshot[] = [];
    for (const entry of entries) {
      const snapshot = await this.look(name, entry);
      if (snapshot) found.push(snapshot);
    }
    return found;
  }

  /** Undefined for one that was pruned in the meantime. */
  private async look(name: EntryName, entry: RegisteredSnapshot): Promise<Snapshot | undefined> {
    const { id, size } = entry;
    const { directory } = this;
    const found = { name, id, pathname: path.join(directory, name, id), directory, entry, lost: false };
    try {
      const head = parseManifestHead(
        await readOwn(within(found, manifestName), Math.min(size, longestManifestHead), size),
      );
      return { ...found, head: ofItself({ name, id }, { head }).head };
    } catch (error) {
      const damaged = asTransferError(error, 'mismatch', `The manifest of ${name}/${id} cannot be read`);
      if (isDirectory({ path: directory, below: `${name}/${id}` })) return { ...found, head: damaged };
      if (await isBeingRemoved(directory, name, id)) return undefined;
      // Registered when we looked, and removed as a whole since.
      if (!(await this.registered(name)).some((each) => each.id === id)) return undefined;
      const head = new TransferError('mismatch', `${name}/${id} was committed here, and its directory is gone.`, {
        hint: 'sendall adopt DIR takes it off the register.',
      });
      return { ...found, head, lost: true };
    }
  }

  private async registered(name: EntryName): Promise<readonly RegisteredSnapshot[]> {
    return (await readRegister(this.directory, name))?.snapshots ?? [];
  }
}

/**
 * What lies there as a snapshot of that name and id says of itself, whoever made it, and the size of its manifest in
 * bytes: for who may register it. Rejects with `mismatch` where that cannot be believed.
 */
export async function readUnregistered(
  called: Pick<Snapshot, 'directory' | 'name' | 'id'>,
): Promise<{ readonly outline: DecodedManifest; readonly size: number }> {
  const manifest = within(called, manifestName);
  const size = await sizeOf(manifest);
  return { outline: ofItself(called, await decodeManifest(piecesOf(manifest, size), outlineDecoder())), size };
}

/** Where something of a snapshot is. */
export function within(
  { directory, name, id }: Pick<Snapshot, 'directory' | 'name' | 'id'>,
  below: string,
): Located & { readonly below: string } {
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

/** A manifest of `size` bytes, a piece at a time. Rejects with `mismatch` for what is no regular file of that size. */
async function* piecesOf(located: Located, size: number): AsyncGenerator<Uint8Array> {
  const file = await opened(located, size);
  try {
    const buffer = new Uint8Array(pieceSize);
    for (let at = 0; at < size;) {
      const { bytesRead } = await file.read({ buffer, position: at });
      if (bytesRead === 0) return; // whoever decodes it finds it cut off
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  } catch (error) {
    throw asTransferError(error, 'mismatch', 'A manifest cannot be read');
  } finally {
    await file.close();
  }
}

/** The first `most` bytes of a manifest of `size` bytes. */
async function readOwn(located: Located, most: number, size: number): Promise<Uint8Array> {
  const file = await opened(located, size);
  try {
    const { buffer, bytesRead } = await file.read({ buffer: new Uint8Array(most) });
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function sizeOf(located: Located): Promise<number> {
  const file = await opened(located);
  try {
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}

/** A regular file that is ours to read, of that size if one is said. */
async function opened(located: Located, size?: number): Promise<FileHandle> {
  let file: FileHandle | undefined;
  try {
    file = await openLocated(located);
    const stats = await file.stat();
    if (!stats.isFile()) throw new TransferError('mismatch', 'A manifest is not a regular file.');
    if (size !== undefined && stats.size !== size)
      throw new TransferError(
        'mismatch',
        `A manifest has ${String(stats.size)} bytes, and had ${String(size)} when it was committed.`,
      );
    return file;
  } catch (error) {
    await file?.close();
    throw asTransferError(error, 'mismatch', 'A manifest cannot be read');
  }
}
