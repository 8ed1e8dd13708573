/** What O_DIRECT asks of addresses, offsets and lengths; the largest logical sector in use. */
export const alignment = 4096;

const wasmPage = 65536;

// Part of every JavaScript engine of ours, yet TypeScript knows it only together with the browser's library.
declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number; shared?: boolean }) => {
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
  };
};

/** Page-aligned memory on loan. Give it back exactly once. */
export interface Lease {
  readonly bytes: Uint8Array;
  release(): void;
}

/**
 * A fixed number of equally long, page-aligned pieces of memory, lent in the order of asking. A `Buffer` is not
 * aligned; `WebAssembly.Memory` is mapped by pages and costs nothing resident until it is touched.
 */
export class AlignedMemory {
  private readonly free: Lease[] = [];
  private readonly waiting: ((lease: Lease) => void)[] = [];

  /** All of it; another thread can use it too if it is `shared`. */
  readonly buffer: ArrayBuffer | SharedArrayBuffer;

  /** `size` in bytes, a multiple of 4096. */
  constructor(size: number, count: number, shared = false) {
    const pages = Math.ceil((size * count) / wasmPage);
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
    this.buffer = buffer;
    for (let at = count - 1; at >= 0; at--) {
      const lease = { bytes: new Uint8Array(buffer, at * size, size), release: () => this.giveBack(lease) };
      this.free.push(lease);
    }
  }

  /** Whether someone waits for memory that others hold. */
  get contended(): boolean {
    return this.waiting.length > 0;
  }

  /** Waits until a piece is free. What it contains is left over from earlier use. */
  lease(): Promise<Lease> {
    const lease = this.free.pop();
    return lease ? Promise.resolve(lease) : new Promise((resolve) => this.waiting.push(resolve));
  }

  /** A piece if one is free at this moment. */
  tryLease(): Lease | undefined {
    return this.free.pop();
  }

  private giveBack(lease: Lease): void {
    const next = this.waiting.shift();
    if (next) next(lease);
    else this.free.push(lease);
  }
}
