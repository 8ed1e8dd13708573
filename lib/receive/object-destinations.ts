// The object store of one receiver, and the parts of it that keys have for themselves.
import type { Authorization } from '../access/authorized';
import { TransferError } from '../errors';
import { Allowance, type Limits, Usage } from '../store/limited';
import { ObjectStore, type ObjectStoreOptions, prefixOfKey } from '../store/object/object-store';
import { ignored } from '../trace';
import type { Destination, OpenDestinations } from './destinations';

/** An object store that is open, and how much is kept in it. */
class OpenObjects {
  private readonly usage: Usage;

  constructor(readonly store: ObjectStore) {
    this.usage = new Usage(() => store.kept());
  }

  /** What others bring is counted when there is no room left, and not at once: there may be any number of receivers. */
  async destination(limits: Limits): Promise<Destination> {
    if (limits.quota !== undefined || limits.quotaFiles !== undefined) await this.usage.firstCount();
    return { directory: this.store.url, store: this.store, allowance: new Allowance(limits, this.usage) };
  }
}

/** As `Destinations`, in an object store: a key whose directory is `s3://BUCKET/PREFIX` has that prefix for itself. */
export class ObjectDestinations implements OpenDestinations {
  private readonly opened = new Map<string, Promise<OpenObjects>>();
  private closed = false;

  private constructor(
    private readonly options: ObjectStoreOptions,
    private readonly limits: Limits,
    readonly own: Destination,
    objects: OpenObjects,
  ) {
    this.opened.set(options.prefix, Promise.resolve(objects));
  }

  get directory(): string {
    return this.own.directory;
  }

  /** Rejects with `directory` where the store cannot be used. */
  static async open(options: ObjectStoreOptions, { maxSize, quota, quotaFiles }: Limits): Promise<ObjectDestinations> {
    const objects = new OpenObjects(await ObjectStore.open(options));
    const limits = { maxSize, quota, quotaFiles };
    return new ObjectDestinations(options, limits, await objects.destination(limits), objects);
  }

  async of(authorization: Authorization | undefined): Promise<Destination> {
    const { prefix: own } = this.options;
    const { directory, quota } = authorization ?? {};
    const prefix = directory === undefined ? own : prefixOfKey(this.options, directory);
    const objects = await this.objects(prefix);
    const quotas = [quota, prefix === own ? this.limits.quota : undefined].filter((each) => each !== undefined);
    const { maxSize, quotaFiles } = this.limits;
    return objects.destination({ maxSize, quotaFiles, quota: quotas.length > 0 ? Math.min(...quotas) : undefined });
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const opened of await Promise.allSettled(this.opened.values()))
      if (opened.status === 'fulfilled')
        await opened.value.store.close().catch(ignored('what is unfinished is found by the next receiver'));
  }

  private objects(prefix: string): Promise<OpenObjects> {
    const known = this.opened.get(prefix);
    if (known) return known;
    if (this.closed) return Promise.reject(new TransferError('interrupted', 'The receiver was stopped.'));
    const opening = ObjectStore.open({ ...this.options, prefix }).then((store) => new OpenObjects(store));
    this.opened.set(prefix, opening);
    // One that cannot be opened is tried again by the next who comes; whoever waits for it is told.
    opening.catch(() => this.opened.delete(prefix));
    return opening;
  }
}
