import { opendir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Authorization } from '../access/authorized';
import { errnoOf, TransferError } from '../errors';
import { Allowance, type Limits, type Usage } from '../store/limited';
import { LocalStore } from '../store/local/local';
import { BackupNames } from './backup-names';
import { stagingName } from '../store/local/receive-directory';
import { ignored } from '../trace';

/** A directory that files are received into, and what may still be kept there. */
export interface Home {
  /** Its path. */
  readonly directory: string;
  readonly store: LocalStore;
  readonly allowance: Allowance;
  /** The names that belong to backups. */
  readonly backups?: BackupNames;
}

/** A directory that is open, and how much is kept in it. */
class Place {
  readonly usage: Usage = { bytes: 0 };
  readonly backups: BackupNames;
  private counting: Promise<void> | undefined;

  private constructor(
    private readonly directory: string,
    readonly store: LocalStore,
  ) {
    this.backups = new BackupNames(directory, store.foldsNames);
  }

  static async open(directory: string): Promise<Place> {
    return new Place(directory, await LocalStore.open(directory));
  }

  /** What may be kept here under these limits, which count everything that is here, whoever brought it. */
  async allowance(limits: Limits): Promise<Allowance> {
    if (limits.quota !== undefined) await (this.counting ??= this.count());
    return new Allowance(limits, this.usage);
  }

  private async count(): Promise<void> {
    const { bytes } = this.usage;
    // What came before is among what is counted.
    this.usage.bytes += (await bytesIn(this.directory)) - bytes;
  }
}

/**
 * The directories of one receiver: its own, and those of the keys that have one. Each is opened once, and locked until
 * `close`; one that was removed or moved away meanwhile is opened anew for the next who comes.
 */
export class Homes {
  private readonly places = new Map<string, Promise<Place>>();
  /** Opened, and removed or moved since: what still uses them is served until `close`. */
  private readonly retired: Place[] = [];
  private closed = false;

  private constructor(
    private readonly directory: string,
    private readonly limits: Limits,
    /** The receiver's own, as it was opened first. */
    readonly own: Home,
    place: Place,
  ) {
    this.places.set(path.resolve(directory), Promise.resolve(place));
  }

  /** Opens the receiver's own directory. Rejects with `directory` when it is unsafe or in use. */
  static async open(directory: string, { maxSize, quota }: Limits): Promise<Homes> {
    const place = await Place.open(directory);
    try {
      const limits = { maxSize, quota };
      return new Homes(
        directory,
        limits,
        { directory, store: place.store, allowance: await place.allowance(limits), backups: place.backups },
        place,
      );
    } catch (error) {
      await place.store.close();
      throw error;
    }
  }

  /**
   * Where the files of a key go, and what it may keep there; undefined stands for the ticket. The quota of a key is for
   * its directory
   * as a whole, like the receiver's. Rejects with `directory`.
   */
  async of(authorization: Authorization | undefined): Promise<Home> {
    const own = path.resolve(this.directory);
    const where = path.resolve(own, authorization?.directory ?? '.');
    const { quota } = authorization ?? {};
    const place = await this.place(where);
    const quotas = [quota, where === own ? this.limits.quota : undefined].filter((each) => each !== undefined);
    const limits = { maxSize: this.limits.maxSize, quota: quotas.length > 0 ? Math.min(...quotas) : undefined };
    return { directory: where, store: place.store, allowance: await place.allowance(limits), backups: place.backups };
  }

  async close(): Promise<void> {
    this.closed = true;
    const opened = await Promise.allSettled(this.places.values());
    for (const place of opened) if (place.status === 'fulfilled') await place.value.store.close();
    for (const { store } of this.retired)
      await store.close().catch(ignored('what was removed needs not be left as it was'));
  }

  private async place(where: string): Promise<Place> {
    const known = this.places.get(where);
    const place = await known;
    if (place === undefined || this.closed || (await place.store.isInPlace())) return place ?? this.open(where);
    // Whoever else found that out at the same time opens the same one.
    if (this.places.get(where) === known) {
      this.retired.push(place);
      const opening = place.store.retire().then(() => Place.open(where));
      this.remember(where, opening);
    }
    return this.open(where);
  }

  private open(where: string): Promise<Place> {
    const known = this.places.get(where);
    if (known) return known;
    if (this.closed) return Promise.reject(new TransferError('interrupted', 'The receiver was stopped.'));
    const opening = Place.open(where);
    this.remember(where, opening);
    return opening;
  }

  /** One that cannot be opened is tried again by the next who comes. */
  private remember(where: string, opening: Promise<Place>): void {
    this.places.set(where, opening);
    opening.catch(() => this.places.delete(where));
  }
}

/** Sizes of all regular files below a directory, our staging directory left out. */
async function bytesIn(directory: string): Promise<number> {
  let sum = 0;
  for await (const entry of await opendir(directory, { recursive: false })) {
    const place = path.join(directory, entry.name);
    if (entry.isDirectory() && entry.name !== stagingName) sum += await unlessGone(bytesIn(place));
    else if (entry.isFile()) sum += await unlessGone(stat(place).then(({ size }) => size));
  }
  return sum;
}

/** What was removed since it was listed takes no room. */
async function unlessGone(size: Promise<number>): Promise<number> {
  try {
    return await size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
