import { asTransferError, type TransferError } from '../errors';
import { type Bottleneck, type FileDone, Waits } from '../progress';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { MissingEntry } from '../wire/session-list';
import { BundleReader, type SmallFileReader } from './bundle-reader';
import { countFiles, findToSend, type FoundToSend, type SessionSource } from './finding';
import { RateLimit } from './rate-limit';
import { type PieceReader, SegmentReader } from './segment-reader';
import type { SendOptions } from './send-options';
import { heldBackBy, type Sender, type Tally } from '../session/summary';
import { SendEntries, type FoundTogether } from './entries';
import type { Connector } from './connector';
import { SessionResults } from './session-results';
import { sendUntilDone } from './session-sender';
import { usualRetry } from '../session/deadlines';
import { ignored } from '../trace';

const tellScanEvery = 250;

/** Where the content of a transfer comes from: its own reading, or its share of one for several receivers. */
export interface ContentSource {
  /** What there is to send. */
  readonly found: AsyncGenerator<FoundToSend>;
  readonly segments: PieceReader;
  readonly bundles: SmallFileReader;
  /** The rate that it shares with others; absent for the one of its options. */
  readonly limit?: RateLimit;
}

/** What a session sends, beside the `paths` of its options. */
export interface SessionContents {
  /** Sent instead of the paths. */
  readonly source?: SessionSource | undefined;
  /** Reads all of it for several receivers; absent where this is the only one. */
  readonly shared?: ContentSource | undefined;
  /** What the receiver is told is missing, before anything is found to be. */
  readonly missing?: readonly MissingEntry[];
  /** Whether all of it is a snapshot, or becomes one: then the receiver is told what is missing. */
  readonly snapshot?: boolean;
  /** Whether the receiver is in this process. */
  readonly local?: boolean;
  /** Whether nothing counts without the receiver's `done`: then it is met again for that alone. */
  readonly needsDone?: boolean;
}

/** A sender's side of a session: what is sent, and what became of it, over as many conversations as it takes. */
export class SessionTransfer implements Sender {
  /** How many files and streams were found so far. */
  offered = 0;
  private readonly results: SessionResults;
  private readonly waits = new Waits();
  private readonly entries: SendEntries;
  private readonly source: ContentSource;

  constructor(
    private readonly options: SendOptions,
    private readonly connector: Connector,
    private readonly contents: SessionContents = {},
  ) {
    const { on = () => undefined, digest = 'blake3' } = options;
    this.results = new SessionResults(on, connector);
    this.source = contents.shared ?? {
      found: findToSend(options, contents.source, { snapshot: contents.snapshot ?? false }),
      segments: new SegmentReader(),
      bundles: new BundleReader(digest),
    };
    this.entries = new SendEntries(
      this.found(),
      (error) => this.results.failed(error),
      contents.missing,
      contents.snapshot,
      this.source.bundles,
    );
    if (options.paths.includes('-') && !contents.shared)
      (options.input ?? process.stdin).once('error', ignored('it broke before anyone read from it; who does is told'));
  }

  async run(): Promise<void> {
    const { connections = 'auto', compress = 'auto', retryFor = usualRetry } = this.options;
    const { limit = Infinity, digest = 'blake3', signal } = this.options;
    const { entries, waits, results, connector } = this;
    const { segments, bundles } = this.source;
    const { snapshot = false, needsDone = false } = this.contents;
    // Looking begins while the receiver is being dialed.
    entries.pull().catch(ignored('whether it fails is asked when it is needed'));
    try {
      await sendUntilDone({
        connector,
        limit: this.source.limit ?? new RateLimit(limit),
        connections,
        compress,
        retryFor,
        work: {
          entries,
          results,
          algorithm: digest,
          ofSnapshot: snapshot,
          needsDone,
          segments,
          bundles,
          waits,
          signal,
        },
      });
    } catch (error) {
      results.failed(asTransferError(error, 'unexpected', 'Sending failed'));
    }
  }

  async close(): Promise<void> {
    this.results.conclude(this.options.metadata ?? false);
    await Promise.all([
      this.entries.close(),
      this.source.segments.close(),
      this.source.bundles.close(),
      this.connector.close(),
    ]);
  }

  get files(): readonly FileDone[] {
    return this.results.files;
  }

  get failures(): readonly TransferError[] {
    return this.results.failures;
  }

  get tally(): Tally {
    return this.results.tally;
  }

  /** What became of a backup. */
  get snapshot(): SnapshotDone | undefined {
    return this.results.snapshot;
  }

  /** How many of the failures are about files that are stored, and are other than they were. */
  get alarms(): number {
    return this.results.alarms;
  }

  get bottleneck(): Bottleneck | null {
    return heldBackBy(this.waits, this.results.receiverWaits, this.contents.local ?? false);
  }

  get route(): string | undefined {
    return this.results.route;
  }

  get congestion(): string | undefined {
    return this.connector.congestion;
  }

  /** Reports and counts what is found, starts the threads that will read large files, and passes it on. */
  private async *found(): AsyncGenerator<FoundTogether> {
    const { results } = this;
    let last = performance.now();
    let shown: FoundToSend['scanned'];
    const tell = (): void => {
      if (!shown) return;
      const { name, bytes } = shown;
      results.on({ event: 'progress', file_name: name, phase: 'scan', done: bytes, total: bytes, files: this.offered });
    };
    for await (const each of this.source.found) {
      const { entries, streams = 0, notices = [], already = [], scanned } = each;
      for (const notice of notices) results.noticed(notice);
      const { small, large } = entries ? countFiles(entries) : { small: 0, large: 0 };
      this.offered += streams + small + large + already.length;
      for (const done of already) results.done(done);
      shown = scanned ?? shown;
      if (performance.now() - last >= tellScanEvery) {
        last = performance.now();
        tell();
      }
      // While the receiver is being dialed. Small files have a thread once the receiver wants one of them: of a tree that
      // it has already none is read.
      if (large > 0) this.source.segments.warm();
      yield each;
    }
    if (this.offered > 1) tell();
  }
}
