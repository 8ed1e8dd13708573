import { constants, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { asTransferError, errnoOf } from '../../errors';
import type { Directory } from './directory';
import { NameTable } from './name-table';
import { type KeptReceipt, lineText, mostBytes, parseReceipt, pathOf, putLine } from './receipt-line';
import { lineFrom, ReceiptLines } from './receipt-lines';
import { ignored } from '../../trace';

export type { KeptReceipt } from './receipt-line';

const fileName = 'receipts';
const { O_CREAT, O_NOFOLLOW, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const lineFeed = 0x0a;
/** Fewer lines than that are not worth writing them anew. */
const fewLines = 1_000;
/** Bytes of the file that are read at once where all of it is read. */
const wholeWindow = 256 * 1024;

/** Whole lines of the file, and where in it they begin. */
interface Lines {
  readonly start: number;
  readonly bytes: Buffer;
}

/**
 * What a receive directory has given receipts for, so that a file that is still as it was need not be read again. One
 * line each, in a file to which is only appended; the last line about a path counts. Lines that are damaged are
 * ignored, and losing some costs nothing but reading files again: a receipt that is found says nothing of a file that
 * has changed since.
 *
 * In memory is where in the file the line about a path begins, and what is not saved yet.
 */
export class ReceiptIndex {
  /** What is to be appended, and how much of that memory is used. */
  private tail: Buffer = Buffer.alloc(0);
  private used = 0;
  /** Where the tail begins in the file: behind the last whole line. */
  private saved = 0;
  private lines = 0;
  private readonly starts = new NameTable();
  private readonly written: ReceiptLines;
  private rewrites = 0;
  private saving: Promise<void> = Promise.resolve();

  private constructor(private readonly directory: Directory) {
    this.written = new ReceiptLines(this.file);
  }

  /** `directory` is private to us; a file that is missing there is an empty index. Rejects with `disk`. */
  static async open(directory: Directory): Promise<ReceiptIndex> {
    const index = new ReceiptIndex(directory);
    try {
      await index.load();
      if (index.isStale) await index.rewrite();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT')
        throw asTransferError(error, 'disk', 'The receipts of earlier transfers cannot be read');
    }
    return index;
  }

  /** The path of the file. */
  get file(): string {
    return this.directory.at(fileName);
  }

  /** How often the file was written anew, which makes other places of all. */
  get edition(): number {
    return this.rewrites;
  }

  /** Where in the file the line about a path begins; undefined where there is none. */
  placeOf(path: string): number | undefined {
    return this.starts.get(path);
  }

  /** Whether the line at that place is in the file already. */
  isSaved(place: number): boolean {
    return place < this.saved;
  }

  /** The line about a path, or about another one whose name has the same hash; undefined where there is none. */
  lineOf(path: string): Buffer | undefined {
    const start = this.starts.get(path);
    return start === undefined ? undefined : this.lineAt(start);
  }

  find(path: string): KeptReceipt | undefined {
    const line = this.lineOf(path);
    return line === undefined ? undefined : parseReceipt(line, path);
  }

  remember(path: string, receipt: KeptReceipt): void {
    this.add(path, receipt);
  }

  forget(path: string): void {
    if (this.starts.has(path)) this.add(path, undefined);
  }

  /**
   * Writes what was remembered and forgotten since the last time. Rejects with `disk`; nothing is lost then, and the
   * next one tries again.
   */
  save(): Promise<void> {
    const saving = this.saving.then(async () => {
      try {
        await this.append();
        if (this.isStale) await this.rewrite();
      } catch (error) {
        throw asTransferError(error, 'disk', 'The receipts cannot be kept');
      }
    });
    this.saving = saving.catch(ignored('whoever saves is told'));
    return saving;
  }

  close(): Promise<void> {
    return this.save();
  }

  private get isStale(): boolean {
    return this.lines > fewLines && this.lines > 2 * this.starts.size;
  }

  private async load(): Promise<void> {
    for await (const { start, bytes } of this.read(Infinity)) {
      for (const [from, end] of linesIn(bytes)) {
        this.lines++;
        const line = pathOf(bytes, from, end);
        if (line?.kept === true) this.starts.set(line.path, start + from);
        else if (line) this.starts.delete(line.path);
      }
      this.saved = start + bytes.length;
    }
  }

  private add(path: string, receipt: KeptReceipt | undefined): void {
    // No name that can be stored has one; here it would end the line.
    if (path.includes('\n')) return;
    const text = lineText(path, receipt);
    const start = this.used;
    const most = start + mostBytes(text);
    if (most > this.tail.length) this.tail = Buffer.concat([this.tail.subarray(0, start)], 2 * most);
    this.used = putLine(text, this.tail, start);
    this.lines++;
    if (receipt) this.starts.set(path, this.saved + start);
    else this.starts.delete(path);
  }

  private async append(): Promise<void> {
    const { saved, used } = this;
    if (used === 0) return;
    const file = await open(this.file, O_WRONLY | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      // Over what an earlier attempt may have left there.
      for (let done = 0; done < used;)
        done += (await file.write(this.tail, done, used - done, saved + done)).bytesWritten;
    } finally {
      await file.close();
    }
    this.tail.copyWithin(0, used, this.used);
    this.used -= used;
    this.saved += used;
  }

  /**
   * Leaves out what is stale. Whenever this ends, there is the old file or the new one; lines may be added meanwhile.
   */
  private async rewrite(): Promise<void> {
    const { saved, lines } = this;
    const before = this.starts.sorted();
    const now = new Float64Array(before.length);
    let end = 0;
    let next = 0;
    const fresh = this.directory.at(`${fileName}.new`);
    const file = await open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      for await (const { start, bytes } of this.read(saved)) {
        const kept: Buffer[] = [];
        for (const [from, to] of linesIn(bytes)) {
          while ((before[next] ?? Infinity) < start + from) next++;
          if (before[next] !== start + from) continue;
          kept.push(bytes.subarray(from, to + 1));
          now[next++] = end;
          end += to + 1 - from;
        }
        await file.writeFile(Buffer.concat(kept));
      }
    } finally {
      await file.close();
    }
    // In one go with what follows, so that nobody looks for the old places in the new file.
    renameSync(fresh, this.file);
    this.starts.replace((start) => (start >= saved ? start - saved + end : (now[indexIn(before, start)] ?? 0)));
    this.lines += before.length - lines;
    this.saved = end;
    this.written.forget();
    this.rewrites++;
  }

  /** The lines up to `end`, in memory that is used again for those that follow. */
  private async *read(end: number): AsyncGenerator<Lines> {
    const file = await open(this.file, O_RDONLY | O_NOFOLLOW);
    try {
      const window = Buffer.allocUnsafe(wholeWindow);
      for (let start = 0; start < end;) {
        const { bytesRead } = await file.read(window, 0, Math.min(window.length, end - start), start);
        if (bytesRead === 0) return;
        const whole = window.subarray(0, bytesRead).lastIndexOf(lineFeed) + 1;
        if (whole > 0) yield { start, bytes: window.subarray(0, whole) };
        // No line of ours is longer than a window.
        start += whole || bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  /** The line that begins at `start`, without its line feed; undefined if it is not there any more. */
  private lineAt(start: number): Buffer | undefined {
    if (start >= this.saved) return lineFrom(this.tail, start - this.saved);
    return this.written.at(start, this.saved);
  }
}

/** Where each line begins, and where its line feed is. */
function* linesIn(bytes: Buffer): Generator<readonly [number, number]> {
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(lineFeed, from);
    yield [from, end];
    from = end + 1;
  }
}

/** Where `number` stands among the `sorted`. */
function indexIn(sorted: Float64Array, number: number): number {
  let low = 0;
  for (let high = sorted.length; low < high;) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) < number) low = middle + 1;
    else high = middle;
  }
  return low;
}
