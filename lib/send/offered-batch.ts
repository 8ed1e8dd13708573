import { entryAt, entryTypes, fileType, type FoundBatch, splitTexts } from '../scan/found-batch';
import { offeredEntry } from '../scan/offered-entry';
import type { FoundEntry } from '../scan/found';
import { smallFile } from '../wire/segment';
import { encodeEntry, encodeList } from '../wire/session-list';

/** What became of an entry is told of this: no more of it is looked up than that takes. */
export interface SentEntry {
  readonly type: FoundEntry['type'] | 'stream' | 'text';
  /** '' for a text. */
  readonly name: string;
  /** Bytes; of a stream what was read of it. */
  readonly size: number;
  /** When it was found; as of `performance.now`. */
  readonly began: number;
  /** Payload and headers, in bytes. */
  readonly bytesOnWire: number;
  /** Of the session's algorithm, once the content was read. */
  readonly digest: string | undefined;
  /** The digest that someone vouches for. */
  readonly vouched: string | undefined;
  readonly text?: string;
  /** The file is longer by now than what was read of it. */
  readonly grew?: boolean;
  /** See `Outgoing`. */
  readonly kept?: number | undefined;
}

/** Something to be sent that is no small file, and its number in the session. */
export interface NumberedEntry<Found = FoundEntry> {
  readonly file: number;
  readonly found: Found;
  readonly began: number;
  /** Payload and headers, in bytes. */
  bytesOnWire: number;
  /** Bytes that the receiver had before, of an earlier try or of something alike; absent for none. */
  kept?: number;
  /** Of the session's algorithm, once the content was read. */
  digest?: string | undefined;
  /** The file is longer by now than what was read of it. */
  grew?: boolean;
  /** Of a stream, once it has ended. */
  size?: number;
  /** Of a stream: whether something of it was read, which nobody can read again. */
  begun?: boolean;
}

/** Entries that are offered together, by columns: nothing is made for one of them before someone asks about it. */
export class OfferedBatch {
  private readonly began = performance.now();
  private readonly isSettled: Uint8Array;
  private readonly digests: (string | undefined)[] = [];
  private readonly onWire: Float64Array;
  /** Small files that are longer by now than what was read of them. */
  private readonly grown = new Set<number>();
  private readonly large = new Map<number, NumberedEntry>();
  private names: readonly string[] | undefined;
  private below: readonly string[] | undefined;
  /** How many entries, and how many files among them, are not settled. */
  left: number;
  files = 0;
  /** Whether any file travels in a bundle. */
  readonly anySmall: boolean;

  /** Its entries have the numbers from `first` on; `list` is the payload of their offer, where it is known. */
  constructor(
    readonly first: number,
    readonly found: FoundBatch,
    private list: Uint8Array | undefined,
    private readonly inodes: boolean,
  ) {
    this.left = found.length;
    this.isSettled = new Uint8Array(found.length);
    this.onWire = new Float64Array(found.length);
    let small = 0;
    for (let at = 0; at < found.length; at++) {
      if (found.types[at] !== fileType) continue;
      this.files++;
      if ((found.sizes[at] ?? 0) <= smallFile) small++;
    }
    this.anySmall = small > 0;
  }

  /** The number after the last. */
  get end(): number {
    return this.first + this.found.length;
  }

  has(file: number): boolean {
    return this.isSettled[file - this.first] === 0;
  }

  nameOf(file: number): string {
    this.names ??= splitTexts(this.found.names, this.found.length);
    return this.names[file - this.first] ?? '';
  }

  sizeOf(file: number): number {
    return this.found.sizes[file - this.first] ?? 0;
  }

  /** Whether it is a file that travels whole, in a bundle. */
  isSmall(file: number): boolean {
    return this.found.types[file - this.first] === fileType && this.sizeOf(file) <= smallFile;
  }

  /** The content of a small file was read, and is on its way, which takes `wire` bytes; 0 where it was not sent. */
  read(file: number, digest: string, wire: number): void {
    const at = file - this.first;
    this.digests[at] = digest;
    this.onWire[at] = (this.onWire[at] ?? 0) + wire;
  }

  /** What was read of a small file is less than it has by now. */
  grew(file: number): void {
    this.grown.add(file);
  }

  /** For all but small files; the same one each time. */
  outgoing(file: number): NumberedEntry {
    const known = this.large.get(file);
    if (known) return known;
    const made = { file, found: this.entry(file), began: this.began, bytesOnWire: 0 };
    this.large.set(file, made);
    return made;
  }

  sent(file: number): SentEntry {
    const at = file - this.first;
    const large = this.large.get(file);
    return {
      type: this.entryType(at),
      name: this.nameOf(file),
      size: this.sizeOf(file),
      began: this.began,
      bytesOnWire: large?.bytesOnWire ?? this.onWire[at] ?? 0,
      kept: large?.kept === 0 ? undefined : large?.kept,
      grew: large?.grew ?? this.grown.has(file),
      digest: large?.digest ?? this.digests[at],
      vouched: this.found.vouched.get(at)?.digest,
    };
  }

  settle(file: number): void {
    const at = file - this.first;
    this.isSettled[at] = 1;
    this.left--;
    if (this.found.types[at] === fileType) this.files--;
    this.large.delete(file);
  }

  /** Those that are not settled, as the payload of `offer`. */
  offer(): Uint8Array {
    if (this.left === this.found.length) {
      this.list ??= this.encode();
      return this.list;
    }
    return this.encode();
  }

  private encode(): Uint8Array {
    const entries = [];
    for (let file = this.first; file < this.end; file++)
      if (this.has(file)) entries.push(encodeEntry(offeredEntry(this.entry(file), file, this.inodes)));
    return encodeList(entries);
  }

  private entry(file: number): FoundEntry {
    this.below ??= splitTexts(this.found.below, this.found.length);
    return entryAt(this.found, file - this.first, this.nameOf(file), this.below[file - this.first] ?? '');
  }

  private entryType(at: number): FoundEntry['type'] {
    return entryTypes[this.found.types[at] ?? 0] ?? 'file';
  }
}
