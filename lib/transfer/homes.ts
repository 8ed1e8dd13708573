import { opendir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Authorization } from '../access/authorized';
import { Allowance, type Limits } from '../store/limited';
import { LocalStore } from '../store/local';
import { stagingName } from '../store/receive-directory';

/** A directory that files are received into, and what may still be kept there. */
export interface Home {
  readonly store: LocalStore;
  readonly allowance: Allowance;
}

/** The directories of one receiver: its own, and those of the keys that have one. Each is opened once, and locked until `close`. */
export class Homes {
  private readonly homes = new Map<string, Promise<Home>>();

  private constructor(
    private readonly directory: string,
    private readonly maxSize: number | undefined,
    /** The receiver's own. */
    readonly own: Home,
  ) {
    this.homes.set(path.resolve(directory), Promise.resolve(own));
  }

  /** Opens the receiver's own directory. Rejects with `directory` when it is unsafe or in use. */
  static async open(directory: string, { maxSize, quota }: Limits): Promise<Homes> {
    return new Homes(directory, maxSize, await openHome(directory, { maxSize, quota }));
  }

  /** Where the files of a key go, with the quota of that key if it has a directory of its own; undefined stands for the ticket. */
  of(authorization: Authorization | undefined): Promise<Home> {
    const place = path.resolve(this.directory, authorization?.directory ?? '.');
    const known = this.homes.get(place);
    if (known) return known;
    const opening = openHome(place, { maxSize: this.maxSize, quota: authorization?.quota });
    this.homes.set(place, opening);
    opening.catch(() => this.homes.delete(place));
    return opening;
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.homes.values());
    for (const home of opened) if (home.status === 'fulfilled') await home.value.store.close();
  }
}

async function openHome(directory: string, limits: Limits): Promise<Home> {
  const used = limits.quota === undefined ? 0 : await bytesIn(directory);
  return { store: await LocalStore.open(directory), allowance: new Allowance({ ...limits, used }) };
}

/** Sizes of all regular files below a directory, our staging directory left out. */
async function bytesIn(directory: string): Promise<number> {
  let sum = 0;
  for await (const entry of await opendir(directory, { recursive: false })) {
    const place = path.join(directory, entry.name);
    if (entry.isDirectory() && entry.name !== stagingName) sum += await bytesIn(place);
    else if (entry.isFile()) sum += (await stat(place)).size;
  }
  return sum;
}
