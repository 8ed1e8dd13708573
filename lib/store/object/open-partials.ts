import { ignored } from '../../trace';
import { unfinishedName } from '../limited';
import type { OfferedFile, StoreUse } from '../session-store';
import type { ObjectGround } from './ground';
import { ObjectPartial } from './partial';

/** The unfinished files of one store that are open in this process. `take` rejects with `disk` or `space`. */
export class OpenPartials {
  private readonly open = new Map<string, ObjectPartial>();
  private readonly opening = new Map<string, Promise<unknown>>();

  constructor(private readonly ground: ObjectGround) {}

  /** One at a time for each file: an earlier use by the same peer is suspended first. */
  take(offer: OfferedFile, use: StoreUse): Promise<ObjectPartial> {
    const key = unfinishedName(use.peer, offer.name);
    const taking = (this.opening.get(key) ?? Promise.resolve()).then(async () => {
      await this.open.get(key)?.suspend();
      const partial: ObjectPartial = await ObjectPartial.open(offer, use, this.ground, () => {
        if (this.open.get(key) === partial) this.open.delete(key);
      });
      this.open.set(key, partial);
      return partial;
    });
    const settled: Promise<unknown> = taking.catch(ignored('whoever takes it is told')).finally(() => {
      if (this.opening.get(key) === settled) this.opening.delete(key);
    });
    this.opening.set(key, settled);
    return taking;
  }

  /** Suspends everything. */
  async close(): Promise<void> {
    await Promise.all(this.opening.values());
    await Promise.allSettled([...this.open.values()].map((partial) => partial.suspend()));
  }
}
