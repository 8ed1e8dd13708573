import type { Connection } from '../net/connection';
import { asTransferError, type ErrorCode, TransferError } from '../errors';
import { printable } from '../name';
import type { FileDone, Listener, Verified } from '../progress';
import { parseReply, type Receipt, type Refusal, type Waited } from '../wire/message';
import type { PlainFile } from './outgoing';
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
  readonly recheck: (file: PlainFile, source: OpenSource) => Promise<TransferError | undefined>;
}

/** A file whose header has been sent, until its answer came. */
export interface Awaiting {
  readonly file: PlainFile;
  bytesOnWire: number;
  /** Bytes of its content that are on their way to the system, or with it. */
  handed: number;
  /** Every byte of it was handed to the system. */
  complete: boolean;
  /** Its end was reported; an answer that still comes for it changes nothing. */
  settled: boolean;
  /** Its source is still being read. */
  reading: boolean;
}

/** So many files may be without an answer, each of which is remembered until it comes. */
const mostAwaiting = 1024;

/** The receiver's answers on one connection, one for each file, in the order of the files. */
export class Answers {
  private readonly awaiting: Awaiting[] = [];
  /** The file that is being sent; it may have been refused already. */
  private current: Awaiting | undefined;
  private wake: () => void = () => undefined;
  /** Why nothing can be sent to this receiver at all, once that is known. */
  fatal: TransferError | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly sink: AnswerSink,
  ) {}

  /** From now on an answer is awaited for `file`. */
  expect(file: PlainFile): Awaiting {
    const entry = { file, bytesOnWire: 0, handed: 0, complete: false, settled: false, reading: true };
    this.awaiting.push(entry);
    this.current = entry;
    return entry;
  }

  /** Says that the source of `entry` is not read any more. */
  async sourceRead(entry: Awaiting): Promise<void> {
    entry.reading = false;
    this.current = undefined;
    if (!this.awaiting.includes(entry)) await entry.file.source?.close();
  }

  /** Ends a file that the receiver need not answer for; an answer that still comes changes nothing. */
  fail(entry: Awaiting, error: TransferError): void {
    if (entry.settled) return;
    entry.settled = true;
    this.sink.failed(error);
  }

  /** Waits until there is room for one more. */
  async room(): Promise<void> {
    while (this.awaiting.length >= mostAwaiting && !this.connection.failure) {
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
        const header = await this.connection.readHeader({ silence: null, whole: 10_000 });
        if (header === undefined) break;
        await this.answered(parseReply(header));
      }
    } catch (error) {
      broken = asTransferError(error, 'connection-lost', 'The connection was lost');
    }
    this.connection.failure ??= broken ?? new TransferError('connection-lost', 'The receiver closed the connection.');
    // Nothing more can be confirmed: what is still being sent would be for nothing, and could block for ever.
    if (broken || this.current?.complete === false) this.connection.close();
    for (const entry of [...this.awaiting]) {
      if (!entry.settled) this.withoutAnswer(entry, broken);
      await this.release(entry);
    }
    this.wake();
  }

  private async answered(reply: Receipt | Refusal): Promise<void> {
    const entry = this.awaiting[0];
    if (!entry) throw new TransferError('bad-header', 'The receiver answered for a file that was not sent.');
    const { file } = entry;
    if (reply.type === 'receipt') {
      // The name too: a header that was damaged on its way is stored under another one.
      if (reply.file_name !== file.name || reply.md5 !== file.md5 || reply.file_size !== file.size)
        throw new TransferError('bad-header', 'The receiver answered for another file.');
      if (entry.handed < file.size)
        throw new TransferError(
          'bad-header',
          `The receiver says that it has ${printable(file.name)}, of which it has not got everything.`,
        );
      this.confirm(entry, reply);
    } else if (!entry.settled) {
      await this.refused(entry, reply);
    }
    await this.release(entry);
    this.wake();
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
    const changed = code === 'mismatch' && file.source ? await this.sink.recheck(file, file.source) : undefined;
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

  private fileDone({ file, bytesOnWire }: Awaiting, verified: Verified | null, path?: string): FileDone {
    return {
      file_name: file.name,
      file_size: file.size,
      digests: { md5: file.md5 },
      verified,
      ...(path === undefined ? {} : { path }),
      bytes_on_wire: bytesOnWire,
      seconds: (performance.now() - file.began) / 1000,
      ...(file.grew === true || file.source?.grew === true ? { source_grew: true } : {}),
    };
  }

  /**
   * No answer is awaited for it any more. A refusal may come while its source is still being read; then that side
   * closes it.
   */
  private async release(entry: Awaiting): Promise<void> {
    this.awaiting.splice(this.awaiting.indexOf(entry), 1);
    if (!entry.reading) await entry.file.source?.close();
  }
}

/** A refusal as the failure that it is here: who interrupted the receiver has stopped us, and what was cut begins anew. */
function refusalOf(fileName: string, code: ErrorCode, message: string, hint: string): TransferError {
  if (code !== 'interrupted') return new TransferError(code, message, { fileName, hint });
  return new TransferError('stopped', message, { fileName, hint: 'Start the same command again once it runs again.' });
}
