import path from 'node:path';
import { Lane } from '../threads/lane';
import type { SmallSource } from './small-source';

export type SourceOrder = { readonly order: 'read'; readonly path: string } | { readonly order: 'measure'; readonly paths: readonly string[] };
export type SourceAnswer = SmallSource | number;

/** The thread that looks at source files for a sender; started when first needed. */
export class SourceLane {
  private lane: Lane<SourceOrder, SourceAnswer> | undefined;

  /** See `readSmallSource`. Rejects with the operating system's errors. */
  async read(file: string): Promise<SmallSource> {
    return (await this.ask({ order: 'read', path: file })) as SmallSource;
  }

  /** The sizes of files added up; what cannot be looked at counts as nothing. */
  async measure(paths: readonly string[]): Promise<number> {
    return (await this.ask({ order: 'measure', paths })) as number;
  }

  async close(): Promise<void> {
    await this.lane?.close();
  }

  private ask(order: SourceOrder): Promise<SourceAnswer> {
    this.lane ??= new Lane(path.join(__dirname, 'source-lane.worker'), undefined);
    return this.lane.ask(order);
  }
}
