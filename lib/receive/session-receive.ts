import { setImmediate as nextTurn } from 'node:timers/promises';
import { asTransferError, TransferError } from '../errors';
import { Waits } from '../progress';
import { slicesOfList } from '../wire/json-list';
import { type BadEntry, type Entry, type MissingEntry, parseBundle, parseEntries, parseMissing } from '../wire/session-list';
import { type Bundle, type Close, type Drop, type Hello, parseFromSender } from '../wire/session-message';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { SessionStore } from '../store/session-store';
import type { Tally } from '../session/summary';
import { Answers } from './answers';
import type { ArrivingFile } from './arriving-file';
import { ArrivingFiles } from './arriving-files';
import { ArrivingTree, type TreeSink } from './arriving-tree';
import { FurtherLinks } from './further-links';
import type { Intake } from './intake';
import type { Link } from '../session/link';
import type { SealedArrivals } from '../session/sealed-arrivals';
import type { SessionRules } from './rules';
import { TakenFrames } from './taken-frames';

/** How many times the longest silence of a connection a closed file may lack pieces while no connection brings any: 5 minutes. */
const silences = 10;

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
  private readonly answers: Answers;
  private readonly waits = new Waits();
  private readonly files: ArrivingFiles;
  private readonly tree: ArrivingTree;
  private readonly algorithm: NonNullable<Hello['digest']>;
  private readonly taken: TakenFrames;
  /** Those that bring segments and bundles only. */
  readonly further: FurtherLinks;
  private readonly working = new Set<Promise<void>>();
  private highest = -1;
  /** Frames of segments and bundles that are being taken off their connections, and when the last one was. */
  private carrying = 0;
  private carriedAt = 0;
  /** Everything was offered. */
  private ended = false;
  /** How many entries, by the sender's word. */
  private offered = 0;
  private saidDone = false;
  private committing = false;
  private over = false;

  constructor(
    private readonly control: Link,
    hello: Hello,
    store: SessionStore,
    rules: SessionRules,
    /** Where we dialed: makes a further connection, and resolves when that has ended. */
    private readonly connect?: (number: number) => Promise<void>,
    /** What everything becomes, where that is a snapshot. */
    private readonly intake?: Intake,
  ) {
    this.algorithm = hello.digest ?? 'blake3';
    this.answers = new Answers(control, rules);
    this.taken = new TakenFrames(control);
    this.further = new FurtherLinks(this.listen.bind(this), this.listenSealed.bind(this), this.stop.bind(this));
    const treeSink: TreeSink = {
      settled: () => this.finishIfSettled(),
      begin: (arrival) => this.work(() => this.files.begin(arrival)),
      broken: (error) => this.stop(asTransferError(error, 'unexpected', 'The session failed')),
    };
    this.tree = new ArrivingTree(store, rules, this.answers, treeSink, intake);
    this.files = new ArrivingFiles(store, rules, this.algorithm, this.tree, { answers: this.answers, waits: this.waits, work: (task) => this.work(task), arrival: (whole) => this.arrival(whole) });
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
    await this.wind(lost).catch((error: unknown) => void (lost ??= asTransferError(error, 'unexpected', 'The session failed')));
    await this.control.linger();
    return { tally: this.answers.tally, failures: this.answers.failures, waits: this.waits, lost };
  }

  /** Reads no more: what is here is kept. */
  stop(reason: TransferError): void {
    this.control.connection.stopReading(reason);
    this.further.stop(reason);
  }

  /** One connection until its end: an exhaustive switch, whose first two messages may come on any of them. */
  private async listen(link: Link, number: number): Promise<void> {
    for (;;) {
      const before = link.connection.consumed;
      const header = await link.receive();
      if (header === undefined) return;
      const message = parseFromSender(header);
      if (message.type !== 'segment' && message.type !== 'bundle' && number > 0) throw outOfPlace(message.type);
      switch (message.type) {
        case 'segment':
          this.known(message.file);
          await this.carried(this.files.segment(link, message, before));
          this.taken.count(number);
          break;
        case 'bundle':
          await this.carried(this.bundle(link, message));
          this.taken.count(number);
          break;
        case 'offer':
          if (this.ended) throw outOfPlace(message.type);
          for (const slice of slicesOfList(await link.receiveList(message.list))) {
            if (slice) await this.offer(parseEntries(slice, { allowHidden: true }));
            await nextTurn();
          }
          break;
        case 'keep':
          this.inSegments(message.file)?.keep(message);
          break;
        case 'copy':
          await this.inSegments(message.file)?.copy(message);
          break;
        case 'close':
          this.close(message);
          break;
        case 'drop':
          this.drop(message);
          break;
        case 'text':
          if (this.ended) throw outOfPlace(message.type);
          this.answers.text(message.file, message.text);
          break;
        case 'end':
          if (this.ended) throw outOfPlace(message.type);
          this.ended = true;
          this.offered = message.entries ?? 0;
          this.tree.end();
          this.finishIfSettled();
          break;
        case 'missing':
          if (this.ended) throw outOfPlace(message.type);
          for (const slice of slicesOfList(await link.receiveList(message.list))) {
            for (const missing of slice ? parseMissing(slice) : []) this.missing(missing);
            await nextTurn();
          }
          break;
        case 'heartbeat':
          break;
        case 'connect':
          this.another(message.connection);
          break;
        case 'hello':
          throw outOfPlace(message.type);
      }
    }
  }

  /** A sealed connection until its end: what comes is here as a whole. */
  private async listenSealed(arrivals: SealedArrivals, number: number): Promise<void> {
    for (let arrived = await arrivals.next(); arrived; arrived = await arrivals.next()) {
      if (arrived.kind === 'segment') {
        try {
          this.known(arrived.segment.file);
        } catch (error) {
          arrived.lease?.release();
          throw error;
        }
        await this.files.arrived(arrived.segment, arrived.lease, arrived.wire);
      } else {
        await this.bundleArrived(arrived.bundle, arrived.payload);
      }
      this.taken.count(number);
    }
  }

  private async bundleArrived({ list, size }: Bundle, payload: Uint8Array): Promise<void> {
    const files = parseBundle(payload.subarray(0, list), this.algorithm);
    if (files.reduce((sum, file) => sum + file.size, 0) !== size) throw new TransferError('bad-header', 'The files of a bundle are not as long as it says.');
    for (const { file } of files) this.known(file);
    const lease = await this.waits.on('write', this.tree.memory.lease());
    lease.bytes.set(payload.subarray(list));
    this.tree.bundle(lease, files, Math.round(list / Math.max(1, files.length)));
  }

  private async offer(entries: readonly (Entry | BadEntry)[]): Promise<void> {
    for (const { file } of entries) {
      if (file <= this.highest) throw new TransferError('bad-header', `The entry ${String(file)} does not follow ${String(this.highest)}.`);
      this.highest = file;
    }
    for (const arrival of await this.tree.offer(entries)) this.work(() => this.files.begin(arrival));
  }

  private async bundle(link: Link, { list, size }: Bundle): Promise<void> {
    const files = parseBundle(await link.receiveList(list), this.algorithm);
    if (files.reduce((sum, file) => sum + file.size, 0) !== size) throw new TransferError('bad-header', 'The files of a bundle are not as long as it says.');
    for (const { file } of files) this.known(file);
    const lease = await this.waits.on('write', this.tree.memory.lease());
    try {
      await this.waits.on('network', link.connection.fill(lease.bytes.subarray(0, size)));
    } catch (error) {
      lease.release();
      throw error;
    }
    this.tree.bundle(lease, files, Math.round(list / Math.max(1, files.length)));
  }

  /** In a restore nobody but us is told of what the sender does not have. */
  private missing(missing: MissingEntry): void {
    if (this.intake) this.intake.missing(missing, false);
    else this.answers.missing(missing);
  }

  private close(close: Close): void {
    const file = this.known(close.file);
    if (file) this.work(() => file.close(close, this.algorithm));
    else this.tree.close(close, this.algorithm);
  }

  private drop({ file, code = 'source-changed', message = 'The sender gave this file up.' }: Drop): void {
    const error = new TransferError(code, message, { hint: '' });
    const large = this.known(file);
    if (large) large.fail(error);
    else this.tree.drop(file, error);
  }

  /** The file of that number, where it comes in segments. Throws `bad-header` where nothing was offered so, or it was not asked for yet. */
  private known(file: number): ArrivingFile | undefined {
    if (file > this.highest) throw new TransferError('bad-header', `Nothing was offered as ${String(file)}.`);
    if (this.tree.isUnasked(file)) throw new TransferError('bad-header', `The entry ${String(file)} was not asked for yet.`);
    return this.files.get(file);
  }

  /** As `known`, for what cannot be said of a small file: it has no segments. */
  private inSegments(file: number): ArrivingFile | undefined {
    const known = this.known(file);
    if (!known && this.tree.awaitsWhole(file)) throw new TransferError('bad-header', `The entry ${String(file)} is a small file, and has no segments.`);
    return known;
  }

  /** A frame of segments or files is taken off a connection. */
  private async carried(taking: Promise<void>): Promise<void> {
    this.carrying++;
    try {
      await taking;
    } finally {
      this.carrying--;
      this.carriedAt = performance.now();
    }
  }

  /**
   * Waits until a closed file is whole: its pieces may be on their way on any connection, or go again because one was lost
   * (PROTOCOL.md 14.8). Rejects with `timeout` where none of them has brought anything for `silences` times the longest silence.
   */
  private async arrival(whole: Promise<void>): Promise<void> {
    const { silence } = this.control.deadlines;
    const began = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setInterval(() => {
        const idleSince = Math.max(began, this.carriedAt);
        if (this.carrying === 0 && performance.now() - idleSince >= silences * silence) {
          reject(new TransferError('timeout', 'A file was closed, and pieces of it did not come.'));
        }
      }, silence);
      timer.unref();
    });
    try {
      await Promise.race([whole, late]);
    } finally {
      clearInterval(timer);
    }
  }

  private another(number: number): void {
    if (!this.connect) throw outOfPlace('connect');
    this.further.expect(number);
    // Where it cannot be made, the sender goes on without it.
    this.connect(number).catch(() => this.further.giveUp(number));
  }

  /** "After `end`, once every entry has its receipt or refusal, the receiver says `done`." */
  private finishIfSettled(): void {
    if (!this.ended || this.saidDone || this.over || this.committing || !this.tree.settled) return;
    if (!this.intake) {
      this.sayDone();
      return;
    }
    this.committing = true;
    const { intake } = this;
    this.work(async () => this.sayDone(await intake.commit(this.offered)));
  }

  private sayDone(snapshot?: SnapshotDone): void {
    this.saidDone = true;
    this.answers.done(this.waits, snapshot);
  }

  /** Work beside the reading, whose failure ends the session. */
  private work(task: () => Promise<void>): void {
    const working = task()
      .catch((error: unknown) => this.stop(asTransferError(error, 'unexpected', 'The session failed')))
      .finally(() => this.working.delete(working));
    this.working.add(working);
  }

  /** Ends everything but the control connection. What is here and not finished is kept. */
  private async wind(lost: TransferError | undefined): Promise<void> {
    this.over = true;
    this.further.close(lost);
    await this.files.suspend();
    while (this.working.size > 0) await Promise.all(this.working);
    await this.tree.finish();
    await this.intake?.leave();
    if (lost && lost.code !== 'connection-lost') await this.answers.broken(lost);
  }
}

function outOfPlace(type: string): TransferError {
  return new TransferError('bad-header', `A message ${type} has no place here.`);
}
