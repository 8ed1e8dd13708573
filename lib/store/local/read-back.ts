import type { FileHandle } from 'node:fs/promises';
import type { DigestPool, FileDigest } from '../../digest/digest-pool';
import type { Digests } from '../../progress';

export interface ReadBackSource {
  readonly handle: FileHandle;
  readonly pool: DigestPool;
  readonly algorithm: keyof Digests;
  /** Called when the disk did not return what was asked for. */
  readonly failed: (error: unknown) => void;
}

/**
 * The reading back of a file that is still being written: it follows as far as it may, and begins anew after `stop`.
 */
export class ReadBack {
  private reading: FileDigest | undefined;
  /** Readings whose threads may still use the descriptor. */
  private readonly settling = new Set<Promise<unknown>>();
  private moved: () => void = () => undefined;
  /** The next move, awaited by all: one promise for each connection. */
  private next: Promise<void> | undefined;
  /** Bytes read back so far. */
  done = 0;
  /** Told of the bytes read back so far, now and then. */
  onProgress: ((done: number) => void) | undefined;

  constructor(private readonly source: ReadBackSource) {}

  /** Whether it is under way. */
  get running(): boolean {
    return this.reading !== undefined;
  }

  /** Lets it go on, or begin, up to `upTo` of the file's `size` bytes. */
  follow(upTo: number, size: number): void {
    if (this.reading) this.reading.advance(upTo);
    else this.reading = this.start(upTo, size);
  }

  /** Resolves when it has read further, or has ended. */
  progress(): Promise<void> {
    this.next ??= new Promise((resolve) => {
      this.moved = resolve;
    });
    return this.next;
  }

  /** The digest of all `size` bytes, when it has read them. Rejects with what the system says. */
  async finish(size: number): Promise<Digests> {
    this.follow(size, size);
    try {
      return (await this.reading?.digests) ?? {};
    } finally {
      this.stop();
    }
  }

  /** Gives up what it has read. */
  stop(): void {
    this.reading?.cancel();
    this.reading = undefined;
    this.wake();
  }

  /** Wakes all that wait for progress. */
  wake(): void {
    this.next = undefined;
    this.moved();
  }

  /** Counts `other` among the uses of the descriptor. */
  async using<T>(other: Promise<T>): Promise<T> {
    this.settling.add(other);
    return other.finally(() => this.settling.delete(other));
  }

  /** Resolves when nothing uses the descriptor any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.settling);
  }

  private start(upTo: number, size: number): FileDigest {
    const { handle, pool, algorithm, failed } = this.source;
    this.done = 0;
    const reading = pool.digestFile({
      fd: handle.fd,
      size,
      upTo,
      algorithms: [algorithm],
      onProgress: (done) => {
        if (this.reading !== reading) return;
        this.done = done;
        this.wake();
        this.onProgress?.(done);
      },
    });
    const settled: Promise<unknown> = reading.digests
      .catch((error: unknown) => {
        if (this.reading === reading) failed(error);
      })
      .finally(() => this.settling.delete(settled));
    this.settling.add(settled);
    return reading;
  }
}
