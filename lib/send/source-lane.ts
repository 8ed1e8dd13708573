import path from 'node:path';
import { Lane } from '../threads/lane';
import type { SmallSource } from './small-source';

/** The thread that reads small source files for a sender on the plain wire; started when first needed. */
export class SourceLane {
  private lane: Lane<string, SmallSource> | undefined;

  /** See `readSmallSource`. Rejects with the operating system's errors. */
  read(file: string): Promise<SmallSource> {
    this.lane ??= new Lane(path.join(__dirname, 'source-lane.worker'), undefined);
    return this.lane.ask(file);
  }

  async close(): Promise<void> {
    await this.lane?.close();
  }
}
