import { setImmediate as nextTurn } from 'node:timers/promises';
import { asTransferError, TransferError } from '../errors';
import { Waits } from '../progress';
import type { Lease } from '../threads/aligned-memory';
import type { Link } from '../session/link';
import type { SealedArrivals } from '../session/sealed-arrivals';
import type { Tally } from '../session/summary';
import type { LimitedSession } from '../store/limited-session';
import { partsOfList } from '../wire/json-list';
import { parseEntries, parseMissing } from '../wire/session-list';
import {
  type Bundle,
  type Close,
  type Drop,
  type FromSender,
  type Hello,
  parseFromSender,
  type Segment,
} from '../wire/session-message';
import { Batches } from './batches';
import { ContentFlow } from './content-flow';
import { Entries } from './entries';
import { FurtherLinks } from './further-links';
import type { SnapshotStage } from './snapshot-stage';
import { payloadHere, payloadOf } from './payload';
import { LargeFileReceiver, type OpenFile } from './large-files';
import { offeredTogether } from './limits';
import { takeOffer, unasked } from './offer';
import type { OfferedNames } from './offered-names';
import { Receiving } from './receiving';
import { Replies } from './replies';
import { Report } from './report';
import type { SessionRules } from './rules';
import { TakenFrames } from './taken-frames';
import type { UploadPace } from './upload-pace';

/** How a session ended, as the receiver saw it. */
export interface SessionReceived {
  /** Of the session. */
  readonly id: string;
  readonly tally: Tally;
  readonly failures: readonly TransferError[];
  /** Number of further failures, of which nothing else is kept. */
  readonly moreFailures: number;
  /** Entries that are missing in the snapshot that was sent. */
  readonly absent: number;
  readonly waits: Waits;
  /** Why it ended before its end; the sender may come back and go on. */
  readonly lost: TransferError | undefined;
  /** `relay HOST:PORT` where a relay carried it; absent for none. */
  readonly route?: string | undefined;
}

/** Where what is received goes, and by which rules. */
export interface SessionTarget {
  readonly store: LimitedSession;
  readonly rules: SessionRules;
  /** Where we dialed: makes a further connection, and resolves when that has ended. */
  readonly connect?: ((number: number) => Promise<void>) | undefined;
  /** The snapshot that its entries go into; undefined where there is none. */
  readonly stage?: SnapshotStage | undefined;
  /** Of uploads beside it. */
  readonly pace?: UploadPace | undefined;
  /** The names of its conversations, of which this is one; absent where there is no other. */
  readonly names?: OfferedNames | undefined;
}

/** Where a message came from: its link, and the bytes of that connection that were consumed before its header. */
interface Origin {
  readonly link: Link;
  readonly number: number;
  readonly before: number;
}

/**
 * The receiver's side of one session (PROTOCOL.md 12 to 19). Three things happen beside one another: messages are read
 * off each connection and taken; a batch is committed whenever it is due; and once all contents are settled, hard links
 * and directories are, and `done` is said. What each of them waits for is the state of the entries. `run` never
 * rejects: everything that went wrong was reported and is in the result.
 */
export class Session {
  /** The connections that bring segments and bundles only. */
  readonly further: FurtherLinks;
  private readonly id: string;
  private readonly receiving: Receiving;
  private readonly batches: Batches;
  private readonly largeFiles: LargeFileReceiver;
  private readonly taken: TakenFrames;
  private readonly connect: SessionTarget['connect'];
  /** Work that runs beside the reading of messages. */
  private readonly working = new Set<Promise<void>>();
  /** How many entries were offered in the whole session, by the sender's word. PROTOCOL.md 22. */
  private offeredInAll = 0;
  private saidDone = false;

  constructor(
    private readonly control: Link,
    { digest: algorithm = 'blake3', session }: Hello,
    { store, rules, connect, stage, pace, names }: SessionTarget,
  ) {
    this.connect = connect;
    this.id = session;
    this.receiving = new Receiving(
      new Entries(rules.peer, names),
      store,
      rules,
      algorithm,
      new Replies(control),
      new Report(rules.on),
      new Waits(),
      new ContentFlow(control.deadlines.silence, pace),
      stage,
    );
    this.batches = new Batches(this.receiving);
    this.largeFiles = new LargeFileReceiver(this.receiving);
    this.taken = new TakenFrames(control);
    this.further = new FurtherLinks(
      (link, number) => this.read(link, number),
      (arrivals, number) => this.readSealed(arrivals, number),
      (error) => this.stop(error),
    );
  }

  async run(): Promise<SessionReceived> {
    void this.beside(this.commitBatches());
    void this.beside(this.finish());
    void this.receiving.stage?.superseded.then((reason) => this.stop(reason));
    const lost = await this.read(this.control, 0).then(
      () => (this.saidDone ? undefined : this.endedEarly()),
      (error: unknown) => (this.saidDone ? undefined : asTransferError(error, 'unexpected', 'The session failed')),
    );
    const failed = await this.end(lost).catch((error: unknown) =>
      asTransferError(error, 'unexpected', 'The session failed'),
    );
    await this.control.linger();
    const { report, waits } = this.receiving;
    return {
      id: this.id,
      tally: report.tally,
      failures: report.failures.first,
      moreFailures: report.failures.more,
      absent: report.absent.size,
      waits,
      lost: lost ?? failed,
    };
  }

  /** Why a sender finishes before everything is done. PROTOCOL.md 12.9. */
  private endedEarly(): TransferError {
    const sender = this.receiving.rules.asked ? 'receiver' : 'sender'; // as people call that side of a restore
    return this.control.isPeerStopped
      ? new TransferError('stopped', `The ${sender} was stopped.`)
      : new TransferError('connection-lost', `The ${sender} closed the connection before its end.`);
  }

  /** Stops reading; what has arrived is kept. */
  stop(reason: TransferError): void {
    this.control.connection.stopReading(reason);
    this.further.stop(reason);
  }

  /** Takes the messages of one connection until its end. */
  private async read(link: Link, number: number): Promise<void> {
    for (;;) {
      const before = link.connection.consumed;
      const header = await link.receive();
      if (header === undefined) return;
      await this.take(parseFromSender(header), { link, number, before });
    }
  }

  /** The same for a sealed connection, whose frames are here as a whole. PROTOCOL.md 24. */
  private async readSealed(arrivals: SealedArrivals, number: number): Promise<void> {
    const { flow } = this.receiving;
    for (let arrived = await arrivals.next(); arrived; arrived = await arrivals.next()) {
      if (arrived.kind === 'bundle') {
        const { written } = await this.batches.bundleArrived(arrived.bundle, arrived.payload);
        void this.beside(written);
      } else {
        const { segment, lease, wire } = arrived;
        await flow.take(this.segmentArrived(segment, lease, wire));
      }
      this.taken.count(number);
    }
  }

  private async segmentArrived(segment: Segment, lease: Lease | undefined, wire: number): Promise<void> {
    const payload = payloadHere(lease);
    try {
      const open = this.openFile(segment.file);
      await this.largeFiles.segment(open, segment, payload);
      if (open) open.file.bytesOnWire += wire;
    } finally {
      await payload.skip();
    }
  }

  /**
   * Contents come on any connection, everything else on connection 0. PROTOCOL.md 12.6. Rejects with what ends the
   * connection.
   */
  private async take(message: FromSender, origin: Origin): Promise<void> {
    const { flow } = this.receiving;
    if (message.type === 'segment') return flow.take(this.segment(message, origin));
    if (message.type === 'bundle') return flow.take(this.bundle(message, origin));
    if (origin.number > 0) throw unexpectedMessage(message.type);
    return this.converse(message, origin.link);
  }

  private async segment(segment: Segment, { link: { connection }, number, before }: Origin): Promise<void> {
    const open = this.openFile(segment.file);
    await this.largeFiles.segment(open, segment, payloadOf(connection, segment, this.receiving.waits));
    if (open) open.file.bytesOnWire += connection.consumed - before;
    this.taken.count(number);
  }

  private async bundle(bundle: Bundle, { link, number }: Origin): Promise<void> {
    const { written } = await this.batches.bundle(bundle, link);
    void this.beside(written);
    this.taken.count(number);
  }

  /** What may come to the receiver on connection 0, as the tables of PROTOCOL.md 18.1 have it. */
  private async converse(message: Exclude<FromSender, Segment | Bundle>, link: Link): Promise<void> {
    const { entries, replies, report } = this.receiving;
    switch (message.type) {
      case 'offer':
        return this.offer(await link.receiveList(message.list));
      case 'keep':
        this.largeFiles.keep(this.openFile(message.file), message);
        return;
      case 'copy':
        return this.largeFiles.copy(this.openFile(message.file), message);
      case 'close':
        this.close(message);
        return;
      case 'drop':
        this.drop(message);
        return;
      case 'text':
        entries.throwIfEnded();
        report.text(message.text);
        replies.receipts([{ file: message.file, verified: null }]);
        return;
      case 'missing':
        entries.throwIfEnded();
        return this.missing(await link.receiveList(message.list));
      case 'end':
        this.offeredInAll = message.entries ?? 0;
        report.offers([], true);
        entries.end();
        return;
      case 'connect':
        this.another(message.connection);
        return;
      case 'heartbeat':
        return;
      case 'hello':
        throw unexpectedMessage(message.type);
    }
  }

  /**
   * A long list is read in parts, between which others have their turn, and looked up and answered by the thousand:
   * each time costs a way to a thread and back. What an offer leaves to be done is done beside the reading.
   */
  private async offer(list: Uint8Array): Promise<void> {
    const { entries, rules } = this.receiving;
    entries.throwIfEnded();
    let read: ReturnType<typeof parseEntries> = [];
    for (const part of partsOfList(list)) {
      if (part) read = read.concat(parseEntries(part, { allowHidden: true, names: rules.names ?? 'any' }));
      if (read.length >= offeredTogether) await this.takeOffered(read.splice(0));
      await nextTurn();
    }
    if (read.length > 0) await this.takeOffered(read);
  }

  private async takeOffered(offer: ReturnType<typeof parseEntries>): Promise<void> {
    this.receiving.report.offers(offer);
    const { toBegin, toLink } = await takeOffer(this.receiving, offer);
    for (const file of toBegin) void this.beside(this.largeFiles.begin(file));
    for (const file of toLink) this.batches.link(file);
  }

  private close(close: Close): void {
    const state = this.receiving.entries.asked(close.file);
    if (state?.state === 'arriving')
      void this.beside(this.largeFiles.closed(state, close).then((same) => same && this.batches.link(same)));
    else if (state) this.batches.closed(state, close);
  }

  /** PROTOCOL.md 14.10. */
  private drop({ file, code = 'source-changed', message = 'The sender gave this file up.' }: Drop): void {
    const { entries } = this.receiving;
    const state = entries.asked(file);
    const error = new TransferError(code, message, { hint: '' });
    if (state?.state === 'arriving') this.largeFiles.failed(state.file, error);
    // A file that is in a batch cannot be given up any more.
    if (state?.state === 'wanted') this.receiving.refuse(state.entry, error);
    entries.notify();
  }

  /**
   * The large file of which the sender speaks; undefined once it is settled. Throws `bad-header` for what comes whole,
   * and what was not asked for.
   */
  private openFile(file: number): OpenFile | undefined {
    const state = this.receiving.entries.asked(file);
    if (state?.state === 'wanted') throw new TransferError('bad-header', 'A small file came as a segment.');
    return state?.state === 'arriving' ? state : undefined;
  }

  /**
   * In a snapshot, nobody but that is told of what the sender does not have. Where it was asked for, so were the
   * directories above it.
   */
  private async missing(list: Uint8Array): Promise<void> {
    const { stage, report, rules } = this.receiving;
    for (const part of partsOfList(list)) {
      const read = part ? parseMissing(part) : [];
      if (stage) await stage.unsent(read);
      else
        for (const missing of read) {
          if (!missing.skipped && rules.asked?.chosen(missing.name)) this.receiving.storeAbove(missing.name);
          report.missing(missing);
        }
      await nextTurn();
    }
  }

  /** PROTOCOL.md 12.8. */
  private another(number: number): void {
    if (!this.connect) throw unexpectedMessage('connect');
    this.further.expect(number);
    this.connect(number).catch(() => this.further.giveUp(number)); // the sender goes on without it
  }

  /**
   * Commits one batch after another, each when it is due and the store takes one more, until there is nothing more to
   * commit.
   */
  private async commitBatches(): Promise<void> {
    const underWay = new Set<Promise<void>>();
    while (await this.batches.due()) {
      const commit = this.beside(this.commitBatch()).finally(() => underWay.delete(commit));
      underWay.add(commit);
      if (underWay.size >= this.receiving.store.batch.limits.commits) await Promise.race(underWay);
    }
  }

  private async commitBatch(): Promise<void> {
    for (const file of await this.batches.commit()) void this.beside(this.largeFiles.begin(file));
  }

  /** After `end`, once every entry has its receipt or refusal, says `done`. PROTOCOL.md 13.9, 17.7. */
  private async finish(): Promise<void> {
    const { entries, stage, replies, report, waits } = this.receiving;
    // A directory is settled last, and is made by a batch.
    if (!(await entries.until(() => entries.contentsSettled && this.batches.allCommitted))) return;
    for (const directory of entries.held) this.receiving.refuse(directory, unasked(directory.name));
    const { links, directories } = entries.last;
    await this.batches.makeLinks(links);
    await this.batches.finishDirectories(directories);
    const snapshot = await stage?.commit(this.offeredInAll);
    report.ended();
    this.saidDone = true;
    replies.done(waits, snapshot);
  }

  /**
   * Lets something happen beside the reading; its failure ends the session. Resolves when it is over, never rejects.
   */
  private beside(work: Promise<void>): Promise<void> {
    const working = work
      .catch((error: unknown) => this.stop(asTransferError(error, 'unexpected', 'The session failed')))
      .finally(() => this.working.delete(working));
    this.working.add(working);
    return working;
  }

  /**
   * Ends everything but the control connection. What is here and whole is still stored, what is not finished is kept
   * for the next time.
   */
  private async end(lost: TransferError | undefined): Promise<undefined> {
    const { entries, stage, replies, store } = this.receiving;
    this.taken.stop();
    this.further.close(lost);
    entries.close();
    try {
      await this.largeFiles.suspend();
      while (this.working.size > 0) await Promise.all(this.working);
      await this.batches.putTimesBack();
    } finally {
      try {
        await entries.abandon();
        await store.release();
      } finally {
        await stage?.leave();
      }
    }
    if (lost && lost.code !== 'connection-lost' && lost.code !== 'stopped') await replies.broken(lost);
    return undefined;
  }
}

function unexpectedMessage(type: string): TransferError {
  return new TransferError('bad-header', `A message ${type} has no place here.`);
}
