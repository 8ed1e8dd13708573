import type { Connection } from '../../connection';
import { asTransferError, TransferError } from '../../errors';
import { printable } from '../../name';
import { type Digests, type Listener, Meter, type Waits } from '../../progress';
import type { Close, Keep, Segment } from '../../protocol/session-message';
import type { FileEntry, HeldSegment } from '../../protocol/session-list';
import { pieceSize } from '../../protocol/segment';
import type { PartialFile } from '../../store/partial-file';
import type { Committed } from '../../store/store';

/** What an arriving file says to the conversation that it is part of. */
export interface ArrivingSink {
  readonly on: Listener;
  readonly waits: Waits;
  /** The segments that are here, for the sender to compare. */
  held(segments: readonly HeldSegment[]): void;
  wanted(file: number): void;
  progress(file: number, done: number): void;
  stored(file: ArrivingFile, committed: Committed, digests: Digests): void;
  failed(file: ArrivingFile, error: TransferError): void;
}

/** A file that does not match after so many repairs has a disk or a memory under it that will not do better. */
const mostRepairs = 3;

/**
 * One file that arrives in segments: held segments first, then what the sender sends or keeps, then the reading back; and the
 * same again with what was found damaged. "One code path for fresh, resumed, repaired, repeated and updated transfers."
 */
export class ArrivingFile {
  readonly began = performance.now();
  /** Payload and headers of its segments, in bytes. */
  bytesOnWire = 0;
  private readonly meter: Meter;
  private received = 0;
  private repairs = 0;
  private readonly damaged = new Set<number>();
  private ended = false;

  constructor(
    readonly entry: FileEntry,
    private readonly partial: PartialFile,
    private readonly sink: ArrivingSink,
    /** Why a file of this name whose content differs is not taken at all. */
    private readonly unlessSame: TransferError | undefined,
  ) {
    sink.on({ event: 'started', file_name: entry.name, file_size: entry.size ?? 0 });
    this.meter = new Meter(sink.on, entry.name, 'receive', entry.size ?? 0, () => Math.min(this.received, entry.size ?? this.received));
  }

  /** How many segments were sent again because they were found damaged. */
  get repaired(): number {
    return this.damaged.size;
  }

  /** Tells the sender what is here already, and that the rest is wanted. */
  async begin(): Promise<void> {
    await this.guard(async () => {
      const held = await this.partial.held();
      if (held.length > 0) this.sink.held(held.map(({ segment, digest }) => ({ file: this.entry.file, segment, digest })));
      this.sink.wanted(this.entry.file);
    });
  }

  /**
   * Takes a segment off the connection. Rejects only with what ends the connection: what goes wrong with the file is told to
   * the sink, and its payload thrown away.
   */
  async segment(connection: Connection, segment: Segment): Promise<void> {
    this.check(segment);
    const { offset, size, zero } = segment;
    if (this.unlessSame) this.fail(this.unlessSame);
    const good = await this.guard(() => this.sink.waits.on('write', this.partial.room()));
    if (!good || this.ended) {
      if (!zero) await connection.skip(size);
      return;
    }
    if (this.repairs > 0) this.damaged.add(Math.floor(offset / pieceSize));
    if (zero) {
      this.partial.zero(offset, size);
    } else {
      const { memory } = this.partial;
      let lease = memory.tryLease();
      if (lease) {
        try {
          await this.sink.waits.on('network', connection.fill(lease.bytes.subarray(0, size)));
        } catch (error) {
          lease.release();
          throw error;
        }
      } else {
        // All of it is lent to connections that may be slow; this one does not wait for them.
        const bytes = new Uint8Array(size);
        await this.sink.waits.on('network', connection.fill(bytes));
        lease = await this.sink.waits.on('write', memory.lease());
        lease.bytes.set(bytes);
      }
      this.partial.put(lease, offset, size);
    }
    this.received += size;
  }

  keep({ first, count }: Keep): void {
    this.partial.keep(first, count);
  }

  /** The sender has sent everything: reads it back and stores it, or says what is here and waits for the rest again. */
  async close({ size, digests }: Close, algorithm: keyof Digests): Promise<void> {
    if (this.entry.size !== undefined && this.entry.size !== size) throw new TransferError('bad-header', `A file was offered with ${String(this.entry.size)} bytes, and closed with ${String(size)}.`);
    const expected = digests[algorithm];
    if (expected === undefined) throw new TransferError('bad-header', `A file was closed without its ${algorithm}.`);
    await this.guard(async () => {
      try {
        await this.sink.waits.on('verify', this.verify(size, { [algorithm]: expected }));
      } catch (error) {
        if (!(error instanceof TransferError) || error.code !== 'mismatch' || this.entry.size === undefined || ++this.repairs > mostRepairs) throw error;
        // "A segment found bad at this point is asked for again: same code."
        await this.begin();
        return;
      }
      const committed = await this.partial.commit();
      this.end();
      this.sink.stored(this, committed, { [algorithm]: expected });
    });
  }

  /** The sender gave this file up, or it cannot be stored. */
  fail(error: TransferError): void {
    if (this.ended) return;
    this.end();
    this.sink.failed(this, error.about(this.entry.name));
    // What is wrong with the disk was the reason, and is told already.
    this.partial.discard().catch(() => undefined);
  }

  /** The conversation ends before this file: what is here is kept for the next one. */
  async suspend(): Promise<void> {
    this.end();
    await this.partial.suspend();
  }

  private async verify(size: number, digests: Digests): Promise<void> {
    const { sink, entry } = this;
    let done = 0;
    const meter = new Meter(
      (event) => {
        sink.on(event);
        sink.progress(entry.file, done);
      },
      entry.name,
      'verify',
      size,
      () => done,
    );
    try {
      await this.partial.verify(size, digests, (now) => {
        done = now;
      });
    } finally {
      meter.stop();
    }
  }

  private check({ offset, size, zero }: Segment): void {
    const end = this.entry.size;
    const whole = offset % pieceSize === 0 && (size === pieceSize || (zero && size % pieceSize === 0) || end === undefined || offset + size === end);
    if (whole && size > 0 && (zero || size <= pieceSize) && (end === undefined || offset + size <= end)) return;
    throw new TransferError('bad-header', `${String(size)} bytes at ${String(offset)} are no piece of ${printable(this.entry.name)}.`);
  }

  /** Runs what may fail for this file alone; false when it did. */
  private async guard(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (thrown) {
      const error = asTransferError(thrown, 'disk', 'The file could not be stored');
      if (error.code === 'bad-header') throw error;
      this.fail(error);
      return false;
    }
  }

  private end(): void {
    this.ended = true;
    this.meter.stop();
  }
}
