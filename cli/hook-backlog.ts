import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const mostHeld = 256; // lines in memory
const mostRead = 256 * 1024; // bytes at once; no event is nearly as long

/**
 * Lines that wait, the oldest first: so many in memory, all others in a nameless file in the system's directory for
 * temporary ones. So neither the memory of this process nor a sender pays for whoever takes them slowly, and none is
 * lost.
 */
export class HookBacklog {
  private readonly held: string[] = [];
  private file: number | undefined;
  /** Where in the file what was not taken yet begins and ends. */
  private begin = 0;
  private end = 0;
  private spilled = 0;

  /** How many wait. */
  get length(): number {
    return this.held.length + this.spilled;
  }

  /** Adds a line, which has no line feed in it. */
  push(line: string): void {
    if ((this.spilled === 0 && this.held.length < mostHeld) || !this.spill(line)) this.held.push(line);
  }

  /**
   * Takes the oldest line; undefined for none. Throws, and forgets what is in the file, where that cannot be read any
   * more.
   */
  shift(): string | undefined {
    if (this.held.length === 0 && this.spilled > 0) this.fetch();
    return this.held.shift();
  }

  /** Whether the line is in the file now. Where the disk is full, memory is what is left. */
  private spill(line: string): boolean {
    try {
      this.file ??= namelessFile();
      const bytes = Buffer.from(`${line}\n`);
      for (let at = 0; at < bytes.length;) at += writeSync(this.file, bytes, at, bytes.length - at, this.end + at);
      this.end += bytes.length;
      this.spilled += 1;
      return true;
    } catch {
      // No room on the disk: the caller keeps it in memory.
      return false;
    }
  }

  private fetch(): void {
    const lost = this.spilled;
    try {
      const bytes = Buffer.alloc(Math.min(mostRead, this.end - this.begin));
      const length = this.file === undefined ? 0 : readSync(this.file, bytes, 0, bytes.length, this.begin);
      const whole = bytes.subarray(0, length).lastIndexOf(0x0a) + 1;
      if (whole === 0) throw new Error('the file of those that wait was cut off');
      const lines = bytes.toString('utf8', 0, whole - 1).split('\n');
      this.held.push(...lines);
      this.spilled -= lines.length;
      this.begin += whole;
      if (this.spilled === 0) this.close();
    } catch (error) {
      this.close();
      throw new Error(`${String(lost)} that waited are lost`, { cause: error });
    }
  }

  /** The end of the file, and of all that is in it. */
  private close(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
    this.spilled = this.begin = this.end = 0;
  }
}

/** A file of ours that has no name any more, so that nobody finds it and nothing is left of it. */
function namelessFile(): number {
  const directory = mkdtempSync(join(tmpdir(), 'sendall-hooks-'));
  try {
    return openSync(join(directory, 'waiting'), 'wx+', 0o600);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
