import type { Stats } from 'node:fs';
import { opendir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Authorization } from '../access/authorized';
import { errnoOf, TransferError } from '../errors';
import { isObjectUrl } from '../object-address';
import { Allowance, type KeptFiles, type Limits, unfinishedKey, Usage } from '../store/limited';
import { LocalStore } from '../store/local/local';
import type { StoreRoot } from '../store/session-store';
import { partialName } from '../store/local/partial-files';
import { BackupNames, snapshotsName, stagedName } from './backup-names';
import { stagingName } from '../store/local/receive-directory';
import type { IfExists } from '../store/store';
import { WholeFiles } from '../store/whole-files';
import { smallFile } from '../wire/segment';
import { ignored } from '../trace';

/** A directory that files are received into, and what may still be kept there. */
export interface Destination {
  /** Its path. */
  readonly directory: string;
  readonly store: StoreRoot;
  readonly allowance: Allowance;
  /** The names that belong to backups. */
  readonly backups?: BackupNames;
  /**
   * Stores whole files of the plain wire, for all connections; opened for the first of them, whose `ifExists` applies
   * to all. Rejects with `disk`. Absent where the plain wire stores nothing.
   */
  wholeFiles?(ifExists: IfExists): Promise<WholeFiles>;
}

/** Where the files of one receiver go. */
export interface OpenDestinations {
  /** The receiver's own directory, as a path or a URL. */
  readonly directory: string;
  /** The receiver's own directory, as it was opened first. */
  readonly own: Destination;
  /**
   * Where the files of a key go, and what it may keep there; undefined stands for the ticket. Rejects with `directory`.
   */
  of(authorization: Authorization | undefined): Promise<Destination>;
  close(): Promise<void>;
}

/** The peer id of senders on the plain wire, which have no key. */
const plainPeer = 'plain';

/** A directory that is open, and how much is kept in it. */
class OpenDestination {
  readonly backups: BackupNames;
  private readonly usage: Usage;
  private plain: Promise<WholeFiles> | undefined;

  private constructor(
    directory: string,
    readonly store: LocalStore,
  ) {
    this.usage = new Usage(() => keptIn(directory));
    this.backups = new BackupNames(directory, store.foldsNames);
  }

  static async open(directory: string): Promise<OpenDestination> {
    return new OpenDestination(directory, await LocalStore.open(directory));
  }

  /** What may be kept here under these limits, which count everything that is here, whoever brought it. */
  async allowance(limits: Limits): Promise<Allowance> {
    if (limits.quota !== undefined || limits.quotaFiles !== undefined) await this.usage.firstCount();
    return new Allowance(limits, this.usage);
  }

  /** See `Destination`. What fails is tried again for the next connection. */
  wholeFiles(ifExists: IfExists): Promise<WholeFiles> {
    this.plain ??= this.openPlain(ifExists).catch((error: unknown) => {
      this.plain = undefined;
      throw error;
    });
    return this.plain;
  }

  /** As one destination with these limits. */
  async with(directory: string, limits: Limits): Promise<Destination> {
    const { store, backups } = this;
    const allowance = await this.allowance(limits);
    return { directory, store, allowance, backups, wholeFiles: (ifExists) => this.wholeFiles(ifExists) };
  }

  async close(): Promise<void> {
    const plain = await this.plain?.catch(ignored('whoever wanted to use it was told'));
    await plain?.close();
    await this.store.close();
  }

  private async openPlain(ifExists: IfExists): Promise<WholeFiles> {
    const session = await this.store.session({ algorithm: 'md5', peer: plainPeer, ifExists, inOrder: true });
    return new WholeFiles(session, ifExists);
  }
}

/**
 * The directories of one receiver: its own, and those of the keys that have one. Each is opened once, and locked until
 * `close`; one that was removed or moved away meanwhile is opened anew for the next who comes.
 */
export class Destinations implements OpenDestinations {
  private readonly opened = new Map<string, Promise<OpenDestination>>();
  /** Directories that were removed or moved after they were opened: sessions that use them are served until `close`. */
  private readonly retired: OpenDestination[] = [];
  private closed = false;

  private constructor(
    readonly directory: string,
    private readonly limits: Limits,
    /** The receiver's own directory, as it was opened first. */
    readonly own: Destination,
    destination: OpenDestination,
  ) {
    this.opened.set(path.resolve(directory), Promise.resolve(destination));
  }

  /** Opens the receiver's own directory. Rejects with `directory` when it is unsafe or in use. */
  static async open(directory: string, { maxSize, quota, quotaFiles }: Limits): Promise<Destinations> {
    const destination = await OpenDestination.open(directory);
    try {
      const limits = { maxSize, quota, quotaFiles };
      return new Destinations(directory, limits, await destination.with(directory, limits), destination);
    } catch (error) {
      await destination.close();
      throw error;
    }
  }

  /**
   * Where the files of a key go, and what it may keep there; undefined stands for the ticket. The quota of a key is for
   * its directory as a whole, like the receiver's, whose number of files is for each directory. Rejects with
   * `directory`.
   */
  async of(authorization: Authorization | undefined): Promise<Destination> {
    if (authorization?.directory !== undefined && isObjectUrl(authorization.directory))
      throw new TransferError('directory', 'This receiver stores into a directory, and this key into an object store.');
    const own = path.resolve(this.directory);
    const where = path.resolve(own, authorization?.directory ?? '.');
    const { quota } = authorization ?? {};
    const destination = await this.destination(where);
    const quotas = [quota, where === own ? this.limits.quota : undefined].filter((each) => each !== undefined);
    const { maxSize, quotaFiles } = this.limits;
    const limits = { maxSize, quotaFiles, quota: quotas.length > 0 ? Math.min(...quotas) : undefined };
    return destination.with(where, limits);
  }

  async close(): Promise<void> {
    this.closed = true;
    const opened = await Promise.allSettled(this.opened.values());
    for (const destination of opened) if (destination.status === 'fulfilled') await destination.value.close();
    for (const destination of this.retired)
      await destination.close().catch(ignored('what was removed needs not be left as it was'));
  }

  private async destination(where: string): Promise<OpenDestination> {
    const known = this.opened.get(where);
    const destination = await known;
    if (destination === undefined || this.closed || (await destination.store.isUnmoved()))
      return destination ?? this.open(where);
    // A concurrent caller that found the same opens it once, together with us.
    if (this.opened.get(where) === known) {
      this.retired.push(destination);
      const opening = destination.store.retire().then(() => OpenDestination.open(where));
      this.remember(where, opening);
    }
    return this.open(where);
  }

  private open(where: string): Promise<OpenDestination> {
    const known = this.opened.get(where);
    if (known) return known;
    if (this.closed) return Promise.reject(new TransferError('interrupted', 'The receiver was stopped.'));
    const opening = OpenDestination.open(where);
    this.remember(where, opening);
    return opening;
  }

  /** A failed opening is forgotten, so that the next connection tries again. */
  private remember(where: string, opening: Promise<OpenDestination>): void {
    this.opened.set(where, opening);
    opening.catch(() => this.opened.delete(where)); // whoever waits for it is told
  }
}

/** Of stat(2), in bytes. */
const blockSize = 512;

/**
 * What is in a directory: what is written of all regular files, each name of them for itself, and all other names. Of
 * our own directory that are unfinished files and what is staged for snapshots.
 */
async function keptIn(directory: string): Promise<KeptFiles> {
  const found = { bytes: 0, names: 0, unfinished: new Map<string, number>() };
  await addTree(directory, found);
  return found;
}

type FoundUsage = { -readonly [Key in keyof KeptFiles]: KeptFiles[Key] } & { readonly unfinished: Map<string, number> };

async function addTree(pathname: string, found: FoundUsage): Promise<void> {
  for await (const entry of await opendir(pathname, { recursive: false })) {
    const name = path.join(pathname, entry.name);
    if (entry.isDirectory() && entry.name === stagingName) {
      await unlessGone(addUnfinished(path.join(name, partialName), pathname, found));
      await unlessGone(addStaged(path.join(name, snapshotsName), found));
      continue;
    }
    found.names++;
    if (entry.isDirectory()) await unlessGone(addTree(name, found));
    else if (entry.isFile()) await unlessGone(stat(name).then((stats) => void (found.bytes += writtenOf(stats))));
  }
}

async function addStaged(pathname: string, found: FoundUsage): Promise<void> {
  for await (const entry of await opendir(pathname)) {
    const own = path.join(pathname, entry.name);
    found.names++;
    await unlessGone(addUnfinished(path.join(own, partialName), path.join(own, stagedName), found));
    await unlessGone(addTree(path.join(own, stagedName), found));
  }
}

async function addUnfinished(pathname: string, receiving: string, found: FoundUsage): Promise<void> {
  for await (const entry of await opendir(pathname)) {
    if (!entry.isFile() || entry.name.endsWith('.journal')) continue;
    const written = blockSize * (await stat(path.join(pathname, entry.name))).blocks;
    found.names++;
    found.bytes += written;
    found.unfinished.set(unfinishedKey(receiving, entry.name), written);
  }
}

/** What a whole file takes: all but its holes. Of a small one that lies beside its inode no block is told. */
function writtenOf({ size, blocks }: Pick<Stats, 'size' | 'blocks'>): number {
  return size <= smallFile ? size : Math.min(size, blocks * blockSize);
}

/** What was removed since it was listed takes no room. */
async function unlessGone(adding: Promise<void>): Promise<void> {
  try {
    await adding;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
