import type { Connection } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import { Meter, type Waits } from '../progress';
import { encodeFrame } from '../wire/frame';
import type { PlainOutgoing, OutgoingQueue, PlainFile } from './outgoing';
import { Answers, type AnswerSink, type Awaiting } from './plain-answers';
import type { RateLimit } from './rate-limit';
import type { OpenSource } from './open-source';
import type { PlainRun, RunFile } from './small-source-reader';
import { ignored } from '../trace';

/** What a sender decides for all of its conversations, and where they leave their results. */
export interface PlainTransfer extends AnswerSink {
  readonly queue: OutgoingQueue;
  readonly limit: RateLimit;
  readonly waits: Waits;
  readonly signal: AbortSignal | undefined;
  /** Whether this conversation may end early because another one can be had for the files that remain. */
  readonly mayRedial: boolean;
}

/** Source bytes read at a time: while one piece is read, and one waits, two are on their way. */
const readSize = 2 * 1024 * 1024;
const ringLength = 4;
/** With less than this left, the rest of a refused file is sent all the same, since a new connection costs more. */
const cheapRest = 4 * 1024 * 1024;

/**
 * How the connection ended: nothing is left to send (`finished`); another one is needed for what is left (`again`, or
 * `unused` if nothing was sent on this one); or nothing can be sent at all.
 */
export type SendEnd = 'finished' | 'again' | 'unused' | TransferError;

/**
 * The sender's side of the plain wire: sends files until the queue is empty, and reads one answer for each. Never
 * rejects: each file that was taken from the queue ends in `done`, `skipped` or `failed`.
 */
export function sendPlain(connection: Connection, sending: PlainTransfer): Promise<SendEnd> {
  return new PlainSending(connection, sending).run();
}

/** One conversation of the plain wire, on one connection. */
class PlainSending {
  private readonly answers: Answers;
  private readonly ring: Buffer[] = [];
  private turn = 0;
  private used = false;
  private ended: () => void = () => undefined;

  constructor(
    private readonly connection: Connection,
    private readonly sending: PlainTransfer,
  ) {
    this.answers = new Answers(connection, sending);
  }

  async run(): Promise<SendEnd> {
    const { signal, waits } = this.sending;
    const aborted = (): void => this.connection.close(new TransferError('interrupted', 'Interrupted.'));
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    const answered = this.answers.read().then(() => this.ended());
    try {
      const end = await this.sendFiles();
      // "A sender may finish in the middle of a payload": the answers of earlier files still arrive.
      await this.connection.finish();
      await waits.on('verify', answered);
      return this.answers.fatal ?? (end === 'again' && !this.used ? 'unused' : end);
    } finally {
      signal?.removeEventListener('abort', aborted);
      this.connection.close();
    }
  }

  private async sendFiles(): Promise<SendEnd> {
    const { queue } = this.sending;
    while (!this.connection.failure && !this.answers.fatal) {
      await this.nextReady();
      if (this.connection.failure) break;
      const next = await queue.take();
      if (next === undefined) return 'finished';
      if (next instanceof TransferError) this.sending.failed(next);
      else if (this.connection.failure) return this.unsent(next, this.connection.failure);
      else if (!(await ('source' in next ? this.sendFile(next) : this.sendRun(next)))) return 'again';
      await this.sending.waits.on('verify', this.answers.room());
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

  /** The connection was lost while this was not ready: it is for the next one. */
  private async unsent(outgoing: PlainOutgoing, failure: TransferError): Promise<SendEnd> {
    if (this.sending.mayRedial && failure.code !== 'interrupted') {
      this.sending.queue.giveBack(outgoing);
    } else if ('source' in outgoing) {
      await outgoing.source.close();
      this.sending.failed(failure.about(outgoing.name));
    } else {
      outgoing.release();
      for (const { name } of outgoing.files) this.sending.failed(failure.about(name));
    }
    return 'again';
  }

  /**
   * Small files, all in one write where no rate is to be kept. False when the connection is of no more use for what is
   * next.
   */
  private async sendRun(run: PlainRun): Promise<boolean> {
    const { files, bytes } = run;
    const together = this.sending.limit.unlimited ? files.length : 1;
    let sent = 0;
    let goesOn = true;
    while (goesOn && sent < files.length) {
      goesOn = await this.sendTogether(files.slice(sent, sent + together), bytes);
      sent += together;
      // Nobody awaits answers any more.
      if (this.connection.failure || this.answers.fatal) goesOn = false;
    }
    const rest = files.slice(sent);
    if (rest.length === 0) run.release();
    else {
      const lost = this.connection.failure ?? new TransferError('connection-lost', 'The connection was lost.');
      await this.unsent({ files: rest, bytes, release: () => run.release() }, lost);
    }
    return goesOn;
  }

  private async sendTogether(files: readonly RunFile[], bytes: Uint8Array): Promise<boolean> {
    const { on, waits, limit, signal } = this.sending;
    const [first, last] = [files[0], files.at(-1)];
    if (!first || !last) return true;
    const meter = new Meter(on, first.name, 'send', first.size);
    this.used = true;
    const entries = files.map((file) => this.answers.expect(file));
    try {
      await waits.on('limit', limit.pass(last.end - first.begin, signal));
      for (let at = 0; at < files.length; at++) {
        const entry = entries[at];
        if (entry) entry.handed = entry.file.size;
      }
      await waits.on('network', this.connection.sendBytes(bytes.subarray(first.begin, last.end)));
      for (let at = 0; at < files.length; at++) {
        const entry = entries[at];
        const { begin, end } = files[at] ?? first;
        if (!entry) continue;
        entry.bytesOnWire = end - begin;
        entry.complete = true;
      }
      return true;
    } catch (thrown) {
      const error = asTransferError(thrown, 'unexpected', 'Sending failed');
      // A connection that broke may have a refusal waiting that says why, so that is left to the answers.
      if (error.code !== 'connection-lost')
        for (const entry of entries) this.answers.fail(entry, error.about(entry.file.name));
      return false;
    } finally {
      meter.stop();
    }
  }

  /** False when the connection is of no more use for the next file. */
  private async sendFile(file: PlainFile): Promise<boolean> {
    const { on, waits, limit, signal } = this.sending;
    const entry = this.answers.expect(file, file.source);
    this.used = true;
    const meter = new Meter(on, file.name, 'send', file.size);
    try {
      const header = encodeFrame({ file_name: file.name, file_size: file.size, md5: file.md5, reply: true });
      await waits.on('limit', limit.pass(header.length, signal));
      await this.stream(entry, file.source, header, meter);
      entry.complete = entry.bytesOnWire === header.length + file.size;
      return entry.complete;
    } catch (thrown) {
      const error = asTransferError(thrown, 'source-unreadable', 'Cannot read the file').about(file.name);
      // A connection that broke may have a refusal waiting that says why, so that is left to the answers.
      if (error.code !== 'connection-lost') this.answers.fail(entry, error);
      return false;
    } finally {
      meter.stop();
      await this.answers.sourceRead(entry);
    }
  }

  /** Reads ahead of the socket. The last bytes wait until the file is known to be still what was hashed. */
  private async stream(entry: Awaiting, source: OpenSource, header: Uint8Array, meter: Meter): Promise<void> {
    const { waits, mayRedial, limit, signal } = this.sending;
    const { size } = entry.file;
    await this.write(entry, header);
    const writes: Promise<void>[] = [];
    let ahead = this.readAhead(source, 0, size);
    try {
      for (let offset = 0; offset < size;) {
        if (entry.settled && mayRedial && size - offset > cheapRest) return;
        const piece = await waits.on('source', ahead);
        offset += piece.length;
        if (offset === size) await source.check();
        // Its turn in the ring comes when the write before the last one has given its memory back.
        if (writes.length >= ringLength - 2) await waits.on('network', writes.shift() ?? Promise.resolve());
        if (offset < size) ahead = this.readAhead(source, offset, size);
        await waits.on('limit', limit.pass(piece.length, signal));
        const write = this.write(entry, undefined, piece);
        write.catch(ignored('its failure is met where its turn comes'));
        writes.push(write);
        meter.update(offset);
      }
      await waits.on('network', Promise.all(writes));
    } finally {
      await Promise.allSettled([ahead, ...writes]);
    }
  }

  /** As `readPiece`, for who waits for something else before. */
  private readAhead(source: OpenSource, offset: number, size: number): Promise<Buffer> {
    const piece = this.readPiece(source, offset, size);
    piece.catch(ignored('whether it could be read is asked when its turn comes'));
    return piece;
  }

  /**
   * The piece at `offset`, in the next memory of the ring. Rejects with `source-changed` if the file ends within it.
   */
  private async readPiece(source: OpenSource, offset: number, size: number): Promise<Buffer> {
    const memory = (this.ring[this.turn++ % ringLength] ??= Buffer.allocUnsafeSlow(readSize));
    const piece = memory.subarray(0, Math.min(readSize, size - offset));
    if (!(await source.fill(piece, offset))) throw source.changed();
    return piece;
  }

  private async write(entry: Awaiting, header: Uint8Array | undefined, content?: Uint8Array): Promise<void> {
    const pieces = [header, content].filter((piece) => piece !== undefined);
    entry.handed += content?.length ?? 0;
    await this.connection.sendBytes(...pieces);
    for (const piece of pieces) entry.bytesOnWire += piece.length;
  }
}
