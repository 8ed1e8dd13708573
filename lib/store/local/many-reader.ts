// Reading many small files back from the disk: one read-back for batches, for what is at a name already, and for
// verification.
import { closeSync, openSync } from 'node:fs';
import { alignment, AlignedMemory } from '../../threads/aligned-memory';
import type { FileCalls } from '../../threads/file-calls';
import { mostReads, Ring } from '../../threads/ring';
import { trace } from '../../trace';

/**
 * How files are read: past the page cache all at once by io_uring (`ring`); dropped from the page cache and read ahead,
 * all of them (`drop`); past the page cache one by one (`single`). Where reading cannot go past the page cache, through
 * it (`cache`).
 */
export type ReadWay = 'ring' | 'drop' | 'single' | 'cache';

/** The largest file that is read here, in bytes. */
export const largestRead = 1024 * 1024;
/** What is read at once, in bytes. */
const memorySize = 4 * 1024 * 1024;
/** Chooses the way for tests, where the machine has it. */
const wayVariable = 'SENDALL_READ_BACK';

/** The memory and the ring of one thread. */
export class ManyReader {
  private readonly memory: Uint8Array;
  private readonly addresses = new Float64Array(mostReads);
  private readonly lengths = new Int32Array(mostReads);
  private readonly results = new Int32Array(mostReads);

  private constructor(
    private readonly calls: FileCalls,
    readonly way: ReadWay,
    private readonly ring: Ring | undefined,
  ) {
    const { buffer } = new AlignedMemory(memorySize, 1, true);
    this.memory = new Uint8Array(buffer);
  }

  /**
   * `direct`: whether O_DIRECT reaches the device on this disk. `wanted` is taken instead of the fastest way where it
   * can be had.
   */
  static create(calls: FileCalls, direct: boolean, wanted: string | undefined = process.env[wayVariable]): ManyReader {
    if (!direct) return new ManyReader(calls, 'cache', undefined);
    const ring = calls.linux && (wanted ?? 'ring') === 'ring' ? Ring.open(calls.linux) : undefined;
    const way = ring ? 'ring' : wanted !== 'single' && canDrop(calls) ? 'drop' : 'single';
    trace('small files are read back by: %s', way);
    return new ManyReader(calls, way, ring);
  }

  /** Whether descriptors that are to be read have O_DIRECT. */
  get direct(): boolean {
    return this.way === 'ring' || this.way === 'single';
  }

  /**
   * The digests of the first `sizes[i]` bytes, at most `largestRead`, of the files `fds[i]`, whose writes were flushed
   * before; with undefined for a file that has fewer, and with the error of the operating system for one that cannot be
   * read.
   */
  digests(
    fds: Int32Array,
    sizes: Float64Array,
    count: number,
    digestOf: (bytes: Uint8Array) => string,
  ): (string | Error | undefined)[] {
    const found: (string | Error | undefined)[] = [];
    const dropped = this.way === 'drop' ? this.drop(fds, sizes, count) : undefined;
    for (let first = 0; first < count;) {
      let end = first;
      let used = 0;
      for (; end < count && end - first < mostReads; end++) {
        const length = wholeSectors(sizes[end] ?? 0);
        if (used + length > memorySize) break;
        this.lengths[end - first] = length;
        used += length;
      }
      this.readRun(fds, sizes, first, end, dropped, digestOf, found);
      first = end;
    }
    return found;
  }

  close(): void {
    this.ring?.close();
  }

  /** Files whose lengths fit into the memory together. */
  private readRun(
    fds: Int32Array,
    sizes: Float64Array,
    first: number,
    end: number,
    dropped: Uint8Array | undefined,
    digestOf: (bytes: Uint8Array) => string,
    found: (string | Error | undefined)[],
  ): void {
    const { calls, memory, ring, addresses, lengths, results } = this;
    if (ring && calls.linux) {
      let address = calls.linux.addressOf(memory);
      for (let index = 0; index < end - first; index++) {
        addresses[index] = address;
        address += lengths[index] ?? 0;
      }
      ring.read(fds, first, end - first, addresses, lengths, results);
    }
    for (let at = first, from = 0; at < end; at++) {
      const size = sizes[at] ?? 0;
      const length = lengths[at - first] ?? 0;
      try {
        const fd = fds[at] ?? -1;
        if (dropped?.[at] === 0 && !calls.readPastCache(fd))
          throw new Error('the disk cannot be read past the page cache');
        // A failure in the ring is met again here, and reported as everywhere.
        const done = ring ? Math.max(0, results[at - first] ?? 0) : 0;
        found.push(this.fill(fd, from, size, length, done) ? digestOf(memory.subarray(from, from + size)) : undefined);
      } catch (error) {
        found.push(error instanceof Error ? error : new Error(String(error)));
      }
      from += length;
    }
  }

  /** Reads what of a file is not in memory yet; false if the file is shorter. */
  private fill(fd: number, from: number, size: number, length: number, done: number): boolean {
    let at = done;
    while (at < size) {
      // O_DIRECT takes whole sectors, and only the end of a file cuts a read short within one.
      if (this.direct && at % alignment !== 0) return false;
      const count = this.calls.read(fd, this.memory, from + at, length - at, at);
      if (count === 0) return false;
      at += count;
    }
    return true;
  }

  /**
   * Drops all of them from the page cache, and starts reading all. 0 for each file of which pages are left there: to be
   * read past the cache.
   */
  private drop(fds: Int32Array, sizes: Float64Array, count: number): Uint8Array {
    const dropped = new Uint8Array(count);
    const { linux } = this.calls;
    if (!linux) return dropped;
    for (let at = 0; at < count; at++) {
      const fd = fds[at] ?? -1;
      linux.dropFromCache(fd);
      dropped[at] = linux.cachedPages(fd, wholeSectors(sizes[at] ?? 0)) === 0 ? 1 : 0;
    }
    for (let at = 0; at < count; at++)
      if (dropped[at] === 1) linux.readAhead(fds[at] ?? -1, wholeSectors(sizes[at] ?? 0));
    return dropped;
  }
}

function wholeSectors(size: number): number {
  return Math.ceil(size / alignment) * alignment;
}

/** Whether the kernel tells what is in its page cache: what was dropped is not known otherwise. */
function canDrop({ linux }: FileCalls): boolean {
  if (!linux) return false;
  const fd = openSync(process.execPath, 'r');
  try {
    return linux.cachedPages(fd, alignment) !== undefined;
  } finally {
    closeSync(fd);
  }
}
