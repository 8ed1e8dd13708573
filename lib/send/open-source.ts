import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import { edgesOfHandle, isUntouched, lookAtEdgesOfHandle } from '../scan/edges';
import { changed, notRegular, unreadable } from '../scan/source';
import { isBarred, type Located, openLocated } from '../threads/walker';

/** A regular file on this machine, and the name under which it travels. */
export interface SourceFile extends Located {
  readonly name: EntryName;
}

/** An open source file, and what it was when it was opened. */
export class OpenSource {
  private constructor(
    readonly handle: FileHandle,
    readonly before: BigIntStats,
    private readonly name: string,
    /** By which one that is longer later is told from another; see `edgesIn`. */
    private readonly edges?: bigint,
  ) {}

  /** Whether it is longer by now than when it was opened, as far as it was checked. */
  grew = false;

  /** Rejects with `source-unreadable`, also for what is not a regular file (a FIFO is not waited for). */
  static async open(file: SourceFile): Promise<OpenSource> {
    try {
      const handle = await openLocated(file);
      try {
        const opened = await handle.stat({ bigint: true });
        if (opened.isFile()) {
          const { stats, edges } = await lookAtEdgesOfHandle(handle, opened);
          return new OpenSource(handle, stats, file.name, edges);
        }
      } catch (error) {
        await handle.close();
        throw error;
      }
      await handle.close();
    } catch (cause) {
      throw isBarred(cause) ? changed(file.name) : unreadable(file.name, cause);
    }
    throw notRegular(file.name);
  }

  /** Wraps a file that nobody else can change, such as a spooled one. */
  static async of(handle: FileHandle, name: string): Promise<OpenSource> {
    return new OpenSource(handle, await handle.stat({ bigint: true }), name);
  }

  get size(): number {
    return Number(this.before.size);
  }

  /** Whether nobody had written to it between `moment` and its opening. */
  wasAs(moment: BigIntStats): boolean {
    return isUntouched(moment, this.before);
  }

  /** Reads up to `into.length` bytes at `position`; fewer only at the end of the file. */
  async read(into: Uint8Array, position: number): Promise<number> {
    let at = 0;
    while (at < into.length) {
      const { bytesRead } = await this.handle.read(into, at, into.length - at, position + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return at;
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
