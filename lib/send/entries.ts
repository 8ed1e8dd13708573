import type { Readable } from 'node:stream';
import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import type { FoundEntry } from '../scan/found';
import type { FoundBatch } from '../scan/found-batch';
import type { BundleReader } from './bundle-reader';
import { encodeEntry, encodeList, type Entry, type MissingEntry } from '../wire/session-list';
import { OfferedBatch, type NumberedEntry as OutgoingOf, type SentEntry } from './offered-batch';

export type { SentEntry } from './offered-batch';

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

/** Something to be sent that is no small file, and its number in the session. */
export type Outgoing = OutgoingOf<FoundEntry | FoundStream | FoundText>;

/** What was found in one go. */
export interface FoundTogether {
  /** One thing that was not found by looking. */
  readonly single?: FoundStream | FoundText;
  readonly entries?: FoundBatch;
  /**
   * Those entries as the payload of `offer`, with the numbers that are due; absent where nobody has encoded them yet.
   */
  readonly offer?: Uint8Array | undefined;
  /** What cannot be sent. */
  readonly failures?: readonly TransferError[];
}

/**
 * What is to be offered in one message: a list of entries, a text, or neither where all of it was settled meanwhile.
 */
export interface OfferedEntries {
  readonly list?: Uint8Array;
  readonly text?: { readonly file: number; readonly text: string };
  /** The number of the last one. */
  readonly last: number;
}

/** Most files that are offered and not settled: what is known of each is in memory until then. */
const mostOpen = 8_192;

/** What a session has to send: numbered as it is found, and remembered until the receiver has settled it. */
export class SendEntries {
  /** Those of which something is not settled, in the order of their numbers. */
  private readonly batches: OfferedBatch[] = [];
  private readonly singles = new Map<number, OutgoingOf<FoundStream | FoundText>>();
  /**
   * How many files are not settled. Directories and hard links do not count: they are settled last, so waiting for them
   * would never end.
   */
  private files = 0;
  private next = 0;
  private pulling: Promise<boolean> | undefined;
  private wake: () => void = () => undefined;
  private exhausted = false;
  private settledCount = 0;
  /** Entries that were found and cannot be sent. */
  readonly missing: MissingEntry[];

  constructor(
    private readonly found: AsyncIterator<FoundTogether>,
    private readonly failed: (error: TransferError) => void,
    /** Entries that are known to be missing before anything is found. */
    missing: readonly MissingEntry[] = [],
    /** Whether everything is of a snapshot, or becomes one: then inodes are offered. */
    private readonly ofSnapshot = false,
    /** Reads their files: told of them as long as one is not settled. */
    private readonly reader?: Pick<BundleReader, 'know' | 'forget'>,
  ) {
    this.missing = [...missing];
  }

  /** Whether it is not settled yet. */
  has(file: number): boolean {
    return this.singles.has(file) || this.batchOf(file)?.has(file) === true;
  }

  /** The batch with a small file that is not settled; undefined for everything else. */
  small(file: number): OfferedBatch | undefined {
    const batch = this.batchOf(file);
    return batch?.has(file) === true && batch.isSmall(file) ? batch : undefined;
  }

  /** An entry that is not settled and is no small file; the same object each time. */
  outgoing(file: number): Outgoing | undefined {
    const single = this.singles.get(file);
    if (single) return single;
    const batch = this.batchOf(file);
    return batch?.has(file) === true ? batch.outgoing(file) : undefined;
  }

  /** An entry that is not settled, as it is at this moment. */
  sent(file: number): SentEntry | undefined {
    const single = this.singles.get(file);
    if (single) return sentSingle(single);
    const batch = this.batchOf(file);
    return batch?.has(file) === true ? batch.sent(file) : undefined;
  }

  /** What is not settled and has a number above `last`, in the order of the numbers, in the messages that offer it. */
  *offers(last: number): Generator<OfferedEntries> {
    // Some may be settled while these are sent.
    for (const single of [...this.singles.values()]) if (single.file > last) yield offerOf(single);
    for (const batch of [...this.batches])
      if (batch.first > last && batch.left > 0) yield { list: batch.offer(), last: batch.end - 1 };
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
    return this.exhausted && this.batches.length === 0 && this.singles.size === 0;
  }

  /** Takes the streams of which something was read off the list, as `settle` does: they cannot be offered again. */
  takeBegun(): SentEntry[] {
    return [...this.singles.values()]
      .filter(({ begun }) => begun === true)
      .flatMap(({ file }) => this.settle(file) ?? []);
  }

  /**
   * Looks for more; false when there are none. Waits while too many are unsettled. Several conversations may wait for
   * the same.
   */
  pull(): Promise<boolean> {
    this.pulling ??= this.pullOnce().then((more) => {
      this.pulling = undefined;
      return more;
    });
    // A failure is final: later calls get the same.
    return this.pulling;
  }

  /**
   * Takes an entry off the list once it has its receipt or refusal; undefined if it was not on it. `sent` is the entry,
   * where the caller has it already.
   */
  settle(file: number, sent = this.sent(file)): SentEntry | undefined {
    if (sent === undefined) return undefined;
    if (!this.singles.delete(file)) {
      const batch = this.batchOf(file);
      batch?.settle(file);
      if (batch?.left === 0) this.drop(batch);
    }
    this.settledCount++;
    if (sent.type === 'file' || sent.type === 'stream') this.files--;
    this.wake();
    return sent;
  }

  async close(): Promise<void> {
    this.exhausted = true;
    this.wake();
    await this.found.return?.();
  }

  private async pullOnce(): Promise<boolean> {
    while (this.files >= mostOpen && !this.exhausted) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const next = this.exhausted ? { done: true as const } : await this.found.next();
    if (next.done) {
      this.exhausted = true;
      return false;
    }
    const { single, entries, offer, failures = [] } = next.value;
    for (const error of failures) this.fail(error);
    if (single) this.addSingle(single);
    if (entries && entries.length > 0) this.addBatch(entries, offer);
    return true;
  }

  private fail(error: TransferError): void {
    const { code, message, fileName } = error;
    if (fileName !== undefined) this.missing.push({ name: fileName, code, message });
    this.failed(error);
  }

  private addSingle(found: FoundStream | FoundText): void {
    if (found.type === 'stream') this.files++;
    this.singles.set(this.next, { file: this.next++, found, began: performance.now(), bytesOnWire: 0 });
  }

  private addBatch(entries: FoundBatch, offer: Uint8Array | undefined): void {
    const batch = new OfferedBatch(this.next, entries, offer, this.ofSnapshot);
    this.batches.push(batch);
    if (batch.anySmall) this.reader?.know(batch);
    this.next = batch.end;
    this.files += batch.files;
  }

  private drop(batch: OfferedBatch): void {
    this.batches.splice(this.batches.indexOf(batch), 1);
    if (batch.anySmall) this.reader?.forget(batch.first);
  }

  /** The batch in which that number is, if something of it is not settled. */
  private batchOf(file: number): OfferedBatch | undefined {
    let [low, high] = [0, this.batches.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.batches[middle]?.end ?? 0) <= file) low = middle + 1;
      else high = middle;
    }
    const batch = this.batches[low];
    return batch && batch.first <= file ? batch : undefined;
  }
}

function sentSingle({ found, began, bytesOnWire, digest, size = 0 }: OutgoingOf<FoundStream | FoundText>): SentEntry {
  const base = { size, began, bytesOnWire, digest, vouched: undefined };
  return found.type === 'text'
    ? { type: 'text', name: '', text: found.text, ...base }
    : { type: 'stream', name: found.name, ...base };
}

function offerOf({ file, found }: OutgoingOf<FoundStream | FoundText>): OfferedEntries {
  if (found.type === 'text') return { text: { file, text: found.text }, last: file };
  const stream: Entry = {
    type: 'file',
    file,
    name: found.name,
    size: undefined,
    mode: 0o666 & ~process.umask(),
    mtime: BigInt(Date.now()) * 1_000_000n,
    ctime: undefined,
  };
  return { list: encodeList([encodeEntry(stream)]), last: file };
}
