import type { OwnDescriptor, SocketCalls } from '../threads/socket-calls';
import { TransferError } from '../errors';
import { encodeFrame } from '../wire/frame';
import { notSealedHere, recordLength, recordPrefix, tagLength } from '../wire/record';
import type { LinkDeadlines } from './link';
import { createRecordCipher, type PieceOf, type RecordCipher, type RecordState } from './record-cipher';

/** What a thread needs to go on with a sealed connection. */
export interface SealedSetup {
  readonly fd: OwnDescriptor['fd'];
  readonly early: Uint8Array;
  readonly incoming: RecordState;
  readonly outgoing: RecordState;
  readonly deadlines: LinkDeadlines;
}

const longestCall = 1_000;
const aliveMessage = { type: 'heartbeat' };

/**
 * A sealed connection in a thread of its own, with calls that wait: records in both directions, heartbeats and
 * deadlines. All methods throw `connection-lost` or `timeout`, and `bad-frame` for what is no record.
 */
export class SealedLink {
  private readonly opener: RecordCipher;
  private readonly sealer: RecordCipher;
  private readonly prefix = new Uint8Array(recordPrefix);
  private readonly tag = new Uint8Array(tagLength);
  private early: Uint8Array;
  /** Most ms that one call waits: everything else is checked in between. */
  readonly patience: number;
  private heardAt = performance.now();
  private sentAt = performance.now();

  constructor(
    private readonly setup: SealedSetup,
    private readonly calls: SocketCalls,
  ) {
    this.opener = createRecordCipher(setup.incoming);
    this.sealer = createRecordCipher(setup.outgoing);
    this.early = setup.early;
    const { heartbeat, silence } = setup.deadlines;
    this.patience = Math.min(longestCall, heartbeat, silence / 4);
    calls.block(setup.fd, this.patience, this.patience);
  }

  /**
   * Receives the next record into `memory`, and waits for it: all of it with its tag, without its length; undefined
   * where the other side has finished. `open` comes next.
   */
  receive(memory: (length: number) => Uint8Array): Uint8Array | undefined {
    if (!this.fill(this.prefix, true)) return undefined;
    const record = memory(recordLength(this.prefix) + tagLength);
    this.fill(record, false);
    return record;
  }

  /**
   * Opens what `receive` has received. Only then may what is in `pieces` be looked at, but for where the next one
   * begins.
   */
  open(record: Uint8Array, pieces: PieceOf): void {
    const end = record.length - tagLength;
    if (!this.opener.open(this.prefix, record.subarray(0, end), record.subarray(end), pieces)) throw notSealedHere();
  }

  /**
   * Takes off heartbeats that are here, and waits for nothing. False once the other side has finished. Throws `timeout`
   * where it has said nothing for too long.
   */
  hear(memory: Uint8Array): boolean {
    const { calls, setup } = this;
    for (;;) {
      const held = this.early;
      memory.set(held);
      const count = this.call(() => calls.receiveReady(setup.fd, memory.subarray(held.length)));
      if (count === undefined) return this.notSilent();
      if (count === 0) return false;
      this.heardAt = performance.now();
      let rest = memory.subarray(0, held.length + count);
      while (rest.length >= recordPrefix) {
        this.prefix.set(rest.subarray(0, recordPrefix));
        const end = recordPrefix + recordLength(this.prefix, memory.length - recordPrefix - tagLength) + tagLength;
        if (rest.length < end) break;
        const record = rest.subarray(recordPrefix, end);
        const plain = new Uint8Array(record.length - tagLength);
        this.open(record, () => plain);
        rest = rest.subarray(end);
      }
      this.early = rest.slice();
    }
  }

  /** Seals a frame where its payload lies, and sends it. Returns what it cost beside the payload, in bytes. */
  send(header: object, payload: readonly Uint8Array[], whileWaiting: () => void): number {
    const frame = encodeFrame(header);
    const first = Buffer.alloc(recordPrefix + frame.length);
    first.set(frame, recordPrefix);
    const pieces = [first.subarray(recordPrefix), ...payload];
    first.writeUInt32LE(pieces.reduce((sum, { length }) => sum + length, 0));
    this.sealer.seal(first.subarray(0, recordPrefix), pieces, this.tag);
    for (const piece of [first, ...payload]) this.sendAll(piece, true, whileWaiting);
    this.sendAll(this.tag, false, whileWaiting);
    this.sentAt = performance.now();
    return first.length + tagLength;
  }

  /** Says that we are alive, where nothing else was sent for long. */
  beat(whileWaiting: () => void = () => this.notSilent()): void {
    if (performance.now() - this.sentAt >= this.setup.deadlines.heartbeat) this.send(aliveMessage, [], whileWaiting);
  }

  /** Time in which we did not read, because our own disk is slow, does not count. */
  forgive(): void {
    this.heardAt = performance.now();
  }

  finish(): void {
    this.call(() => this.calls.finish(this.setup.fd));
  }

  close(): void {
    this.opener.close();
    this.sealer.close();
  }

  /** Throws where the other side has said nothing for too long. */
  notSilent(): true {
    const { silence } = this.setup.deadlines;
    if (performance.now() - this.heardAt < silence) return true;
    throw new TransferError('timeout', `Nothing arrived for ${String(silence / 1000)} s.`);
  }

  /** False where the other side has finished before the first byte, which it may only `between` two records. */
  private fill(memory: Uint8Array, between: boolean): boolean {
    const { calls, setup } = this;
    let done = Math.min(this.early.length, memory.length);
    memory.set(this.early.subarray(0, done));
    this.early = this.early.subarray(done);
    while (done < memory.length) {
      const count = this.call(() => calls.receive(setup.fd, memory.subarray(done)));
      if (count === 0 && done === 0 && between) return false;
      if (count === 0)
        throw new TransferError('connection-lost', 'The connection ended in the middle of a sealed record.');
      if (count === undefined) this.notSilent();
      else this.heardAt = performance.now();
      done += count ?? 0;
      this.beat();
    }
    return true;
  }

  private sendAll(bytes: Uint8Array, more: boolean, whileWaiting: () => void): void {
    const { calls, setup } = this;
    for (let done = 0; done < bytes.length;) {
      const count = this.call(() => calls.send(setup.fd, bytes.subarray(done), more));
      if (count === undefined) whileWaiting();
      done += count ?? 0;
    }
  }

  /** What goes wrong with a socket means that it is lost. */
  private call<T>(call: () => T): T {
    try {
      return call();
    } catch (cause) {
      throw new TransferError('connection-lost', 'The connection was lost.', { cause });
    }
  }
}
