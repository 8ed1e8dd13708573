import type { FileHandle } from 'node:fs/promises';
import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import { edgesOfHandle, isUntouched, lookAtEdgesOfHandle } from '../scan/edges';
import { changed, notRegular, unreadable } from '../scan/source';
import type { EntryStats } from '../threads/entry-stats';
import { fill } from '../threads/fill';
import { isBarred, type Located, openLocated } from '../threads/walker';

/** A regular file on this machine, and the name under which it travels. */
export interface SourceFile extends Located {
  readonly name: EntryName;
}

/** An open source file, and what it was when it was opened. */
export class OpenSource {
  private constructor(
    readonly handle: FileHandle,
    readonly before: EntryStats,
    private readonly name: string,
    /** By which one that is longer later is told from another; see `edgesIn`. */
    private readonly edges?: bigint,
  ) {}

  /** Whether it is longer by now than when it was opened, as far as it was checked. */
  grew = false;

  /** Rejects with `source-unreadable`, also for what is not a regular file (a FIFO is not waited for). */
  static async open(file: SourceFile): Promise<OpenSource> {
    const failed = (cause: unknown): never => {
      throw isBarred(cause) ? changed(file.name) : unreadable(file.name, cause);
    };
    const handle = await openLocated(file).catch(failed);
    try {
      const opened = await handle.stat({ bigint: true }).catch(failed);
      if (!opened.isFile()) throw notRegular(file.name);
      const { stats, edges } = await lookAtEdgesOfHandle(handle, opened).catch(failed);
      return new OpenSource(handle, stats, file.name, edges);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Wraps a file that nobody else can change, such as a spooled one. */
  static async of(handle: FileHandle, name: string): Promise<OpenSource> {
    return new OpenSource(handle, await handle.stat({ bigint: true }), name);
  }

  get size(): number {
    return Number(this.before.size);
  }

  /** Whether nobody had written to it between `moment` and its opening. */
  wasAs(moment: EntryStats): boolean {
    return isUntouched(moment, this.before);
  }

  /** Reads from `position` on until `into` is full; false where the file ends before. */
  async fill(into: Uint8Array, position: number): Promise<boolean> {
    return fill(this.handle, into, position);
  }

  /**
   * Throws `source-changed` unless the file is as it was when it was opened, or has grown since, with what it had then
   * as it was, as far as its edges show. Whether its middle is, too, only a digest tells that is computed twice.
   */
  async check(): Promise<void> {
    const { before } = this;
    const now = await this.handle.stat({ bigint: true });
    this.grew ||= now.size > before.size;
    if (!this.grew && isUntouched(before, now)) return;
    if (!this.grew || now.size < before.size) throw this.changed();
    if (this.edges === undefined || (await edgesOfHandle(this.handle, this.size)) !== this.edges) throw this.changed();
  }

  changed(): TransferError {
    return changed(this.name);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
