import path from 'node:path';
import { Lane } from '../threads/lane';
import type { Located } from '../threads/walker';
import type { SmallSource } from './small-source';

/** The thread that reads small source files for a sender on the plain wire; started when first needed. */
export class SourceLane {
  private lane: Lane<Located, SmallSource> | undefined;

  /** See `readSmallSource`. Rejects with the operating system's errors. */
  read(source: Located): Promise<SmallSource> {
    this.lane ??= new Lane(path.join(__dirname, 'source-lane.worker'), undefined);
    return this.lane.ask(source);
  }

  async close(): Promise<void> {
    await this.lane?.close();
  }
}
