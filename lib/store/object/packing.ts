import type { DigestAlgorithm } from '../../digest/digest';
import type { TransferError } from '../../errors';
import type { ObjectGround } from './ground';
import { Pack } from './pack';
import { objectError } from './requests';
import type { ContentLocation } from './records';

/** Bytes of packs on their way, beyond which one more pack is the last: more make nothing faster, and take memory. */
const mostUnderWay = 12 * 1024 * 1024;

/** Files of which it is known now what became of them. */
export interface Packed<Item> {
  readonly items: readonly Item[];
  /** Where the bytes of each are; undefined where they do not read back as they should. */
  readonly contents: readonly (ContentLocation | undefined)[];
}

interface OpenPack<Item> {
  readonly pack: Pack;
  /** In the order of its files. */
  readonly items: Item[];
}

/**
 * Packs small files that come one after another, without a session. `room` and `end` reject with `disk` or `space` once
 * a pack could not be stored.
 */
export class Packing<Item> {
  private open: OpenPack<Item> | undefined;
  private readonly storing = new Set<Promise<void>>();
  private settled: Packed<Item>[] = [];
  private failure: TransferError | undefined;

  constructor(
    private readonly ground: ObjectGround,
    private readonly algorithm: DigestAlgorithm,
  ) {}

  /** Waits until more may come. Rejects with `disk` or `space` once a pack could not be stored. */
  async room(): Promise<void> {
    await this.ground.parts.room(mostUnderWay);
    if (this.failure) throw this.failure;
  }

  /** Takes a copy of the bytes of a file, which were digested by this process. */
  add(item: Item, bytes: Uint8Array): void {
    if (this.open?.pack.add(bytes) !== true) {
      this.ship();
      this.open = { pack: new Pack(this.ground, this.algorithm), items: [] };
      this.open.pack.add(bytes);
    }
    this.open.items.push(item);
  }

  /** Sends what is left, and waits for everything. Rejects as `room` does. */
  async end(): Promise<void> {
    this.ship();
    await this.stop();
    if (this.failure) throw this.failure;
  }

  /** Waits for what is on its way, and sends nothing more. */
  async stop(): Promise<void> {
    this.open?.pack.drop();
    this.open = undefined;
    await Promise.all(this.storing);
  }

  /** What is settled, since this was asked before. */
  taken(): readonly Packed<Item>[] {
    const { settled } = this;
    if (settled.length > 0) this.settled = [];
    return settled;
  }

  private ship(): void {
    if (!this.open) return;
    const storing: Promise<void> = this.store(this.open)
      .catch((error: unknown) => {
        this.failure ??= objectError(error, 'Small files could not be stored');
      })
      .finally(() => this.storing.delete(storing));
    this.storing.add(storing);
    this.open = undefined;
  }

  private async store({ pack, items }: OpenPack<Item>): Promise<void> {
    const damaged = await pack.store();
    pack.used = items.length - damaged.size;
    const { key } = pack;
    const contents = items.map((_, file) => (damaged.has(file) ? undefined : { key, offset: pack.startOf(file) }));
    this.settled.push({ items, contents });
    await pack.removeIfUnused();
  }
}
