import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import type { OfferedFile, Room, SessionStore } from './session-store';
import type { NewFile, StagedFile, Store } from './store';

export interface Limits {
  /** The largest single file taken, in bytes. */
  readonly maxSize?: number | undefined;
  /** How many bytes may be kept in all. */
  readonly quota?: number | undefined;
  /** How many of them are used already. */
  readonly used?: number | undefined;
}

/** Bytes that are kept in a directory, counted for everybody who may keep something there. */
export interface Usage {
  bytes: number;
}

/** What one file takes of an allowance. */
export interface Share {
  /** Makes it `size` bytes in all. Throws `size` or `quota`. */
  grow(size: number): void;
  /** Gives all of it back, once. */
  giveBack(): void;
}

/** What may still be kept. What was taken counts as used until it is given back. */
export class Allowance {
  constructor(
    private readonly limits: Limits,
    private readonly usage: Usage = { bytes: limits.used ?? 0 },
  ) {}

  /** Takes room for a file. Throws `size` or `quota`. */
  take({ name, size }: { readonly name: string; readonly size: number }): Share {
    const room = new TakenShare(name, this.limits, this.usage);
    room.grow(size);
    return room;
  }
}

/** One object without closures, since there is one for every file that is on its way. */
class TakenShare implements Share {
  private taken = 0;
  private counted = true;

  constructor(
    private readonly name: string,
    private readonly limits: Limits,
    private readonly usage: Usage,
  ) {}

  grow(size: number): void {
    if (!this.counted || size <= this.taken) return;
    this.check(size);
    this.usage.bytes += size - this.taken;
    this.taken = size;
  }

  giveBack(): void {
    if (this.counted) this.usage.bytes -= this.taken;
    this.counted = false;
  }

  private check(size: number): void {
    const { name, taken } = this;
    const { maxSize = Infinity, quota = Infinity } = this.limits;
    if (size > maxSize)
      throw new TransferError(
        'size',
        `${printable(name)} has ${String(size)} bytes; this receiver takes ${String(maxSize)} at most.`,
      );
    const left = quota - this.usage.bytes;
    if (size - taken > left) {
      throw new TransferError(
        'quota',
        `${printable(name)} has ${String(size)} bytes, and ${String(Math.max(0, left + taken))} are left of this receiver's quota.`,
      );
    }
  }
}

/**
 * A store that takes no more than `allowance` has: rejects with `size` or `quota` before anything is staged. What is
 * staged
 * counts as used until it is discarded, so that files received at the same time cannot exceed the quota together.
 */
export function limitStore(store: Store, allowance: Allowance): Store {
  return {
    verified: store.verified,
    close: () => store.close(),
    async stage(file: NewFile): Promise<StagedFile> {
      const room = allowance.take(file);
      const staged = await store.stage(file).catch((error: unknown) => {
        room.giveBack();
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
            if (!kept) room.giveBack();
          }
        },
        async discard() {
          if (!kept) room.giveBack();
          await staged.discard();
        },
      };
    },
  };
}

/**
 * A session's store whose files take no more than `allowance` has. What is admitted counts as used until its room is
 * settled, so that
 * files that arrive at the same time cannot exceed the quota together.
 */
export function limitSession(store: SessionStore, allowance: Allowance): SessionStore {
  return {
    algorithm: store.algorithm,
    verified: store.verified,
    batch: store.batch,
    lookup: (files) => store.lookup(files),
    read: (files) => store.read(files),
    check: (file, digests, onProgress) => store.check(file, digests, onProgress),
    fresh: (directories) => store.fresh(directories),
    owns: (names) => store.owns(names),
    partial: (entry, basis) => store.partial(entry, basis),
    release: () => store.release(),
    async admit(files) {
      const shares = files.map((file) => shareOf(file, allowance));
      const within = files.filter((_, at) => !(shares[at] instanceof TransferError));
      const rooms = await store.admit(within).catch((error: unknown) => {
        for (const share of shares) if (!(share instanceof TransferError)) share.giveBack();
        throw error;
      });
      let next = 0;
      return shares.map((share) => {
        if (share instanceof TransferError) return share;
        const room = rooms[next++];
        if (room && !(room instanceof TransferError)) return new LimitedRoom(room, share);
        share.giveBack();
        return room ?? new TransferError('unexpected', 'A store admitted fewer files than it was asked for.');
      });
    },
  };
}

function shareOf({ name, size = 0 }: OfferedFile, allowance: Allowance): Share | TransferError {
  try {
    return allowance.take({ name, size });
  } catch (error) {
    return asTransferError(error, 'quota', 'There is no room');
  }
}

class LimitedRoom implements Room {
  constructor(
    private readonly room: Room,
    private readonly share: Share,
  ) {}

  async grow(size: number): Promise<void> {
    this.share.grow(size);
    await this.room.grow(size);
  }

  wrote(bytes: number): void {
    this.room.wrote(bytes);
  }

  settle(kept: boolean): void {
    if (!kept) this.share.giveBack();
    this.room.settle(kept);
  }
}
