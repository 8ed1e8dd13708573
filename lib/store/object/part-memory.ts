// The memory in which pieces become parts, for all files of one store.

/** Parts have this size, in bytes, unless a file would have more than 10,000 of them. */
export const usualPartSize = 8 * 1024 * 1024;
/** More pieces are taken only while fewer bytes than this are on their way to the store. */
const mostUnderWay = 32 * 1024 * 1024;
/** Buffers that are kept for the next part. */
const mostKept = 8;

/**
 * Buffers for parts. A part whose pieces are not all here holds one, however many there are, since only more pieces can
 * free it; it is the parts on their way that make pieces wait.
 */
export class PartMemory {
  private readonly free: Uint8Array[] = [];
  private readonly waiting: (() => void)[] = [];
  private underWay = 0;

  /** What it contains is left over from earlier use. */
  take(size: number): Uint8Array {
    if (size !== usualPartSize) return Buffer.allocUnsafeSlow(size);
    return this.free.pop() ?? Buffer.allocUnsafeSlow(size);
  }

  giveBack(memory: Uint8Array): void {
    if (memory.length === usualPartSize && this.free.length < mostKept) this.free.push(memory);
  }

  /** Bytes leave for the store. */
  leave(bytes: number): void {
    this.underWay += bytes;
  }

  /** They are there, or lost. */
  arrived(bytes: number): void {
    this.underWay -= bytes;
    if (this.underWay < mostUnderWay) for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Waits until more pieces may come: fewer bytes than `most` are on their way. */
  async room(most = mostUnderWay): Promise<void> {
    while (this.underWay >= most) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }
}
