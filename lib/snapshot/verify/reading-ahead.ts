import type { BigIntStats } from 'node:fs';
import { type Located, openLocated } from '../../threads/walker';
import type { DigestName } from '../../wire/fields';
import type { FileToCompare } from './compare';
import type { DeviceReader } from './device-reader';
import { ignored } from '../../trace';

export interface AheadOf {
  readonly reader: DeviceReader;
  readonly algorithm: DigestName;
  readonly signal: AbortSignal;
  /** The path of the receive directory. */
  readonly directory: string;
  readonly onProgress: (name: string, done: number) => void;
}

/** As many are worth it: together they take less than the device gives. */
const most = 4;

/**
 * Large files whose reading begins while everything else is still being looked at, so that the device is not idle
 * meanwhile.
 */
export class ReadingAhead {
  private readonly over = new AbortController();
  private readonly begun = new Map<bigint, Promise<string | undefined>>();

  constructor(private readonly ahead: AheadOf) {}

  /**
   * Begins with the first few large ones of `files`, whose names are below `snapshot`, `NAME/ID`, except those whose
   * inode is among `known`. What an inode reads as is all that comes of it: whether it is the one that should stand
   * there is found out by others.
   */
  async begin(snapshot: string, files: Iterable<FileToCompare>, known: ReadonlyMap<bigint, unknown>): Promise<void> {
    const { reader, algorithm, directory, onProgress } = this.ahead;
    const signal = AbortSignal.any([this.ahead.signal, this.over.signal]);
    for (const { name: below, size } of files) {
      if (this.begun.size === most) return;
      if (!reader.isLarge({ size })) continue;
      const name = `${snapshot}/${below}`;
      const stats = await statOf({ path: directory, below: name });
      if (stats === undefined || signal.aborted || known.has(stats.ino) || this.begun.has(stats.ino)) continue;
      const reading = { signal, onProgress: (done: number) => onProgress(name, done) };
      this.begun.set(
        stats.ino,
        reader
          .digest({ name, size, inode: stats.ino }, algorithm, reading)
          .catch(ignored('what fails is read once more, in its turn')),
      );
    }
  }

  /** The digest of a file, if it was begun and could be read. */
  async digest(inode: bigint): Promise<string | undefined> {
    return this.begun.get(inode);
  }

  /** Gives up what nobody has asked for. Resolves when nothing is under way any more. */
  async end(): Promise<void> {
    this.over.abort();
    await Promise.all(this.begun.values());
  }
}

/** Undefined for what cannot be opened: its turn comes, and then that is told. */
async function statOf(located: Located): Promise<BigIntStats | undefined> {
  try {
    const file = await openLocated(located);
    return await file.stat({ bigint: true }).finally(() => file.close());
  } catch {
    // The failure is reported when the file is read.
    return undefined;
  }
}
