import type { Connection } from '../connection';
import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import { type FileDone, type Listener, Meter, type Verified, type Waits } from '../progress';
import { encodeFrame } from '../protocol/frame';
import { parseReply, type Receipt, type Refusal, type Waited } from '../protocol/message';
import type { Outgoing, OutgoingQueue } from './outgoing';
import type { RateLimit } from './rate-limit';
import type { OpenSource } from './source';

/** What a sender decides for all of its conversations, and where they leave their results. */
export interface Sending {
  readonly queue: OutgoingQueue;
  readonly limit: RateLimit;
  readonly waits: Waits;
  readonly on: Listener;
  /** A file that was sent whole; `verified` null when the receiver closed without an answer. */
  readonly done: (file: FileDone) => void;
  readonly failed: (error: TransferError) => void;
  /** What the receiver said it waited for, so far on this connection. */
  readonly receiverWaited: (waited: Waited) => void;
  /** Looks again at a file that arrived different: `source-changed` if it is not what was hashed. */
  readonly recheck: (file: Outgoing, source: OpenSource) => Promise<TransferError | undefined>;
  readonly signal: AbortSignal | undefined;
  /** Whether this conversation may end early because another one can be had for the files that remain. */
  readonly mayRedial: boolean;
}

/** A file whose header has been sent, until its answer came. */
interface Awaiting {
  readonly file: Outgoing;
  bytesOnWire: number;
  /** Every byte of it was handed to the system. */
  complete: boolean;
  /** Its end was reported; an answer that still comes for it changes nothing. */
  settled: boolean;
  /** Its source is still being read. */
  reading: boolean;
}

/** Source bytes read at a time; two such pieces are on their way while a third is read. */
const readSize = 512 * 1024;
const ringLength = 3;
/** With less than this left, the rest of a refused file is sent all the same, since a new connection costs more. */
const cheapRest = 4 * 1024 * 1024;
/** So many files may be without an answer; the receiver keeps as many in work. */
const mostAwaiting = 1024;

/**
 * What became of the connection: nothing is left to send; another one is needed for what is left, `unused` if nothing was sent
 * on this one; or nothing can be sent at all.
 */
export type SendEnd = 'finished' | 'again' | 'unused' | TransferError;

/**
 * The sender's side of the plain wire: sends files until the queue is empty, and reads one answer for each. Never rejects:
 * each file that was taken from the queue ends in `done`, `skipped` or `failed`.
 */
export function sendPlain(connection: Connection, sending: Sending): Promise<SendEnd> {
  return new PlainSending(connection, sending).run();
}

class PlainSending {
  private readonly awaiting: Awaiting[] = [];
  private readonly ring: Buffer[] = [];
  private wake: () => void = () => undefined;
  private fatal: TransferError | undefined;
  private used = false;
  private ended: () => void = () => undefined;

  constructor(
    private readonly connection: Connection,
    private readonly sending: Sending,
  ) {}

  async run(): Promise<SendEnd> {
    const { signal, waits } = this.sending;
    const aborted = (): void => this.connection.close(new TransferError('interrupted', 'Interrupted.'));
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    const answers = this.readAnswers();
    try {
      const end = await this.sendFiles();
      // "A sender may finish in the middle of a payload": the answers of earlier files still arrive.
      await this.connection.finish();
      await waits.on('verify', answers);
      return this.fatal ?? (end === 'again' && !this.used ? 'unused' : end);
    } finally {
      signal?.removeEventListener('abort', aborted);
      this.connection.close();
    }
  }

  private async sendFiles(): Promise<SendEnd> {
    const { queue } = this.sending;
    while (!this.connection.failure && !this.fatal) {
      await this.nextReady();
      if (this.connection.failure) break;
      const file = await queue.take();
      if (file === undefined) return 'finished';
      if (file instanceof TransferError) this.sending.failed(file);
      else if (this.connection.failure) return this.unsent(file, this.connection.failure);
      else if (!(await this.sendFile(file))) return 'again';
      while (this.awaiting.length >= mostAwaiting && !this.connection.failure) await this.sending.waits.on('verify', this.nextAnswer());
    }
    return 'again';
  }

  /** A receiver may hang up while the next file is being hashed; that one then goes out on another connection. */
  private nextReady(): Promise<void> {
    return new Promise((resolve) => {
      this.ended = resolve;
      void this.sending.queue.ready().then(() => resolve());
    });
  }

  /** The connection was lost while this file was not ready: it is for the next one. */
  private async unsent(file: Outgoing, failure: TransferError): Promise<SendEnd> {
    if (this.sending.mayRedial && failure.code !== 'interrupted') {
      this.sending.queue.giveBack(file);
    } else {
      await file.source?.close();
      this.sending.failed(failure.about(file.name));
    }
    return 'again';
  }

  /** False when the connection is of no more use for the next file. */
  private async sendFile(file: Outgoing): Promise<boolean> {
    const { on, waits, limit, signal } = this.sending;
    const entry: Awaiting = { file, bytesOnWire: 0, complete: false, settled: false, reading: true };
    this.awaiting.push(entry);
    this.used = true;
    const meter = new Meter(on, file.name, 'send', file.size);
    try {
      const header = encodeFrame({ file_name: file.name, file_size: file.size, md5: file.md5, reply: true });
      await waits.on('network', limit.pass(header.length + (file.content?.length ?? 0), signal));
      if (file.source) await this.stream(entry, file.source, header, meter);
      else await this.write(entry, header, file.content ?? new Uint8Array(0));
      entry.complete = entry.bytesOnWire === header.length + file.size;
      return entry.complete;
    } catch (thrown) {
      const error = asTransferError(thrown, 'source-unreadable', 'Cannot read the file').about(file.name);
      // A connection that broke may have a refusal waiting that says why, so that is left to `readAnswers`.
      if (error.code !== 'connection-lost') this.fail(entry, error);
      return false;
    } finally {
      meter.stop();
      entry.reading = false;
      if (!this.awaiting.includes(entry)) await file.source?.close();
    }
  }

  /** Reads ahead of the socket. The last bytes wait until the file is known to be still what was hashed. */
  private async stream(entry: Awaiting, source: OpenSource, header: Uint8Array, meter: Meter): Promise<void> {
    const { waits, mayRedial, limit, signal } = this.sending;
    const { size } = entry.file;
    await this.write(entry, header);
    const writes: Promise<void>[] = [];
    try {
      for (let offset = 0, turn = 0; offset < size; turn++) {
        const rest = size - offset;
        if (entry.settled && mayRedial && rest > cheapRest) return;
        if (writes.length >= ringLength) await waits.on('network', writes.shift() ?? Promise.resolve());
        const piece = this.piece(turn).subarray(0, Math.min(readSize, rest));
        if ((await waits.on('source', source.read(piece, offset))) < piece.length) throw source.changed();
        offset += piece.length;
        if (offset === size) await source.checkUnchanged();
        await waits.on('network', limit.pass(piece.length, signal));
        const write = this.write(entry, piece);
        // Its failure is met where its turn comes; until then that is not an unhandled rejection.
        write.catch(() => undefined);
        writes.push(write);
        meter.update(offset);
      }
      await waits.on('network', Promise.all(writes));
    } finally {
      await Promise.allSettled(writes);
    }
  }

  private piece(turn: number): Buffer {
    return (this.ring[turn % ringLength] ??= Buffer.allocUnsafeSlow(readSize));
  }

  private async write(entry: Awaiting, ...pieces: Uint8Array[]): Promise<void> {
    await this.connection.sendBytes(...pieces);
    for (const piece of pieces) entry.bytesOnWire += piece.length;
  }

  /** Reads answers until the receiver finishes, then settles what got none. Never rejects. */
  private async readAnswers(): Promise<void> {
    let broken: TransferError | undefined;
    try {
      for (;;) {
        const header = await this.connection.readHeader({ silence: null, whole: 10_000 });
        if (header === undefined) break;
        await this.answered(parseReply(header));
      }
    } catch (error) {
      broken = asTransferError(error, 'connection-lost', 'The connection was lost');
    }
    this.connection.failure ??= broken ?? new TransferError('connection-lost', 'The receiver closed the connection.');
    // Nothing more can be confirmed: what is still being sent would be for nothing, and could block for ever.
    if (broken || this.awaiting.some(({ complete }) => !complete)) this.connection.close();
    for (const entry of [...this.awaiting]) {
      if (!entry.settled) this.withoutAnswer(entry, broken);
      await this.release(entry);
    }
    this.wake();
    this.ended();
  }

  private async answered(reply: Receipt | Refusal): Promise<void> {
    const entry = this.awaiting[0];
    if (!entry) throw new TransferError('bad-header', 'The receiver answered for a file that was not sent.');
    const { file } = entry;
    if (reply.type === 'receipt') {
      if (reply.md5 !== file.md5 || reply.file_size !== file.size) throw new TransferError('bad-header', 'The receiver answered for another file.');
      this.confirm(entry, reply);
    } else if (!entry.settled) {
      await this.refused(entry, reply);
    }
    await this.release(entry);
    this.wake();
  }

  private confirm(entry: Awaiting, { verified, path, waited }: Receipt): void {
    entry.settled = true;
    if (waited) this.sending.receiverWaited(waited);
    this.sending.done(this.fileDone(entry, verified, path));
  }

  private async refused(entry: Awaiting, { code, message, hint, skipped }: Refusal): Promise<void> {
    const { file } = entry;
    if (skipped) {
      entry.settled = true;
      this.sending.on({ event: 'skipped', file_name: file.name, reason: message });
      return;
    }
    const changed = code === 'mismatch' && file.source ? await this.sending.recheck(file, file.source) : undefined;
    const error = changed ?? new TransferError(code, message, { fileName: file.name, hint: hint ?? '' });
    if (code === 'not-authorized') this.fatal = error;
    this.fail(entry, error);
  }

  private withoutAnswer(entry: Awaiting, broken: TransferError | undefined): void {
    const { name } = entry.file;
    const reset = broken === undefined || broken.code === 'connection-lost';
    if (entry.complete && reset) {
      entry.settled = true;
      this.sending.done(this.fileDone(entry, null));
    } else {
      this.fail(entry, (broken ?? new TransferError('connection-lost', `The receiver closed the connection before all of ${printable(name)} was sent.`)).about(name));
    }
  }

  private fileDone({ file, bytesOnWire }: Awaiting, verified: Verified | null, path?: string): FileDone {
    return {
      file_name: file.name,
      file_size: file.size,
      digests: { md5: file.md5 },
      verified,
      ...(path === undefined ? {} : { path }),
      bytes_on_wire: bytesOnWire,
      seconds: (performance.now() - file.began) / 1000,
    };
  }

  /** No answer is awaited for it any more. A refusal may come while its source is still being read; then that side closes it. */
  private async release(entry: Awaiting): Promise<void> {
    this.awaiting.splice(this.awaiting.indexOf(entry), 1);
    if (!entry.reading) await entry.file.source?.close();
  }

  private fail(entry: Awaiting, error: TransferError): void {
    entry.settled = true;
    this.sending.failed(error);
  }

  private nextAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}
