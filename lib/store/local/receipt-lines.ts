import { closeSync, constants, openSync, readSync } from 'node:fs';

const lineFeed = 0x0a;
/** Bytes of the file that are read where one line is looked for. */
const windowSize = 32 * 1024;

/**
 * The lines of a file of receipts, found by where they begin. They are looked for mostly in the order in which they were
 * written: what stands behind one is kept for those that follow.
 */
export class ReceiptLines {
  private seen: { readonly start: number; readonly bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) };

  /** `file`: its path. */
  constructor(private readonly file: string) {}

  /**
   * The line that begins at `start`, without its line feed; undefined if there is none, or it cannot be read. What
   * stands from `end` on is still being written.
   */
  at(start: number, end = Infinity): Buffer | undefined {
    return lineFrom(this.seen.bytes, start - this.seen.start) ?? lineFrom(this.look(start, end), 0);
  }

  /** The file is another one now. */
  forget(): void {
    this.seen = { start: 0, bytes: Buffer.alloc(0) };
  }

  private look(start: number, end: number): Buffer {
    const bytes = Buffer.allocUnsafe(Math.min(windowSize, end - start));
    try {
      const fd = openSync(this.file, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        this.seen = { start, bytes: bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start)) };
      } finally {
        closeSync(fd);
      }
    } catch {
      // What cannot be read counts as no receipt: the file is read again.
      this.seen = { start, bytes: bytes.subarray(0, 0) };
    }
    return this.seen.bytes;
  }
}

/** The line that begins at `from`, without its line feed; undefined where it does not end there. */
export function lineFrom(bytes: Buffer, from: number): Buffer | undefined {
  const end = from < 0 || from >= bytes.length ? -1 : bytes.indexOf(lineFeed, from);
  return end === -1 ? undefined : bytes.subarray(from, end);
}
