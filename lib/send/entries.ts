import { TransferError } from '../errors';
import type { Entry, MissingEntry } from '../wire/session-list';
import type { FoundEntry } from '../scan/tree-scan';
import type { Readable } from 'node:stream';
import type { EntryName } from '../name';

/** A stream that can be read only once, and so has no size yet. */
export interface FoundStream {
  readonly type: 'stream';
  readonly name: EntryName;
  readonly input: Readable;
}

export interface FoundText {
  readonly type: 'text';
  readonly text: string;
}

/** Something to be sent, and its number in the session. */
export interface Outgoing {
  readonly file: number;
  readonly found: FoundEntry | FoundStream | FoundText;
  readonly began: number;
  /** Payload and headers, in bytes. */
  bytesOnWire: number;
  /** Of the session's algorithm, once the content was read. */
  digest?: string | undefined;
  /** Of a stream, once it has ended. */
  size?: number;
  /** Of a stream: whether something of it was read, which nobody can read again. */
  begun?: boolean;
}

/** So many files may be offered and not settled: what is known of each stays in memory until then. */
const mostUnsettled = 6_144;

/** What a session has to send: numbered as it is found, and remembered until the receiver has settled it. */
export class Entries {
  private readonly unsettled = new Map<number, Outgoing>();
  /** How many of them are files: directories and hard links are settled last of all, so nobody may wait for them. */
  private files = 0;
  private next = 0;
  private pulling: Promise<boolean> | undefined;
  private wake: () => void = () => undefined;
  private exhausted = false;
  private settledCount = 0;
  /** What was found and cannot be sent. */
  readonly missing: MissingEntry[];

  constructor(
    private readonly found: AsyncIterator<readonly (Outgoing['found'] | TransferError)[]>,
    private readonly failed: (error: TransferError) => void,
    /** What is known before to be missing. */
    missing: readonly MissingEntry[] = [],
  ) {
    this.missing = [...missing];
  }

  get(file: number): Outgoing | undefined {
    return this.unsettled.get(file);
  }

  /** What is not settled and has a number above `last`, in the order of their numbers. */
  after(last: number): Outgoing[] {
    return [...this.unsettled.values()].filter(({ file }) => file > last);
  }

  /** How many there have been, settled or not. */
  get numbered(): number {
    return this.next;
  }

  /** How many are settled. */
  get settled(): number {
    return this.settledCount;
  }

  /** Whether everything was found, and is settled. */
  get over(): boolean {
    return this.exhausted && this.unsettled.size === 0;
  }

  /** Takes the streams of which something was read off the list, as `settle` does: they cannot be offered again. */
  takeBegun(): Outgoing[] {
    return this.after(-1).filter(({ begun, file }) => begun === true && this.settle(file));
  }

  /** Looks for more; false when there are none. Waits while too many are unsettled. Several conversations may wait for the same. */
  pull(): Promise<boolean> {
    this.pulling ??= this.pullOnce()
      .then((more) => {
        this.pulling = undefined;
        return more;
      });
    // What failed once has failed for all who ask later.
    return this.pulling;
  }

  /** Takes an entry that has its receipt or refusal off the list; undefined if it was not on it. */
  settle(file: number): Outgoing | undefined {
    const outgoing = this.unsettled.get(file);
    this.unsettled.delete(file);
    if (outgoing) this.settledCount++;
    if (outgoing && isFile(outgoing)) this.files--;
    this.wake();
    return outgoing;
  }

  private async pullOnce(): Promise<boolean> {
    while (this.files >= mostUnsettled && !this.exhausted) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const next = this.exhausted ? { done: true as const } : await this.found.next();
    if (next.done) {
      this.exhausted = true;
      return false;
    }
    for (const found of next.value) {
      if (found instanceof TransferError) this.fail(found);
      else this.add({ file: this.next++, found, began: performance.now(), bytesOnWire: 0 });
    }
    return true;
  }

  private fail(error: TransferError): void {
    const { code, message, fileName } = error;
    if (fileName !== undefined) this.missing.push({ name: fileName, code, message });
    this.failed(error);
  }

  private add(outgoing: Outgoing): void {
    this.unsettled.set(outgoing.file, outgoing);
    if (isFile(outgoing)) this.files++;
  }

  async close(): Promise<void> {
    this.exhausted = true;
    this.wake();
    await this.found.return?.();
  }
}

function isFile({ found }: Outgoing): boolean {
  return found.type === 'file' || found.type === 'stream';
}

/** An outgoing file, directory or link as it is offered; with the numbers of files on this disk where they go into a snapshot. */
export function offered({ file, found }: Outgoing, ofSnapshot: boolean): Entry | undefined {
  switch (found.type) {
    case 'text':
      return undefined;
    case 'stream':
      return { type: 'file', file, name: found.name, size: undefined, mode: 0o666 & ~process.umask(), mtime: BigInt(Date.now()) * 1_000_000n, ctime: undefined };
    case 'file':
      return { type: 'file', file, name: found.name, size: found.size, mode: found.mode, mtime: found.vouched?.mtime ?? found.mtime, ctime: found.ctime, inode: ofSnapshot ? found.inode : undefined };
    case 'directory':
      return { type: 'directory', file, name: found.name, mode: found.mode, mtime: found.mtime };
    case 'symlink':
      return { type: 'symlink', file, name: found.name, target: found.target, mtime: found.mtime };
    case 'link':
      return { type: 'link', file, name: found.name, target: found.target, mtime: found.mtime };
  }
}
