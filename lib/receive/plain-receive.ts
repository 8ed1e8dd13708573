import type { Connection, HeaderDeadlines } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import { type EntryName, type NamesTaken, parseEntryName, printable } from '../name';
import { type DiskVerified, type Listener, Meter, Waits } from '../progress';
import type { JsonObject } from '../wire/frame';
import { type FileHeader, parseFileHeader, type Receipt, type Refusal, wantsReply } from '../wire/message';
import { NameTable } from '../store/local/name-table';
import type { IfExists } from '../store/store';
import type { StagedFile } from '../store/staged-file';
import type { Admission, WholeFiles } from '../store/whole-files';
import { forPeer } from '../session/refusal';
import { Tally } from '../session/summary';
import type { BackupNames } from './backup-names';
import { plainUnfinished, plainUnread } from './limits';

/** What a receiver decides for all of its conversations. */
export interface ReceiveRules {
  readonly ifExists: IfExists;
  readonly allowHidden: boolean;
  /** Default `portable`. */
  readonly names?: NamesTaken | undefined;
  readonly on: Listener;
  /** Told with each header that arrived whole. */
  readonly begun?: () => void;
}

/** Where the files of a connection go. */
export interface PlainPlace {
  /** Of all connections, by md5, which is the plain wire's digest. */
  readonly files: Pick<WholeFiles, 'stage'>;
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
  readonly skipped: number;
  readonly waits: Waits;
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
 * once the sender has asked for answers. `place` is where they go, or why nothing at all is taken from this peer. Never
 * rejects: everything that went wrong was reported and is in the result.
 */
export function receivePlain(
  connection: Connection,
  place: PlainPlace | TransferError,
  rules: ReceiveRules,
  first: HeaderDeadlines,
  later: HeaderDeadlines,
): Promise<Received> {
  return new PlainReceiving(connection, place, rules).run(first, later);
}

class PlainReceiving {
  private readonly tally = new Tally();
  private readonly failures: TransferError[] = [];
  private skipped = 0;
  private readonly waits = new Waits();
  private readonly unfinished = new Set<Promise<void>>();
  private answered: Promise<void> = Promise.resolve();
  private unread = 0;
  private asked = false;
  /**
   * The names of this connection's files that are stored, or on their way: "of two files of one name the later is
   * refused" (PROTOCOL.md 4.7).
   */
  private readonly names = new NameTable();

  constructor(
    private readonly connection: Connection,
    private readonly place: PlainPlace | TransferError,
    private readonly rules: ReceiveRules,
  ) {}

  async run(first: HeaderDeadlines, later: HeaderDeadlines): Promise<Received> {
    try {
      for (let deadlines = first; ; deadlines = later) {
        const wireBefore = this.connection.consumed;
        const header = await this.connection.readHeader(deadlines);
        if (header === undefined) break;
        this.rules.begun?.();
        if (!(await this.receiveFile(header, wireBefore))) break;
        while (this.unfinished.size >= plainUnfinished) await this.waits.on('verify', Promise.race(this.unfinished));
        if (this.unread >= plainUnread) await this.waits.on('network', this.answered);
      }
    } catch (error) {
      this.refuse(asTransferError(error, 'unexpected', 'The conversation failed'));
    }
    await this.waits.on('verify', Promise.all(this.unfinished));
    await this.answered;
    await this.connection.linger();
    const { tally, failures, skipped, waits } = this;
    return { tally, failures, skipped, waits };
  }

  /**
   * False when the rest of a payload that was refused does not come. Rejects only with what ends the conversation: from
   * then on it is unclear where the next frame begins.
   */
  private async receiveFile(fields: JsonObject, wireBefore: number): Promise<boolean> {
    this.asked ||= wantsReply(fields);
    const { place } = this;
    if (place instanceof TransferError) throw place;
    const header = parseFileHeader(fields);
    const arriving = { header, began: performance.now(), wireBefore, left: header.file_size };
    try {
      const name = parseEntryName(header.file_name, { allowHidden: this.rules.allowHidden, names: this.rules.names });
      place.backups?.look();
      place.backups?.refuse(name);
      this.takeName(name);
      const staged = await this.stage(name, arriving, place).catch((error: unknown) => {
        this.names.delete(name);
        throw error;
      });
      this.finishLater(name, staged, arriving, place.verified);
      return true;
    } catch (thrown) {
      const error = asTransferError(thrown, 'unexpected', 'Receiving failed').about(header.file_name);
      this.refuse(error);
      // "After a refusal the receiver reads the rest of the payload and throws it away." Where it does not come,
      // because the connection is lost or the sender saves itself that rest, there was the one reply for this file, and
      // nothing more is said.
      return this.connection.skip(arriving.left).then(
        () => true,
        () => false,
      );
    }
  }

  /** A file that was not stored may be sent again. */
  private takeName(name: EntryName): void {
    if (this.names.has(name))
      throw new TransferError('name', `${printable(name)} was sent twice.`, { fileName: name, hint: '' });
    this.names.set(name, 0);
  }

  /** The whole payload, staged. */
  private async stage(name: EntryName, arriving: Arriving, { files, admission }: PlainPlace): Promise<StagedFile> {
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
        // Others wait for the memory that this sender is too slow to fill: it gets some again when it has something to
        // put there.
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
    const reply = this.finish(name, staged, arriving, verified).catch((error: unknown) => {
      this.names.delete(name);
      return this.report(asTransferError(error, 'unexpected', 'Storing failed').about(name));
    });
    const done = reply.then(() => void this.unfinished.delete(done));
    this.unfinished.add(done);
    this.answer(reply);
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
      const { network, write } = this.waits.spent;
      const waited = {
        network: Math.round(network),
        write: Math.round(write),
        verify: Math.round(performance.now() - began),
      };
      return { type: 'receipt', file_name: arriving.header.file_name, file_size, md5, verified, path, waited };
    } finally {
      meter.stop();
      await staged.discard();
    }
  }

  /** Reports a failure, and tells the sender if it asked. */
  private refuse(error: TransferError): void {
    this.answer(Promise.resolve(this.report(error)));
  }

  private report(error: TransferError): Refusal {
    const { code, message, hint, fileName } = error;
    const said = {
      ...(fileName === undefined ? {} : { file_name: fileName }),
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
    };
    if (code === 'exists' && this.rules.ifExists === 'skip' && fileName !== undefined) {
      this.skipped++;
      this.rules.on({ event: 'skipped', file_name: fileName, reason: message });
      return { type: 'refusal', ...said, skipped: true };
    }
    this.failures.push(error);
    this.rules.on({ event: 'failed', ...said });
    return { type: 'refusal', ...said, ...forPeer(error) };
  }

  /** "Replies come in the order of the files": each waits for the one before. */
  private answer(reply: Promise<Receipt | Refusal>): void {
    if (!this.asked) return;
    const before = this.answered;
    this.unread++;
    this.answered = (async () => {
      await before;
      try {
        await this.connection.send(await reply);
      } catch {
        // A sender that went away gets no answer. Whether its file is stored does not change by that.
      }
      this.unread--;
    })();
  }
}
