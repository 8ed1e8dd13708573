// One scan for several receivers: each takes what was found in the same order, so that all number it alike.
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { TransferError } from '../errors';
import type { FoundBatch } from '../scan/found-batch';
import { fillSync } from '../threads/fill';
import type { FoundToSend } from './finding';
import { ignored } from '../trace';

/** Steps of the scan kept in memory for receivers that are behind; older ones are in a temporary file. */
const mostInMemory = 16;

/** Where in the temporary file something lies. */
interface Spilled {
  readonly at: number;
  readonly length: number;
}

/** A step of the scan that some receiver has still to take. */
interface FoundStep {
  /** All of it, or what is left of it in memory. */
  found: FoundToSend;
  spilled: Spilled | undefined;
}

/** The steps of one scan for any number of receivers. Its memory does not grow with the distance between them. */
export class SharedFinding {
  private readonly steps: FoundStep[] = [];
  /** How many steps were given up because everybody has them. */
  private gone = 0;
  /** The step that each receiver takes next. */
  private readonly cursors = new Set<{ at: number }>();
  private pulling: Promise<boolean> | undefined;
  private spill: SpillFile | undefined;

  constructor(private readonly found: AsyncGenerator<FoundToSend>) {}

  /** All of it for one receiver. What fails the scan fails it for all. */
  share(): AsyncGenerator<FoundToSend> {
    // Counted before it begins, so that nothing is given up before.
    const cursor = { at: 0 };
    this.cursors.add(cursor);
    return this.follow(cursor);
  }

  async close(): Promise<void> {
    await this.found.return(undefined).catch(ignored('whoever asked for more was told'));
    this.spill?.close();
  }

  /** A receiver that never began wants nothing any more. */
  private async *follow(cursor: { at: number }): AsyncGenerator<FoundToSend> {
    try {
      for (;;) {
        while (cursor.at - this.gone >= this.steps.length) if (!(await this.pull())) return;
        const step = this.steps[cursor.at - this.gone];
        if (!step) return;
        const found = this.whole(step);
        cursor.at++;
        this.giveUp();
        yield found;
      }
    } finally {
      this.cursors.delete(cursor);
      this.giveUp();
    }
  }

  /** Takes one step more, once for all that wait; false where there is none. */
  private pull(): Promise<boolean> {
    this.pulling ??= this.found.next().then(({ done, value }) => {
      if (done) return false;
      this.pulling = undefined;
      this.steps.push({ found: value, spilled: undefined });
      const old = this.steps.at(-mostInMemory - 1);
      if (old) this.spillOut(old);
      return true;
    });
    // A failure or an end is final: later calls get the same.
    return this.pulling;
  }

  private giveUp(): void {
    const first = Math.min(...[...this.cursors].map(({ at }) => at));
    while (this.steps.length > 0 && this.gone < first) {
      this.steps.shift();
      this.gone++;
    }
  }

  private spillOut(step: FoundStep): void {
    const { entries, offer, ...rest } = step.found;
    if (!entries || step.spilled) return;
    this.spill ??= new SpillFile();
    step.spilled = this.spill.put({ entries, offer });
    step.found = rest;
  }

  private whole({ found, spilled }: FoundStep): FoundToSend {
    return spilled && this.spill ? { ...found, ...this.spill.get(spilled) } : found;
  }
}

/** Entries of a scan as they lie in the file. */
interface SpilledEntries {
  readonly entries: FoundBatch;
  readonly offer: Uint8Array | undefined;
}

/** A temporary file that has lost its name: nothing is left of it however this process ends. */
class SpillFile {
  private readonly fd: number;
  private readonly kept: string | undefined;
  private end = 0;

  constructor() {
    const pathname = path.join(tmpdir(), `sendall-${randomBytes(8).toString('hex')}`);
    this.fd = openSync(pathname, 'wx+', 0o600);
    // Windows cannot remove a file that is open.
    if (process.platform === 'win32') this.kept = pathname;
    else unlinkSync(pathname);
  }

  put(entries: SpilledEntries): Spilled {
    const bytes = serialize(entries);
    const at = this.end;
    for (let done = 0; done < bytes.length;) done += writeSync(this.fd, bytes, done, bytes.length - done, at + done);
    this.end += bytes.length;
    return { at, length: bytes.length };
  }

  get({ at, length }: Spilled): SpilledEntries {
    const bytes = Buffer.alloc(length);
    if (!fillSync(this.fd, bytes, at)) throw new TransferError('unexpected', 'A temporary file was cut off.');
    return deserialize(bytes) as SpilledEntries;
  }

  close(): void {
    closeSync(this.fd);
    if (this.kept !== undefined) unlinkSync(this.kept);
  }
}
