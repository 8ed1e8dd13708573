import path from 'node:path';
import { OrderWorker } from '../threads/order-worker';
import type { Located } from '../threads/walker';
import type { SmallSource } from './small-source';

/** The thread that reads small source files for a sender on the plain wire; started when first needed. */
export class SmallSourceReader {
  private worker: OrderWorker<Located, SmallSource> | undefined;

  /** See `readSmallSource`. Rejects with the operating system's errors. */
  read(source: Located): Promise<SmallSource> {
    this.worker ??= new OrderWorker(path.join(__dirname, 'small-source-reader.worker'), undefined);
    return this.worker.ask(source);
  }

  async close(): Promise<void> {
    await this.worker?.close();
  }
}
