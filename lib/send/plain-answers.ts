import type { Connection } from '../net/connection';
import { asTransferError, type ErrorCode, TransferError } from '../errors';
import { type EntryName, printable } from '../name';
import type { FileDone, Listener, Mutable, Verified } from '../progress';
import { parseReply, type Receipt, type Refusal, type Waited } from '../wire/message';
import type { OpenSource } from './open-source';

/** Where the ends of files are told. */
export interface AnswerSink {
  readonly on: Listener;
  /** A file that was sent whole; `verified` null when the receiver closed without an answer. */
  readonly done: (file: FileDone) => void;
  readonly failed: (error: TransferError) => void;
  /** What the receiver said it waited for, so far on this connection. */
  readonly receiverWaited: (waited: Waited) => void;
  /** Looks again at a file that arrived different: `source-changed` if it is not what was hashed. */
  readonly recheck: (file: AnsweredFile, source: OpenSource) => Promise<TransferError | undefined>;
}

/** A file that was sent, or is. */
export interface AnsweredFile {
  readonly name: EntryName;
  readonly size: number;
  readonly md5: string;
  /** By performance.now(). */
  readonly began: number;
  /** A small file that is longer by now than what was sent of it. */
  readonly grew?: boolean;
}

/** A file whose header has been sent, until its answer came. */
export interface Awaiting {
  readonly file: AnsweredFile;
  /** From what a large one is read. */
  readonly source: OpenSource | undefined;
  bytesOnWire: number;
  /** Bytes of its content that are on their way to the system, or with it. */
  handed: number;
  /** Every byte of it was handed to the system. */
  complete: boolean;
  /** Its end was reported; an answer that still comes for it changes nothing. */
  settled: boolean;
  /** Its source is still being read. */
  reading: boolean;
  /** No answer is awaited any more. */
  released: boolean;
}

/** Most files without an answer: each is remembered until it comes. */
const mostAwaiting = 4096;
/** Answered files after which all of them are forgotten together. */
const forgottenTogether = 1024;

/** The receiver's answers on one connection, one for each file, in the order of the files. */
export class Answers {
  private awaiting: Awaiting[] = [];
  /** How many of these were answered. */
  private answers = 0;
  /** The file that is being sent; it may have been refused already. */
  private current: Awaiting | undefined;
  private wake: () => void = () => undefined;
  /** Why nothing can be sent to this receiver at all, once that is known. */
  fatal: TransferError | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly sink: AnswerSink,
  ) {}

  /** From now on an answer is awaited for `file`; until `sourceRead`, where it has a source. */
  expect(file: AnsweredFile, source?: OpenSource): Awaiting {
    const entry: Awaiting = {
      file,
      source,
      bytesOnWire: 0,
      handed: 0,
      complete: false,
      settled: false,
      reading: source !== undefined,
      released: false,
    };
    this.awaiting.push(entry);
    this.current = entry;
    return entry;
  }

  /** Says that the source of `entry` is not read any more. */
  async sourceRead(entry: Awaiting): Promise<void> {
    entry.reading = false;
    this.current = undefined;
    if (entry.released) await entry.source?.close();
  }

  /** Ends a file that the receiver need not answer for; an answer that still comes changes nothing. */
  fail(entry: Awaiting, error: TransferError): void {
    if (entry.settled) return;
    entry.settled = true;
    this.sink.failed(error);
  }

  /** Waits until there is room for one more. */
  async room(): Promise<void> {
    while (this.awaiting.length - this.answers >= mostAwaiting && !this.connection.failure) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Reads answers until the receiver finishes, then settles what got none. Never rejects. */
  async read(): Promise<void> {
    let broken: TransferError | undefined;
    try {
      for (;;) {
        const headers = await this.connection.readHeaders({ silence: null, whole: 10_000 });
        if (headers.length === 0) break;
        for (const header of headers) {
          const busy = this.answered(parseReply(header));
          if (busy) await busy;
        }
        this.wake();
      }
    } catch (error) {
      broken = asTransferError(error, 'connection-lost', 'The connection was lost');
    }
    this.connection.failure ??= broken ?? new TransferError('connection-lost', 'The receiver closed the connection.');
    // No further answer can come: sending on would be for nothing, and could block for ever.
    if (broken || this.current?.complete === false) this.connection.close();
    for (let entry = this.awaiting[this.answers]; entry; entry = this.awaiting[this.answers]) {
      if (!entry.settled) this.withoutAnswer(entry, broken);
      await this.release(entry);
    }
    this.wake();
  }

  /** A promise only where something is to be waited for: there is an answer for every file. */
  private answered(reply: Receipt | Refusal): Promise<void> | undefined {
    const entry = this.awaiting[this.answers];
    if (!entry) throw new TransferError('bad-header', 'The receiver answered for a file that was not sent.');
    const { file } = entry;
    if (reply.type !== 'receipt')
      return entry.settled ? this.release(entry) : this.refused(entry, reply).then(() => this.release(entry));
    // The name too: a header that was damaged on its way is stored under another one.
    if (reply.file_name !== file.name || reply.md5 !== file.md5 || reply.file_size !== file.size)
      throw new TransferError('bad-header', 'The receiver answered for another file.');
    if (entry.handed < file.size)
      throw new TransferError(
        'bad-header',
        `The receiver says that it has ${printable(file.name)}, of which it has not got everything.`,
      );
    this.confirm(entry, reply);
    return this.release(entry);
  }

  private confirm(entry: Awaiting, { verified, path, waited }: Receipt): void {
    entry.settled = true;
    if (waited) this.sink.receiverWaited(waited);
    this.sink.done(this.fileDone(entry, verified, path));
  }

  private async refused(entry: Awaiting, { code, message, hint, skipped }: Refusal): Promise<void> {
    const { file } = entry;
    if (skipped) {
      entry.settled = true;
      this.sink.on({ event: 'skipped', file_name: file.name, reason: message });
      return;
    }
    const changed = code === 'mismatch' && entry.source ? await this.sink.recheck(file, entry.source) : undefined;
    const error = changed ?? refusalOf(file.name, code, message, hint ?? '');
    if (code === 'not-authorized') this.fatal = error;
    this.fail(entry, error);
  }

  private withoutAnswer(entry: Awaiting, broken: TransferError | undefined): void {
    const { name } = entry.file;
    const reset = broken === undefined || broken.code === 'connection-lost';
    if (entry.complete && reset) {
      entry.settled = true;
      this.sink.done(this.fileDone(entry, null));
    } else {
      this.fail(
        entry,
        (
          broken ??
          new TransferError(
            'connection-lost',
            `The receiver closed the connection before all of ${printable(name)} was sent.`,
          )
        ).about(name),
      );
    }
  }

  private fileDone({ file, source, bytesOnWire }: Awaiting, verified: Verified | null, path?: string): FileDone {
    const { name, size, md5, began, grew = false } = file;
    const seconds = (performance.now() - began) / 1000;
    const done: Mutable<FileDone> = {
      file_name: name,
      file_size: size,
      digests: { md5 },
      verified,
      bytes_on_wire: bytesOnWire,
      seconds,
    };
    if (path !== undefined) done.path = path;
    if (grew || source?.grew === true) done.source_grew = true;
    return done;
  }

  /**
   * No answer is awaited for it any more: it is the next in their order. A refusal may come while its source is still
   * being read; then that side closes it.
   */
  private release(entry: Awaiting): Promise<void> | undefined {
    entry.released = true;
    this.answers++;
    if (this.answers >= forgottenTogether || this.answers === this.awaiting.length) {
      this.awaiting = this.awaiting.slice(this.answers);
      this.answers = 0;
    }
    return entry.reading ? undefined : entry.source?.close();
  }
}

/**
 * A refusal as the failure on this side: `interrupted` there is `stopped` here, and a file that was cut off begins
 * anew.
 */
function refusalOf(fileName: string, code: ErrorCode, message: string, hint: string): TransferError {
  if (code !== 'interrupted') return new TransferError(code, message, { fileName, hint });
  return new TransferError('stopped', message, { fileName, hint: 'Start the same command again once it runs again.' });
}
