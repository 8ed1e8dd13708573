import type { Lease } from '../threads/aligned-memory';
import type { Connection } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import { type Digests, type Listener, Meter, type Waits } from '../progress';
import type { Close, Copy, Keep, Segment } from '../wire/session-message';
import type { FileEntry } from '../wire/session-list';
import { pieceSize, segmentCountOf, segmentSizeOf } from '../wire/segment';
import type { PartialFile } from '../store/local/partial-file';
import type { Answers } from './answers';
import type { LargeArrival } from './arriving-offer';
import type { Earlier } from './intake';
import type { Stored } from './unsettled';

/** What an arriving file says to the conversation that it is part of. */
export interface ArrivingSink {
  readonly on: Listener;
  readonly waits: Waits;
  readonly answers: Answers;
  /** Tells the sender that it is wanted. */
  ask(file: ArrivingFile): void;
  /** Waits for `whole`: what a closed file lacks may be on its way on any connection. Rejects with `timeout` where it is on none. */
  arrival(whole: Promise<void>): Promise<void>;
  stored(file: ArrivingFile, stored: Stored): void;
  /** It need not be stored: this one is the same. */
  linked(file: ArrivingFile, earlier: Earlier): void;
  failed(file: ArrivingFile, error: TransferError): void;
}

/** A file that does not match after so many repairs has a disk or a memory under it that will not do better. */
const mostRepairs = 3;

/**
 * One file that arrives in segments: held segments first, then what the sender sends, keeps or copies, then the reading back; and the
 * same again with what was found damaged. "One code path for fresh, resumed, repaired, repeated and updated transfers."
 */
export class ArrivingFile {
  readonly entry: FileEntry;
  /** Payload and headers of its segments, in bytes. */
  bytesOnWire = 0;
  private readonly meter: Meter;
  private received = 0;
  private repairs = 0;
  /** The segments that were sent again because they were found damaged. */
  private readonly damaged = new Set<number>();
  /** The sender was told that it is wanted, and has not closed it since. */
  private wanted = false;
  private ended = false;

  constructor(
    private readonly arrival: LargeArrival,
    private readonly partial: PartialFile,
    private readonly sink: ArrivingSink,
  ) {
    const { entry } = arrival;
    this.entry = entry;
    sink.on({ event: 'started', file_name: entry.name, file_size: entry.size ?? 0 });
    this.meter = new Meter(sink.on, entry.name, 'receive', entry.size ?? 0, () => Math.min(this.received, entry.size ?? this.received));
  }

  /** Tells the sender what is here already, or stands here and may be alike, and that the rest is wanted. */
  async begin(): Promise<void> {
    const { file, size = 0 } = this.entry;
    const { answers } = this.sink;
    await this.guard(async () => {
      const held = await this.partial.held();
      if (held.length > 0) answers.held(held.map(({ segment, digest }) => ({ file, segment, digest })));
      // Not where all is here: what was copied and turned out damaged is not copied again.
      if (held.length < segmentCountOf(size)) answers.standing(file, await this.partial.standing());
      this.wanted = true;
      this.sink.ask(this);
    });
  }

  /**
   * Takes a segment off the connection. Rejects only with what ends the connection: what goes wrong with the file is told to
   * the sink, and its payload thrown away.
   */
  async segment(connection: Connection, segment: Segment): Promise<void> {
    this.check(segment);
    const { offset, size, zero } = segment;
    const { admitted, unlessSame } = this.arrival;
    if (unlessSame) this.fail(unlessSame);
    const good = await this.guard(async () => {
      if (this.entry.size === undefined) await admitted.grow(offset + size);
      await this.sink.waits.on('write', this.partial.room());
    });
    if (!good || this.ended) {
      if (!zero) await connection.skip(size);
      return;
    }
    const lease = zero ? undefined : await this.fill(connection, size);
    if (this.ended) {
      lease?.release();
      return;
    }
    const taken = lease ? this.partial.put(lease, offset, size) : this.partial.zero(offset, size);
    if (!taken) return;
    if (lease) admitted.wrote(size);
    this.received += size;
    if (this.repairs > 0) this.markDamaged(offset, size);
  }

  /** A segment whose bytes are here already, as `segment`; its memory is given back in any case. */
  async arrived(segment: Segment, lease: Lease | undefined): Promise<void> {
    try {
      this.check(segment);
    } catch (error) {
      lease?.release();
      throw error;
    }
    const { offset, size } = segment;
    const { admitted, unlessSame } = this.arrival;
    if (unlessSame) this.fail(unlessSame);
    const good = await this.guard(() => this.sink.waits.on('write', this.partial.room()));
    if (!good || this.ended) {
      lease?.release();
      return;
    }
    if (!(lease ? this.partial.put(lease, offset, size) : this.partial.zero(offset, size))) return;
    if (lease) admitted.wrote(size);
    this.received += size;
    if (this.repairs > 0) this.markDamaged(offset, size);
  }

  /** These segments are as they should be. Throws `bad-header` for those that the sender was not told of. */
  keep({ first, count }: Keep): void {
    if (this.ended) return;
    this.checkWanted('kept');
    this.partial.keep(first, count);
  }

  /** These bytes stand here. Throws `bad-header` for what is no whole pieces, or stands in nothing that the sender was told of. */
  async copy({ offset, size, from }: Copy): Promise<void> {
    if (this.ended) return;
    this.checkWanted('copied');
    this.check({ offset, size, zero: true });
    const { admitted, unlessSame } = this.arrival;
    if (unlessSame && from !== offset) this.fail(unlessSame);
    const good = await this.guard(() => this.sink.waits.on('write', this.partial.room()));
    if (!good || this.ended || !this.partial.copy(offset, size, from)) return;
    admitted.wrote(size);
    this.received += size;
  }

  /** The sender has sent everything: reads it back and stores it, or says what is here and waits for the rest again. */
  async close({ size, digests }: Close, algorithm: keyof Digests): Promise<void> {
    if (this.entry.size !== undefined && this.entry.size !== size) throw new TransferError('bad-header', `A file was offered with ${String(this.entry.size)} bytes, and closed with ${String(size)}.`);
    const expected = digests[algorithm];
    if (expected === undefined) throw new TransferError('bad-header', `A file was closed without its ${algorithm}.`);
    this.checkWanted('closed');
    this.wanted = false;
    await this.guard(async () => {
      // What is closed may be on its way yet.
      const { alike } = this.arrival;
      if (alike?.linkable === true && alike.digest === expected) {
        this.end();
        await this.partial.discard();
        this.sink.linked(this, alike);
        return;
      }
      await this.sink.arrival(this.partial.whole(size));
      try {
        await this.sink.waits.on('verify', this.verify(size, { [algorithm]: expected }));
      } catch (error) {
        if (!(error instanceof TransferError) || error.code !== 'mismatch' || this.entry.size === undefined || ++this.repairs > mostRepairs) throw error;
        // "A segment found bad at this point is asked for again: same code."
        await this.begin();
        return;
      }
      // Whatever still comes of it, twice, is thrown away from here on.
      this.end();
      const committed = await this.partial.commit().catch((error: unknown) => this.refuse(storingError(error)));
      if (committed) this.sink.stored(this, { committed, digests: { [algorithm]: expected }, size, bytesOnWire: this.bytesOnWire, repaired: this.damaged.size });
    });
  }

  /** The sender gave this file up, or it cannot be stored. */
  fail(error: TransferError): void {
    if (this.ended) return;
    this.end();
    this.refuse(error);
  }

  /** The conversation ends before this file: what is here is kept for the next one. */
  async suspend(): Promise<void> {
    this.end();
    await this.partial.suspend();
  }

  private refuse(error: TransferError): void {
    this.sink.failed(this, error.about(this.entry.name));
    // What is wrong with the disk was the reason, and is told already.
    this.partial.discard().catch(() => undefined);
  }

  private async verify(size: number, digests: Digests): Promise<void> {
    const { sink, entry } = this;
    let done = 0;
    const meter = new Meter(
      (event) => {
        sink.on(event);
        sink.answers.progress(entry.file, done);
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

  /** The bytes of a piece, in memory from which they can be written. Rejects with what ends the connection. */
  private async fill(connection: Connection, size: number): Promise<Lease> {
    const { memory } = this.partial;
    const { waits } = this.sink;
    const lease = memory.tryLease();
    let filled = 0;
    if (lease) {
      try {
        filled = await waits.on('network', connection.fill(lease.bytes.subarray(0, size), () => memory.contended));
      } catch (error) {
        lease.release();
        throw error;
      }
      if (filled === size) return lease;
    }
    // Others need that memory, or have all of it: who is slow waits for its bytes in memory of its own.
    const bytes = new Uint8Array(size);
    if (lease) bytes.set(lease.bytes.subarray(0, filled));
    lease?.release();
    await waits.on('network', connection.fill(bytes.subarray(filled)));
    const free = await waits.on('write', memory.lease());
    free.bytes.set(bytes);
    return free;
  }

  private markDamaged(offset: number, size: number): void {
    const segmentSize = segmentSizeOf(this.entry.size ?? 0);
    for (let at = offset; at < offset + size; at += pieceSize) this.damaged.add(Math.floor(at / segmentSize));
  }

  /** Throws `bad-header` where nobody asked for it: not yet, or not since it was closed. */
  private checkWanted(what: string): void {
    if (!this.wanted) throw new TransferError('bad-header', `${printable(this.entry.name)} was ${what} while it was not asked for.`);
  }

  private check({ offset, size, zero }: Pick<Segment, 'offset' | 'size' | 'zero'>): void {
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
      const error = storingError(thrown);
      if (error.code === 'bad-header' || error.code === 'timeout') throw error;
      this.fail(error);
      return false;
    }
  }

  private end(): void {
    this.ended = true;
    this.meter.stop();
  }
}

function storingError(error: unknown): TransferError {
  return asTransferError(error, 'disk', 'The file could not be stored');
}
