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

/** What a receiver may still keep. What was taken counts as used until it is given back. */
export class Allowance {
  private used: number;

  constructor(private readonly limits: Limits) {
    this.used = limits.used ?? 0;
  }

  /** Takes room for a file. Throws `size` or `quota`. What comes back gives the room back, once. */
  take({ name, size }: { readonly name: string; readonly size: number }): () => void {
    const { maxSize = Infinity, quota = Infinity } = this.limits;
    if (size > maxSize) throw new TransferError('size', `${printable(name)} has ${String(size)} bytes; this receiver takes ${String(maxSize)} at most.`);
    if (this.used + size > quota) {
      throw new TransferError('quota', `${printable(name)} has ${String(size)} bytes, and ${String(Math.max(0, quota - this.used))} are left of this receiver's quota.`);
    }
    this.used += size;
    let counted = true;
    return () => {
      if (counted) this.used -= size;
      counted = false;
    };
  }
}

/**
 * A store that takes no more than `allowance` has: rejects with `size` or `quota` before anything is staged. What is staged
 * counts as used until it is discarded, so that files received at the same time cannot exceed the quota together.
 */
export function limitStore(store: Store, allowance: Allowance): Store {
  return {
    verified: store.verified,
    close: () => store.close(),
    async stage(file: NewFile): Promise<StagedFile> {
      const giveBack = allowance.take(file);
      const staged = await store.stage(file).catch((error: unknown) => {
        giveBack();
        throw error;
      });
      let kept = false;
      return {
        write: (fill) => staged.write(fill),
        verify: (onProgress) => staged.verify(onProgress),
        async commit() {
          try {
            const committed = await staged.commit();
            kept = committed.outcome !== 'identical';
            return committed;
          } finally {
            if (!kept) giveBack();
          }
        },
        async discard() {
          if (!kept) giveBack();
          await staged.discard();
        },
      };
    },
  };
}
