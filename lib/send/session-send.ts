import { TransferError } from '../errors';
import type { Digests, Waits } from '../progress';
import { parseHeld, parseNumbers, parseReceipts, type SessionReceipt } from '../wire/session-list';
import { longestList, parseFromReceiver } from '../wire/session-message';
import { mostBasisSegments, parseBasis, type BasisSegment } from '../wire/basis';
import type { SmallFileReader } from './bundle-reader';
import { damagedSource } from '../scan/source';
import type { PieceReader } from './segment-reader';
import type { Carriers } from './carriers';
import type { SendEntries, OfferedEntries, SentEntry } from './entries';
import { LargeFileSender } from './large-files';
import type { SessionResults } from './session-results';
import type { Link } from '../session/link';
import { refused } from '../session/opening';
import { withoutPaths } from '../session/refusal';
import { SmallFiles } from './small-files';
import { ignored } from '../trace';

/** What is the same for all conversations of a session: what is to be sent, what reads it, and what became of it. */
export interface SessionWork {
  readonly entries: SendEntries;
  readonly results: SessionResults;
  readonly algorithm: keyof Digests;
  /** Whether everything is of a snapshot, or becomes one. */
  readonly ofSnapshot: boolean;
  /** Whether the receiver's `done` is needed when everything is settled. */
  readonly needsDone: boolean;
  readonly segments: PieceReader;
  readonly bundles: SmallFileReader;
  readonly waits: Waits;
  readonly signal: AbortSignal | undefined;
}

/**
 * The sender's side of one conversation, on connection 0: offers everything that is not settled, sends what the
 * receiver lacks, and ends when it says `done`. Rejects with why it cannot go on; what is settled by then stays so.
 */
export class SessionSending {
  private readonly heldByReceiver = new Map<
    number,
    { readonly held: Map<number, string>; readonly basis: BasisSegment[] }
  >();
  private readonly large: LargeFileSender;
  private readonly small: SmallFiles;
  /** What the receiver wants, as long as it is not settled. */
  private readonly asked = new Set<number>();
  /** The highest number that was offered in this conversation. */
  private offered = -1;
  private over = false;
  /** When everything was offered, by performance.now(); undefined before. */
  private ended: number | undefined;
  private readonly reading: Promise<void>;
  private sayDone: () => void = () => undefined;
  private readonly done = new Promise<void>((resolve) => {
    this.sayDone = resolve;
  });

  constructor(
    private readonly control: Link,
    private readonly carriers: Carriers,
    private readonly work: SessionWork,
    /** Rejects with why the receiver does not want it; nothing that it says is read before. */
    private readonly welcome: Promise<unknown>,
  ) {
    const { algorithm, results, waits, entries } = work;
    this.large = new LargeFileSender(work.segments, algorithm, carriers, {
      on: results.on,
      waits,
      isWanted: ({ file }) => entries.has(file),
      dropped: ({ file }, error) => this.drop(file, error),
      kept: async ({ file }, { first, count }) => void (await control.send({ type: 'keep', file, first, count })),
      copied: async ({ file }, { offset, size, from }) =>
        void (await control.send({ type: 'copy', file, offset, size, from })),
      closed: (outgoing, size, digests) => {
        outgoing.digest = digests[algorithm];
        return this.closeFile(outgoing.file, size, digests);
      },
    });
    this.small = new SmallFiles(entries, work.bundles, carriers, {
      dropped: (file, error) => this.drop(file, error),
      kept: (file, size, digest) => this.closeFile(file, size, { [algorithm]: digest }),
    });
    this.reading = this.large.run();
  }

  async run(): Promise<void> {
    const { signal } = this.work;
    const aborted = (): void => this.control.connection.stopReading(new TransferError('interrupted', 'Interrupted.'));
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    try {
      const broken = new Promise<never>((_, reject) => {
        for (const task of [this.listen(), this.offer(), this.reading, this.small.run()]) {
          // The refusal of our hello says more than that the connection is closed.
          task.catch((error: unknown) => this.welcome.then(() => reject(error as Error), reject));
        }
      });
      await Promise.race([this.done, broken]);
    } finally {
      this.over = true;
      this.large.stop();
      this.small.stop();
      signal?.removeEventListener('abort', aborted);
    }
  }

  /**
   * Resolves when no large file is read any more, so that the next conversation can. Waits for ever where `run` has not
   * settled.
   */
  async quiet(): Promise<void> {
    await this.reading.catch(ignored('run() rejects with it'));
  }

  /** What the receiver says, until it is done. */
  private async listen(): Promise<void> {
    const { control, work } = this;
    const { entries, results } = work;
    await this.welcome;
    for (let header = await control.receive(); header !== undefined; header = await control.receive()) {
      const message = parseFromReceiver(header);
      switch (message.type) {
        case 'answer':
          for (const file of parseNumbers(await control.receiveList(message.list))) this.wanted(file);
          break;
        case 'held':
          for (const { file, segment, digest } of parseHeld(await control.receiveList(message.list), work.algorithm))
            this.heldOf(file).held.set(segment, digest);
          break;
        case 'standing':
          for (const { file, ...segment } of parseBasis(await control.receiveList(message.list), work.algorithm)) {
            if (this.heldOf(file).basis.push(segment) > mostBasisSegments)
              throw new TransferError(
                'bad-header',
                `The receiver told of too much that stands there for entry ${String(file)}.`,
              );
          }
          break;
        case 'receipts':
          for (const receipt of parseReceipts(await control.receiveList(message.list))) this.receipt(receipt);
          break;
        case 'refusal': {
          if (message.file === undefined) throw refused(message);
          const sent = this.forget(message.file);
          if (sent) results.refused(sent, message);
          break;
        }
        case 'taken':
          this.carriers.taken(message.connection, message.frames);
          break;
        case 'progress': {
          const sent = entries.sent(message.file);
          if (sent?.type === 'file')
            results.on({
              event: 'progress',
              file_name: sent.name,
              phase: 'verify',
              done: message.done,
              total: sent.size,
            });
          break;
        }
        case 'alarm': {
          const sent = entries.sent(message.file);
          if (sent) results.alarmed(sent, message.message);
          break;
        }
        case 'done':
          if (this.ended === undefined || !entries.over)
            throw new TransferError('bad-header', 'The receiver says that it is done, and is not.');
          if (this.carriers.lastTaken > 0)
            work.waits.add('verify', performance.now() - Math.max(this.ended, this.carriers.lastTaken));
          if (message.waited) results.receiverWaited(message.waited);
          if (message.snapshot) results.snapshot = message.snapshot;
          this.sayDone();
          return;
        case 'heartbeat':
          break;
        case 'hello':
          throw new TransferError('bad-header', `A message ${message.type} has no place here.`);
      }
    }
    throw new TransferError('connection-lost', 'The receiver closed the connection before its end.');
  }

  /** Offers first what an earlier conversation left unsettled, then everything else as it is found. */
  private async offer(): Promise<void> {
    const { entries, ofSnapshot } = this.work;
    let last = -1;
    do {
      for (const offered of entries.offers(last)) {
        await this.offerSome(offered);
        last = offered.last;
      }
    } while (!this.over && (await entries.pull()));
    if (ofSnapshot && entries.missing.length > 0)
      await this.control.sendList(
        { type: 'missing' },
        entries.missing.map(({ message, ...entry }) => ({ ...entry, message: withoutPaths(message) })),
      );
    this.ended = performance.now();
    await this.control.send({ type: 'end', ...(ofSnapshot ? { entries: entries.numbered } : {}) });
  }

  private async offerSome({ list, text, last }: OfferedEntries): Promise<void> {
    this.offered = last;
    if (text) await this.control.send({ type: 'text', ...text });
    if (!list) return;
    if (list.length <= longestList) await this.control.send({ type: 'offer', list: list.length }, list);
    // Names that are long, and escaped, may be too many for one message.
    else await this.control.sendList({ type: 'offer' }, JSON.parse(Buffer.from(list).toString()) as unknown[]);
  }

  private wanted(file: number): void {
    const { entries } = this.work;
    if (!entries.has(file)) return;
    if (file > this.offered)
      throw new TransferError('bad-header', `The receiver wants entry ${String(file)}, which was not offered.`);
    this.asked.add(file);
    const heldByReceiver = this.heldByReceiver.get(file);
    this.heldByReceiver.delete(file);
    if (entries.small(file)) {
      this.small.add(file, heldByReceiver?.held.get(0));
    } else {
      const outgoing = entries.outgoing(file);
      if (outgoing) this.large.add(outgoing, heldByReceiver ?? {});
    }
  }

  /**
   * "A sender takes a receipt for its own file only." What was not read in this conversation, the receiver knows by an
   * earlier receipt.
   */
  private receipt(receipt: SessionReceipt): void {
    const { algorithm, entries } = this.work;
    const sent = entries.sent(receipt.file);
    if (!sent) return;
    const hasContent = sent.type === 'file' || sent.type === 'stream';
    const digest = receipt.digests?.[algorithm];
    if (receipt.file > this.offered)
      throw new TransferError(
        'bad-header',
        `The receiver has a receipt for entry ${String(receipt.file)}, which was not offered.`,
      );
    if (hasContent && sent.digest === undefined && this.asked.has(receipt.file)) {
      throw new TransferError(
        'bad-header',
        `The receiver says that it has entry ${String(receipt.file)}, of which it has not got everything.`,
      );
    }
    if (hasContent && (receipt.verified === null || digest === undefined || digest !== (sent.digest ?? digest))) {
      throw new TransferError('bad-header', `The receipt for entry ${String(receipt.file)} is for other content.`);
    }
    this.forget(receipt.file, sent);
    // By an earlier receipt: what was stored then was not what is vouched for.
    if (hasContent && differs(sent, digest)) this.work.results.failed(damagedSource(sent.name));
    else this.work.results.stored(sent, receipt);
  }

  private async closeFile(file: number, size: number, digests: Digests): Promise<void> {
    const sent = this.work.entries.sent(file);
    if (sent && differs(sent, digests[this.work.algorithm])) await this.drop(file, damagedSource(sent.name));
    else await this.control.send({ type: 'close', file, size, digests });
  }

  /** Gives a file up: it changed, or cannot be read any more. */
  private async drop(file: number, error: TransferError): Promise<void> {
    if (this.forget(file)) this.work.results.failed(error);
    const { code, message } = error;
    await this.control.send({ type: 'drop', file, code, message: withoutPaths(message) });
  }

  private heldOf(file: number): { readonly held: Map<number, string>; readonly basis: BasisSegment[] } {
    const heldByReceiver = this.heldByReceiver.get(file) ?? { held: new Map<number, string>(), basis: [] };
    this.heldByReceiver.set(file, heldByReceiver);
    return heldByReceiver;
  }

  /** Takes an entry off the list of what is not settled; undefined if it is not on it. */
  private forget(file: number, sent = this.work.entries.sent(file)): SentEntry | undefined {
    this.heldByReceiver.delete(file);
    this.asked.delete(file);
    return this.work.entries.settle(file, sent);
  }
}

/** Whether its content is not what someone vouched for. */
function differs({ vouched }: SentEntry, digest: string | undefined): boolean {
  return vouched !== undefined && vouched !== digest;
}
