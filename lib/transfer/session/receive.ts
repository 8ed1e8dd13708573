import { asTransferError, TransferError } from '../../errors';
import { type FileDone, type Listener, Waits } from '../../progress';
import { type BadEntry, type Entry, type FileEntry, type HeldSegment, parseBundle, parseEntries, type SessionReceipt } from '../../protocol/session-list';
import { type Bundle, type Close, type Hello, type Keep, longestBundle, parseFromSender, type Segment } from '../../protocol/session-message';
import type { SessionStore } from '../../store/session-store';
import { failureEvent, Tally } from '../summary';
import { ArrivingFile } from './arriving-file';
import { ArrivingTree } from './arriving-tree';
import type { Link } from './link';
import type { SessionRules } from './rules';
import { TakenFrames } from './taken-frames';

/** How a session ended, as the receiver saw it. */
export interface SessionReceived {
  readonly tally: Tally;
  readonly failures: readonly TransferError[];
  readonly waits: Waits;
  /** Why it ended before its end; the sender may come back and go on. */
  readonly lost: TransferError | undefined;
}


/**
 * The receiver's side of one session: the conversation on connection 0, and what arrives on all of them. `run` never rejects:
 * everything that went wrong was reported and is in the result.
 */
export class SessionReceiving {
  readonly session: string;
  private readonly tally = new Tally();
  private readonly failures: TransferError[] = [];
  private readonly waits = new Waits();
  private readonly large = new Map<number, ArrivingFile>();
  private readonly tree: ArrivingTree;
  private readonly algorithm: NonNullable<Hello['digest']>;
  private readonly taken: TakenFrames;
  private readonly links = new Set<Link>();
  private readonly working = new Set<Promise<void>>();
  private highest = -1;
  private ended = false;
  private saidDone = false;

  constructor(
    private readonly control: Link,
    hello: Hello,
    private readonly store: SessionStore,
    private readonly rules: SessionRules,
    /** Where we dialed: makes a further connection, and resolves when that has ended. */
    private readonly connect?: (number: number) => Promise<void>,
  ) {
    this.session = hello.session;
    this.algorithm = hello.digest ?? 'blake3';
    this.taken = new TakenFrames(control);
    this.tree = new ArrivingTree(store, rules, {
      receipts: (receipts) => this.receipts(receipts),
      done: (file) => this.done(file),
      refuse: (file, error) => this.refuse(file, error),
      held: (segments) => this.tell(this.control.sendList({ type: 'held' }, segments.map(listed))),
      wanted: (files) => this.tell(this.control.sendList({ type: 'answer' }, files)),
      settled: () => this.finishIfSettled(),
      broken: (error) => this.stop(asTransferError(error, 'unexpected', 'The session failed')),
    });
  }

  async run(): Promise<SessionReceived> {
    let lost: TransferError | undefined;
    try {
      await this.listen(this.control, 0);
      if (!this.saidDone) throw new TransferError('connection-lost', 'The sender closed the connection before its end.');
    } catch (error) {
      if (!this.saidDone) lost = asTransferError(error, 'unexpected', 'The session failed');
    } finally {
      this.taken.stop();
    }
    await this.wind(lost);
    const { tally, failures, waits } = this;
    return { tally, failures, waits, lost };
  }

  /** Another connection of this session: segments and bundles only. Resolves when it has ended, in whatever way. */
  async attach(link: Link, number: number): Promise<void> {
    this.links.add(link);
    try {
      await this.listen(link, number);
      link.close();
    } catch (error) {
      // What it had not brought is sent again on another one: the sender knows by `taken`.
      link.close(asTransferError(error, 'connection-lost', 'The connection was lost'));
    } finally {
      this.links.delete(link);
    }
  }

  /** Reads no more: what is here is kept. */
  stop(reason: TransferError): void {
    for (const link of [this.control, ...this.links]) link.connection.stopReading(reason);
  }

  /** One connection until its end: an exhaustive switch, whose first two messages may come on any of them. */
  private async listen(link: Link, number: number): Promise<void> {
    for (let header = await link.receive(); header !== undefined; header = await link.receive()) {
      const message = parseFromSender(header);
      if (message.type !== 'segment' && message.type !== 'bundle' && number > 0) throw outOfPlace(message.type);
      switch (message.type) {
        case 'segment':
          await this.segment(link, message);
          this.taken.count(number);
          break;
        case 'bundle':
          await this.bundle(link, message);
          this.taken.count(number);
          break;
        case 'offer':
          await this.offer(parseEntries(await link.receiveList(message.list), this.rules));
          break;
        case 'keep':
          this.keep(message);
          break;
        case 'close':
          this.close(message);
          break;
        case 'drop':
          this.tree.drop(message.file);
          this.large.get(message.file)?.fail(new TransferError('source-changed', 'The sender gave this file up.', { hint: '' }));
          break;
        case 'text':
          this.rules.on({ event: 'text', text: message.text });
          this.receipts([{ file: message.file, verified: null }]);
          break;
        case 'end':
          this.ended = true;
          this.tree.end();
          this.finishIfSettled();
          break;
        case 'heartbeat':
          break;
        case 'connect':
          if (!this.connect) throw outOfPlace(message.type);
          // Where it cannot be made, the sender goes on without it.
          this.connect(message.connection).catch(() => undefined);
          break;
        case 'hello':
          throw outOfPlace(message.type);
      }
    }
  }

  private async offer(entries: readonly (Entry | BadEntry)[]): Promise<void> {
    for (const entry of entries) {
      if (entry.file <= this.highest) throw new TransferError('bad-header', `The entry ${String(entry.file)} does not follow ${String(this.highest)}.`);
      this.highest = entry.file;
    }
    for (const file of await this.tree.offer(entries)) this.begin(file.entry, file.update, file.unlessSame);
  }

  private begin(entry: FileEntry, update: boolean, unlessSame: TransferError | undefined): void {
    const { peer, ifExists } = this.rules;
    this.work(async () => {
      try {
        const partial = await this.store.partials.take({ ...entry, peer, ifExists, algorithm: this.algorithm }, update);
        const file = new ArrivingFile(entry, partial, this.sink, unlessSame);
        this.large.set(entry.file, file);
        await file.begin();
      } catch (error) {
        this.tree.release(entry.file);
        this.refuse(entry, asTransferError(error, 'disk', 'The file could not be staged').about(entry.name));
      }
    });
  }

  private readonly sink = {
    on: (event: Parameters<Listener>[0]): void => this.rules.on(event),
    waits: this.waits,
    held: (segments: readonly HeldSegment[]): void => this.tell(this.control.sendList({ type: 'held' }, segments.map(listed))),
    wanted: (file: number): void => this.tell(this.control.sendList({ type: 'answer' }, [file])),
    progress: (file: number, done: number): void => this.tell(this.control.send({ type: 'progress', file, done })),
    stored: (...stored: Parameters<ArrivingTree['storedLarge']>): void => {
      const [file] = stored;
      this.work(async () => {
        await this.tree.storedLarge(...stored);
        this.large.delete(file.entry.file);
        this.finishIfSettled();
      });
    },
    failed: (file: ArrivingFile, error: TransferError): void => {
      this.large.delete(file.entry.file);
      this.tree.release(file.entry.file);
      this.refuse(file.entry, error);
      this.finishIfSettled();
    },
  };

  private async segment({ connection }: Link, segment: Segment): Promise<void> {
    const file = this.large.get(segment.file);
    const before = connection.consumed;
    if (file) await file.segment(connection, segment);
    else if (segment.file > this.highest) throw unknownEntry(segment.file);
    else if (!segment.zero) await connection.skip(segment.size);
    if (file) file.bytesOnWire += connection.consumed - before;
  }

  private async bundle(link: Link, { list, size }: Bundle): Promise<void> {
    const files = parseBundle(await link.receiveList(list), this.algorithm);
    if (files.reduce((sum, file) => sum + file.size, 0) !== size || size > longestBundle) throw new TransferError('bad-header', 'The files of a bundle are not as long as it says.');
    const unknown = files.find(({ file }) => file > this.highest);
    if (unknown) throw unknownEntry(unknown.file);
    const lease = await this.waits.on('write', this.tree.memory.lease());
    try {
      await this.waits.on('network', link.connection.fill(lease.bytes.subarray(0, size)));
    } catch (error) {
      lease.release();
      throw error;
    }
    this.tree.bundle(lease, files, Math.round(list / Math.max(1, files.length)));
  }

  private keep(keep: Keep): void {
    const file = this.large.get(keep.file);
    if (file) file.keep(keep);
    else if (keep.file > this.highest) throw unknownEntry(keep.file);
  }

  private close(close: Close): void {
    const file = this.large.get(close.file);
    if (file) this.work(() => file.close(close, this.algorithm));
    else if (close.file > this.highest) throw unknownEntry(close.file);
    else this.work(() => this.tree.close(close, this.algorithm));
  }

  /** "After `end`, once every entry has its receipt or refusal, the receiver says `done`." */
  private finishIfSettled(): void {
    if (!this.ended || this.saidDone || this.large.size > 0 || !this.tree.settled) return;
    this.saidDone = true;
    const { network, write, verify } = this.waits.spent;
    this.tell(this.control.send({ type: 'done', waited: { network, write, verify } }));
  }

  private receipts(receipts: readonly SessionReceipt[]): void {
    this.tell(this.control.sendList({ type: 'receipts' }, receipts));
  }

  private done(file: FileDone): void {
    this.tally.add(file);
    this.rules.on({ event: 'received', ...file });
  }

  private refuse({ file }: { readonly file: number }, error: TransferError): void {
    const { code, message, hint, fileName } = error;
    const skipped = code === 'exists' && this.rules.ifExists === 'skip';
    if (skipped) this.rules.on({ event: 'skipped', file_name: fileName ?? '', reason: 'it exists already' });
    else {
      this.failures.push(error);
      this.rules.on(failureEvent(error));
    }
    this.tell(this.control.send({ type: 'refusal', file, code, message, ...(hint === undefined ? {} : { hint }), ...(skipped ? { skipped } : {}) }));
  }

  /** A connection that takes nothing more is noticed by whoever reads from it. */
  private tell(sent: Promise<unknown>): void {
    sent.catch(() => undefined);
  }

  /** Work beside the reading, whose failure ends the session. */
  private work(task: () => Promise<void>): void {
    const working = task()
      .catch((error: unknown) => this.control.connection.stopReading(asTransferError(error, 'unexpected', 'The session failed')))
      .finally(() => this.working.delete(working));
    this.working.add(working);
  }

  /** Ends all connections. What is here and not finished is kept. */
  private async wind(lost: TransferError | undefined): Promise<void> {
    for (const link of this.links) link.close(lost);
    await Promise.all([...this.large.values()].map((file) => file.suspend()));
    await Promise.all(this.working);
    await this.tree.finish();
    if (lost && lost.code !== 'connection-lost') {
      const { code, message } = lost;
      await this.control.send({ type: 'refusal', code, message }).catch(() => undefined);
    }
    await this.control.linger();
  }
}

function listed({ file, segment, digest }: HeldSegment): readonly unknown[] {
  return [file, segment, digest];
}

function unknownEntry(file: number): TransferError {
  return new TransferError('bad-header', `Nothing was offered as ${String(file)}.`);
}

function outOfPlace(type: string): TransferError {
  return new TransferError('bad-header', `A message ${type} has no place here.`);
}
