// Large files for several receivers: who shares which reading, and the threads that read.
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { TransferError } from '../errors';
import { ignored } from '../trace';
import { type MissedPiece, type Piece, type PieceReader, type ReadOrder, SegmentReader } from './segment-reader';
import { SharedReading, type WindowSize } from './shared-reading';

/** Window in ms for receivers that keep pace and have not asked for the file yet. */
const waitsForOthers = 1_000;
/** Files that may be read at once for receivers that share them, and for single ones. */
const mostShared = 2;
const mostOwn = 2;
/** Pieces that one thread reads before anyone asks. */
const readAhead = 4;
/** Readings that have ended and are remembered, so that who comes later need not hash again. */
const mostRemembered = 1024;

/** One receiver, as far as it concerns what is read for all. */
interface Sharer {
  /** Whether it asks for files when the others do: then they wait for it. */
  keepsPace: boolean;
}

/**
 * Reads each large file once for all receivers that have nothing of it. One that holds some of it, or has something
 * like it, has a reading of its own, which compares.
 */
export class SharedSegments {
  private readonly sharers = new Set<Sharer>();
  /** By name; no two files of a transfer have the same. */
  private readonly files = new Map<string, { readonly file: SharedReading; readonly joined: Set<Sharer> }>();
  private readonly shared: ReaderPool;
  private readonly own: ReaderPool;
  private readonly window: WindowSize;
  private wake: (() => void)[] = [];
  private closed = false;

  constructor(receivers: number) {
    this.window = windowFor(receivers);
    const { pieces, each } = this.window;
    this.shared = new ReaderPool(mostShared, pieces + each * receivers + readAhead);
    this.own = new ReaderPool(mostOwn, each + readAhead);
  }

  /** The share of one receiver; closing it is telling that it wants nothing more. */
  share(): PieceReader {
    const sharer: Sharer = { keepsPace: true };
    this.sharers.add(sharer);
    return {
      read: (order, signal) => this.read(sharer, order, signal),
      readStream: (input: Readable) => this.refuse(input),
      warm: () => this.shared.warm(),
      close: () => {
        this.sharers.delete(sharer);
        this.arrived();
        return Promise.resolve();
      },
    };
  }

  async close(): Promise<void> {
    this.closed = true;
    this.arrived();
    await Promise.all([this.shared.close(), this.own.close()]);
  }

  private read(
    sharer: Sharer,
    order: ReadOrder,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Piece | MissedPiece, void, undefined> {
    const { held, basis } = order;
    if ((held?.size ?? 0) > 0 || (basis?.length ?? 0) > 0) return this.readOwn(sharer, order, signal);
    return this.follow(sharer, order, signal);
  }

  private async *readOwn(
    sharer: Sharer,
    order: ReadOrder,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Piece, void, undefined> {
    // The other receivers need not wait for one whose large files take longer.
    this.fallsBehind(sharer);
    const reader = await this.own.take(signal);
    try {
      yield* reader.read(order, signal);
    } finally {
      this.own.giveBack(reader);
    }
  }

  private async *follow(
    sharer: Sharer,
    order: ReadOrder,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Piece | MissedPiece, void, undefined> {
    const known = this.files.get(order.source.name);
    const { file, joined } = known && !known.file.hasFailed ? known : this.begin(order);
    joined.add(sharer);
    sharer.keepsPace = true;
    this.arrived();
    yield* file.follow(signal);
  }

  private begin(order: ReadOrder): { readonly file: SharedReading; readonly joined: Set<Sharer> } {
    const { name } = order.source;
    const file = new SharedReading(this.window, () => this.shared.isWaitedFor);
    const begun = { file, joined: new Set<Sharer>() };
    this.files.set(name, begun);
    void this.start(order, begun).catch(ignored('those who follow are told'));
    return begun;
  }

  private async start(
    order: ReadOrder,
    { file, joined }: { readonly file: SharedReading; readonly joined: ReadonlySet<Sharer> },
  ): Promise<void> {
    await this.allWho(joined);
    const taking = this.shared.take(undefined);
    for (const { file: other } of this.files.values()) other.look();
    const reader = await taking;
    try {
      await file.read(reader.read({ source: order.source, algorithm: order.algorithm }));
    } finally {
      this.shared.giveBack(reader);
    }
    this.forgetOld();
  }

  /** Waits, for a limited time, until all receivers that keep pace have joined; those that have not are behind. */
  private async allWho(joined: ReadonlySet<Sharer>): Promise<void> {
    const until = performance.now() + waitsForOthers;
    const missing = (): Sharer[] => [...this.sharers].filter((each) => each.keepsPace && !joined.has(each));
    for (
      let left = waitsForOthers;
      !this.closed && left > 0 && missing().length > 0;
      left = until - performance.now()
    ) {
      const late = new AbortController();
      await Promise.race([
        new Promise<void>((resolve) => this.wake.push(resolve)),
        sleep(left, undefined, { signal: late.signal }).catch(ignored('somebody came')),
      ]);
      late.abort();
    }
    for (const each of missing()) this.fallsBehind(each);
  }

  private fallsBehind(sharer: Sharer): void {
    sharer.keepsPace = false;
    this.arrived();
  }

  /** A receiver has joined, or need not be waited for. */
  private arrived(): void {
    for (const wake of this.wake.splice(0)) wake();
  }

  private forgetOld(): void {
    for (const [name, { file }] of this.files) {
      if (this.files.size <= mostRemembered) return;
      if (file.isRead || file.hasFailed) this.files.delete(name);
    }
  }

  private async *refuse(input: Readable): AsyncGenerator<Piece, void, undefined> {
    input.destroy();
    await Promise.reject(new TransferError('unexpected', 'A stream cannot be shared.'));
  }
}

/** More pieces for each where there are few receivers: what is sealed for one is memory, too. */
function windowFor(receivers: number): WindowSize {
  return { pieces: 16, each: receivers <= 8 ? 8 : 2 };
}

/** Threads that read one file each, started when they are needed; where none is free, a caller waits for its turn. */
class ReaderPool {
  private readonly free: SegmentReader[] = [];
  private readonly readers: SegmentReader[] = [];
  private readonly waiting: ((reader: SegmentReader) => void)[] = [];

  constructor(
    private readonly most: number,
    /** Pieces of memory for each, which cost nothing before they are used. */
    private readonly slots: number,
  ) {}

  /** Whether somebody waits for a thread. */
  get isWaitedFor(): boolean {
    return this.waiting.length > 0;
  }

  /** Waits for a turn; give it back exactly once. Rejects with `interrupted` after `signal`. */
  async take(signal: AbortSignal | undefined): Promise<SegmentReader> {
    const ready = this.free.pop() ?? (this.readers.length < this.most ? this.start() : undefined);
    if (ready) return ready;
    let wake: (reader: SegmentReader) => void = () => undefined;
    const turn = new Promise<SegmentReader>((resolve) => {
      wake = resolve;
    });
    this.waiting.push(wake);
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.waiting.splice(this.waiting.indexOf(wake), 1);
        reject(new TransferError('interrupted', 'Interrupted.'));
      };
      signal?.addEventListener('abort', stop, { once: true });
      void turn.then((reader) => {
        signal?.removeEventListener('abort', stop);
        resolve(reader);
      });
    });
  }

  giveBack(reader: SegmentReader): void {
    const next = this.waiting.shift();
    if (next) next(reader);
    else this.free.push(reader);
  }

  /** Starts a thread before it is needed. */
  warm(): void {
    if (this.readers.length > 0) return;
    const reader = this.start();
    reader.warm();
    this.free.push(reader);
  }

  async close(): Promise<void> {
    await Promise.all(this.readers.map((reader) => reader.close()));
  }

  private start(): SegmentReader {
    const reader = new SegmentReader({ slots: this.slots, ahead: readAhead });
    this.readers.push(reader);
    return reader;
  }
}
