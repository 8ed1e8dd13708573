import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../errors';
import { OrderWorker } from '../../threads/order-worker';
import { type Located, openLocated } from '../../threads/walker';
import type { BasisSegment } from '../../wire/basis';
import type { BasisOrder } from './basis.worker';
import { ignored } from '../../trace';

/** The thread that reads bases; it is started when first needed. */
export type BasisWorker = OrderWorker<BasisOrder, readonly BasisSegment[]>;

export function createBasisWorker(): BasisWorker {
  return new OrderWorker(path.join(__dirname, 'basis.worker'), undefined);
}

/**
 * A file that stands on this disk, of which one that arrives may have bytes. It is read and never changed; what goes
 * wrong with it is no failure of the arriving file: that is read back as a whole in the end, and what lacks is asked
 * for again.
 */
export class BasisFile {
  private readonly uses = new Set<Promise<unknown>>();

  private constructor(
    private readonly handle: FileHandle,
    private readonly worker: BasisWorker,
  ) {}

  /** Undefined where there is no regular file that may be read; never through a symbolic link. */
  static async open(located: Located, worker: BasisWorker): Promise<BasisFile | undefined> {
    try {
      const handle = await openLocated(located);
      if ((await handle.stat()).isFile()) return new BasisFile(handle, worker);
      await handle.close();
      return undefined;
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }

  /** What it reads as, to be compared with a file of `size` bytes; nothing where it cannot be read. */
  async segments(size: number, algorithm: BasisOrder['algorithm']): Promise<readonly BasisSegment[]> {
    return this.using(this.worker.ask({ fd: this.handle.fd, size, algorithm })).catch(() => []); // it is sent whole
  }

  /** Reads `bytes.length` bytes from `offset` on. What is not there, or cannot be read any more, is zeros. */
  async read(bytes: Uint8Array, offset: number): Promise<void> {
    await this.using(this.fill(bytes, offset));
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.uses);
    await this.handle.close();
  }

  /** What cannot be read is not there, and is zeros. */
  private async fill(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const read = await this.handle
        .read(bytes, done, bytes.length - done, offset + done)
        .catch(ignored('what the basis cannot give is sent'));
      const bytesRead = read?.bytesRead ?? 0;
      if (bytesRead === 0) bytes.fill(0, done);
      done += bytesRead > 0 ? bytesRead : bytes.length;
    }
  }

  private async using<T>(use: Promise<T>): Promise<T> {
    this.uses.add(use);
    return use.finally(() => this.uses.delete(use));
  }
}
