import { TransferError } from '../errors';
import { printable } from '../name';
import type { NewFile, StagedFile, Store } from './store';

export interface Limits {
  /** The largest single file taken, in bytes. */
  readonly maxSize?: number | undefined;
  /** How many bytes may be kept in all. */
  readonly quota?: number | undefined;
  /** How many of them are used already. */
  readonly used?: number | undefined;
}

/**
 * A store that takes no more than `limits` allow: rejects with `size` or `quota` before anything is staged. What is staged
 * counts as used until it is discarded, so that files received at the same time cannot exceed the quota together.
 */
export function limitStore(store: Store, limits: Limits): Store {
  const { maxSize = Infinity, quota = Infinity } = limits;
  let used = limits.used ?? 0;
  return {
    verified: store.verified,
    close: () => store.close(),
    async stage(file: NewFile): Promise<StagedFile> {
      if (file.size > maxSize) throw new TransferError('size', `${printable(file.name)} has ${String(file.size)} bytes; this receiver takes ${String(maxSize)} at most.`);
      if (used + file.size > quota) {
        throw new TransferError('quota', `${printable(file.name)} has ${String(file.size)} bytes, and ${String(Math.max(0, quota - used))} are left of this receiver's quota.`);
      }
      used += file.size;
      let counted = true;
      const uncount = (): void => {
        if (counted) used -= file.size;
        counted = false;
      };
      const staged = await store.stage(file).catch((error: unknown) => {
        uncount();
        throw error;
      });
      return {
        write: (fill) => staged.write(fill),
        verify: (onProgress) => staged.verify(onProgress),
        async commit() {
          try {
            const committed = await staged.commit();
            if (committed.outcome === 'identical') uncount();
            counted = false;
            return committed;
          } catch (error) {
            uncount();
            throw error;
          }
        },
        async discard() {
          uncount();
          await staged.discard();
        },
      };
    },
  };
}
