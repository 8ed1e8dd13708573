import { KeptFailures } from './report';
import type { Connection, HeaderDeadlines } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import { type EntryName, type NamesTaken, parseEntryName, printable } from '../name';
import { type DiskVerified, type FileReceived, type Listener, Meter, Waits } from '../progress';
import { headerAt, type JsonObject } from '../wire/frame';
import { type FileHeader, parseFileHeader, type Receipt, type Refusal, type Waited, wantsReply } from '../wire/message';
import { smallFile } from '../wire/segment';
import { NameTable } from '../store/local/name-table';
import type { IfExists } from '../store/store';
import type { FileOutcome, TakenFiles } from '../store/gathered-files';
import type { NewFile, StagedFile } from '../store/staged-file';
import type { Admission, WholeFiles } from '../store/whole-files';
import { forPeer } from '../session/refusal';
import { Tally } from '../session/summary';
import { ignored } from '../trace';
import type { BackupNames } from './backup-names';
import { plainUnfinished, plainUnread } from './limits';
import { type Due, PlainReplies } from './plain-replies';

/** What a receiver decides for all of its conversations. */
export interface ReceiveRules {
  readonly ifExists: IfExists;
  readonly allowHidden: boolean;
  /** Default `portable`. */
  readonly names?: NamesTaken | undefined;
  readonly on: Listener;
  /** Told with each header that arrived whole, or with the first of several that arrived together. */
  readonly begun?: () => void;
}

/** Where the files of a connection go. */
export interface PlainDestination {
  /** Of all connections, by md5, which is the plain wire's digest. */
  readonly files: Pick<WholeFiles, 'stage' | 'put'>;
  /** How far reading back goes there. */
  readonly verified: DiskVerified;
  /** What promises this connection room. */
  readonly admission: Admission;
  /** The names that nothing is received under. */
  readonly backups?: BackupNames | undefined;
}

/** How a conversation ended, as the receiver saw it. */
export interface Received {
  readonly tally: Tally;
  readonly failures: readonly TransferError[];
  /** How many more there were. */
  readonly moreFailures: number;
  readonly skipped: number;
  readonly waits: Waits;
}

/** A small file that is here as a whole, and is answered for. */
interface ArrivedFile extends NewFile, Due {
  /** As it was sent. */
  readonly sentName: string;
  readonly bytesOnWire: number;
}

/** One file on its way in. */
interface Arriving {
  readonly header: FileHeader;
  readonly began: number;
  /** Bytes of the connection that were consumed before its header. */
  readonly wireBefore: number;
  /** Payload bytes that were not read yet. */
  left: number;
}

/**
 * The receiver's side of the plain wire: reads files until the sender finishes, and answers for each, in their order,
 * once the sender has asked for answers. `destination` is where they go, or why nothing at all is taken from this peer.
 * Never rejects: everything that went wrong was reported and is in the result.
 */
export function receivePlain(
  connection: Connection,
  destination: PlainDestination | TransferError,
  rules: ReceiveRules,
  first: HeaderDeadlines,
  later: HeaderDeadlines,
): Promise<Received> {
  return new PlainReceiving(connection, destination, rules).run(first, later);
}

/** Window in ms for the rest of a small file, after which it is received by itself. */
const restWithin = 100;

/** One conversation of the plain wire, on one connection. `run` never rejects. */
class PlainReceiving {
  private readonly tally = new Tally();
  private readonly failures = new KeptFailures();
  private skipped = 0;
  private readonly waits = new Waits();
  private readonly unfinished = new Set<Promise<void>>();
  /** How many files these are. */
  private unfinishedFiles = 0;
  private readonly replies: PlainReplies;
  private asked = false;
  /**
   * The names of this connection's files that are stored, or on their way: "of two files of one name the later is
   * refused" (PROTOCOL.md 4.7).
   */
  private readonly names = new NameTable();

  constructor(
    private readonly connection: Connection,
    private readonly destination: PlainDestination | TransferError,
    private readonly rules: ReceiveRules,
  ) {
    this.replies = new PlainReplies(connection);
  }

  async run(first: HeaderDeadlines, later: HeaderDeadlines): Promise<Received> {
    try {
      for (let deadlines = first; ; deadlines = later) {
        if (deadlines === later) {
          await this.connection.begins(deadlines.silence);
          await this.smallRest();
        }
        if (!(await this.receiveTogether())) {
          const wireBefore = this.connection.consumed;
          const header = await this.connection.readHeader(deadlines);
          if (header === undefined) break;
          this.rules.begun?.();
          if (!(await this.receiveFile(header, wireBefore))) break;
        }
        while (this.unfinishedFiles >= plainUnfinished) await this.waits.on('verify', Promise.race(this.unfinished));
        if (this.replies.unread >= plainUnread) await this.waits.on('network', this.replies.done());
      }
    } catch (error) {
      this.refuse(asTransferError(error, 'unexpected', 'The conversation failed'));
    }
    await this.waits.on('verify', Promise.all(this.unfinished));
    await this.replies.done();
    await this.connection.linger();
    const { tally, failures, skipped, waits } = this;
    return { tally, failures: failures.first, moreFailures: failures.more, skipped, waits };
  }

  /**
   * Waits a moment where a small file, or its header, is here in part: then it need not be taken by itself, which costs
   * as much as twenty that are taken together.
   */
  private async smallRest(): Promise<void> {
    const { stream } = this.connection;
    const until = performance.now() + restWithin;
    while (isPartOfSmall(stream.peek()) && performance.now() < until)
      if (!(await this.waits.on('network', stream.moreSoon()))) return;
  }

  /**
   * Takes all small files that have arrived whole as one batch; false where there is none. Anything else is left to
   * `receiveFile`, which takes one file at a time.
   */
  private async receiveTogether(): Promise<boolean> {
    const { destination } = this;
    if (destination instanceof TransferError) return false;
    const bytes = this.connection.stream.peek();
    const arrived: ArrivedFile[] = [];
    const contents: Uint8Array[] = [];
    let taken = 0;
    for (;;) {
      const whole = headerAt(bytes, taken);
      const header = whole && fileHeaderOf(whole.header);
      if (!whole || !header || header.file_size > smallFile) break;
      const end = whole.end + header.file_size;
      if (end > bytes.length) break;
      if (taken === 0) {
        this.rules.begun?.();
        destination.backups?.look();
      }
      this.asked ||= header.reply;
      const content = bytes.subarray(whole.end, end);
      const bytesOnWire = end - taken;
      taken = end;
      try {
        const name = this.nameFor(header, destination);
        const { file_size: size, md5: digest, file_name: sentName } = header;
        const file: ArrivedFile = { name, size, digest, sentName, bytesOnWire, reply: undefined };
        arrived.push(file);
        contents.push(content);
        if (this.asked) this.replies.expect(file);
        this.rules.on({ event: 'started', file_name: name, file_size: size });
      } catch (thrown) {
        this.refuse(asTransferError(thrown, 'unexpected', 'Receiving failed').about(header.file_name));
      }
    }
    if (taken === 0) return false;
    await this.storeTogether(arrived, contents, destination);
    this.connection.stream.take(taken);
    return true;
  }

  /** Resolves once the store has their contents. */
  private async storeTogether(
    files: readonly ArrivedFile[],
    contents: readonly Uint8Array[],
    { files: store, admission, verified }: PlainDestination,
  ): Promise<void> {
    if (files.length === 0) return;
    const began = performance.now();
    const taken = await this.waits
      .on('write', store.put(files, contents, admission))
      .catch((error: unknown): TakenFiles => {
        const failure = asTransferError(error, 'unexpected', 'Storing failed');
        return { settled: Promise.resolve(files.map(() => failure)) };
      });
    const taking = performance.now();
    this.unfinishedFiles += files.length;
    const stored = taken.settled.then((outcomes) => {
      const waited = this.waited(performance.now() - taking);
      const seconds = (performance.now() - began) / 1000;
      for (let at = 0; at < files.length; at++) {
        const file = files[at];
        if (file) file.reply = this.settled(file, outcomes[at], verified, seconds, waited);
      }
      this.unfinishedFiles -= files.length;
      this.unfinished.delete(stored);
      if (this.asked) this.replies.send();
    });
    this.unfinished.add(stored);
  }

  private settled(
    { name, size, digest, sentName, bytesOnWire }: ArrivedFile,
    outcome: FileOutcome | undefined,
    verified: DiskVerified,
    seconds: number,
    waited: Waited,
  ): Receipt | Refusal {
    if (outcome === undefined || outcome instanceof TransferError) {
      this.names.delete(name);
      return this.report((outcome ?? new TransferError('unexpected', 'Storing failed.')).about(name));
    }
    const { path } = outcome;
    const received: FileReceived = {
      event: 'received',
      file_name: name,
      file_size: size,
      digests: { md5: digest },
      verified,
      path,
      bytes_on_wire: bytesOnWire,
      seconds,
    };
    this.tally.add(received);
    this.rules.on(received);
    return { type: 'receipt', file_name: sentName, file_size: size, md5: digest, verified, path, waited };
  }

  /** So far on this connection. */
  private waited(verify: number): Waited {
    const { network, write } = this.waits.spent;
    return { network: Math.round(network), write: Math.round(write), verify: Math.round(verify) };
  }

  /**
   * False when the rest of a payload that was refused does not come. Rejects only with what ends the conversation: from
   * then on it is unclear where the next frame begins.
   */
  private async receiveFile(fields: JsonObject, wireBefore: number): Promise<boolean> {
    this.asked ||= wantsReply(fields);
    const { destination } = this;
    if (destination instanceof TransferError) throw destination;
    const header = parseFileHeader(fields);
    const arriving = { header, began: performance.now(), wireBefore, left: header.file_size };
    try {
      destination.backups?.look();
      const name = this.nameFor(header, destination);
      const staged = await this.stage(name, arriving, destination).catch((error: unknown) => {
        this.names.delete(name);
        throw error;
      });
      this.finishLater(name, staged, arriving, destination.verified);
      return true;
    } catch (thrown) {
      const error = asTransferError(thrown, 'unexpected', 'Receiving failed').about(header.file_name);
      this.refuse(error);
      // "After a refusal the receiver reads the rest of the payload and throws it away." Where the rest does not come,
      // the refusal was the one reply for this file, and no other is sent.
      return this.connection.skip(arriving.left).then(
        () => true,
        () => false,
      );
    }
  }

  /** The name that it gets, which is taken from now on; a file that was not stored may be sent again. Throws `name`. */
  private nameFor({ file_name }: FileHeader, { backups }: PlainDestination): EntryName {
    const name = parseEntryName(file_name, { allowHidden: this.rules.allowHidden, names: this.rules.names });
    backups?.refuse(name);
    if (this.names.has(name))
      throw new TransferError('name', `${printable(name)} was sent twice.`, { fileName: name, hint: '' });
    this.names.set(name, 0);
    return name;
  }

  /** The whole payload, staged. */
  private async stage(
    name: EntryName,
    arriving: Arriving,
    { files, admission }: PlainDestination,
  ): Promise<StagedFile> {
    const { file_size: size, md5 } = arriving.header;
    const staged = await this.waits.on('write', files.stage({ name, size, digest: md5 }, admission));
    this.rules.on({ event: 'started', file_name: name, file_size: size });
    const before = this.connection.consumed;
    const meter = new Meter(this.rules.on, name, 'receive', size, () =>
      Math.min(size, this.connection.consumed - before),
    );
    try {
      while (arriving.left > 0) {
        const full = await this.writeSome(staged, arriving);
        // A slow sender gives the shared memory back to others, and gets some again when it has bytes for it.
        if (!full) await this.waits.on('network', this.connection.arrival());
      }
      return staged;
    } catch (error) {
      await staged.discard();
      throw error;
    } finally {
      meter.stop();
    }
  }

  /**
   * Whether the store's memory was filled. What it took from the network was not a wait for the disk; the rest of the
   * time was.
   */
  private async writeSome(staged: StagedFile, arriving: Arriving): Promise<boolean> {
    const began = performance.now();
    let filling = 0;
    let full = true;
    await staged.write(async (memory, hurry) => {
      const beganFilling = performance.now();
      const count = await this.connection.fill(memory, hurry);
      filling = performance.now() - beganFilling;
      arriving.left -= count;
      full = count === memory.length;
      return count;
    });
    this.waits.add('network', filling);
    this.waits.add('write', performance.now() - began - filling);
    return full;
  }

  /** Verifies and commits while the next file arrives. */
  private finishLater(name: EntryName, staged: StagedFile, arriving: Arriving, verified: DiskVerified): void {
    const file: Due = { reply: undefined };
    if (this.asked) this.replies.expect(file);
    this.unfinishedFiles++;
    const done = this.finish(name, staged, arriving, verified)
      .catch((error: unknown) => {
        this.names.delete(name);
        return this.report(asTransferError(error, 'unexpected', 'Storing failed').about(name));
      })
      .then((reply) => {
        file.reply = reply;
        this.unfinishedFiles--;
        this.unfinished.delete(done);
        if (this.asked) this.replies.send();
      });
    this.unfinished.add(done);
  }

  private async finish(
    name: EntryName,
    staged: StagedFile,
    arriving: Arriving,
    verified: DiskVerified,
  ): Promise<Receipt> {
    const { md5, file_size } = arriving.header;
    const bytesOnWire = this.connection.consumed - arriving.wireBefore;
    const began = performance.now();
    const meter = new Meter(this.rules.on, name, 'verify', file_size);
    try {
      await staged.verify((done) => meter.update(done));
      const { path } = await staged.commit();
      const done = {
        file_name: name,
        file_size,
        digests: { md5 },
        verified,
        path,
        bytes_on_wire: bytesOnWire,
        seconds: (performance.now() - arriving.began) / 1000,
      };
      this.tally.add(done);
      this.rules.on({ event: 'received', ...done });
      const waited = this.waited(performance.now() - began);
      return { type: 'receipt', file_name: arriving.header.file_name, file_size, md5, verified, path, waited };
    } finally {
      meter.stop();
      await staged.discard();
    }
  }

  /** Reports a failure, and tells the sender if it asked. */
  private refuse(error: TransferError): void {
    const reply = this.report(error);
    if (!this.asked) return;
    this.replies.expect({ reply });
    this.replies.send();
  }

  private report(error: TransferError): Refusal {
    const { code, message, hint, fileName, nameTaken } = error;
    const said = {
      ...(fileName === undefined ? {} : { file_name: fileName }),
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
    };
    if (nameTaken && this.rules.ifExists === 'skip' && fileName !== undefined) {
      this.skipped++;
      this.rules.on({ event: 'skipped', file_name: fileName, reason: message });
      return { type: 'refusal', ...said, skipped: true };
    }
    this.failures.add(error);
    this.rules.on({ event: 'failed', ...said });
    return { type: 'refusal', ...said, ...forPeer(error) };
  }
}

/** Whether `bytes` begin with a small file, but not all of it, or may do so. */
function isPartOfSmall(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return false;
  const whole = headerAt(bytes, 0);
  if (!whole) return bytes.length < smallFile;
  const header = fileHeaderOf(whole.header);
  return header !== undefined && header.file_size <= smallFile && whole.end + header.file_size > bytes.length;
}

/** What stands before a file; undefined for what is none. */
function fileHeaderOf(header: JsonObject): FileHeader | undefined {
  try {
    return parseFileHeader(header);
  } catch (error) {
    ignored('it is read again, by itself, and refused')(error);
    return undefined;
  }
}
