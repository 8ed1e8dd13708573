import { asTransferError, TransferError } from '../errors';
import { type Bottleneck, type FileDone, fileEvent, type Listener, ofTransfer, Waits } from '../progress';
import type { Waited } from '../wire/message';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { MissingEntry, SessionReceipt } from '../wire/session-list';
import type { SessionRefusal } from '../wire/session-message';
import { areFewNamed, BundleReader, type SmallFileReader } from './bundle-reader';
import { countFiles, findToSend, type FoundToSend, type SessionSource } from './finding';
import { RateLimit } from './rate-limit';
import { type PieceReader, SegmentReader } from './segment-reader';
import type { SendOptions } from './send-options';
import { LostCount } from '../session/lost';
import { LeftOutCount } from './left-out';
import { failureEvent, heldBackBy, type Sender, Tally } from '../session/summary';
import { SendEntries, type FoundTogether, type SentEntry } from './entries';
import { routeThrough } from '../net/address';
import type { Connector } from './connector';
import { newSession, refused } from '../session/opening';
import { sendUntilDone } from './session-sender';
import { usualRetry } from '../session/deadlines';
import { ignored } from '../trace';

/** Most results that are kept for `files`; further ones are reported only. */
const mostRemembered = 10_000;
const tellScanEvery = 250;
const sourceRotHint = 'Compare it with the snapshot before: memory or disk of this machine may be failing.';

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
  readonly files: FileDone[] = [];
  readonly failures: TransferError[] = [];
  readonly tally = new Tally();
  private readonly lost = new LostCount();
  private readonly leftOut = new LeftOutCount();
  /** How many files and streams were found so far. */
  offered = 0;
  /** What became of a backup. */
  snapshot: SnapshotDone | undefined;
  /** How many of the failures are about files that are stored, and are other than they were. */
  alarms = 0;
  private readonly waits = new Waits();
  private readonly receiverWaits = new Waits();
  private readonly own = newSession();
  /** The listener of the options, for events that have the id of the session already. */
  private readonly tell: Listener;
  private readonly on: Listener;
  private readonly entries: SendEntries;
  private readonly source: ContentSource;

  constructor(
    private readonly options: SendOptions,
    private readonly connector: Connector,
    private readonly contents: SessionContents = {},
  ) {
    const { on = () => undefined, digest = 'blake3' } = options;
    this.tell = on;
    this.on = ofTransfer(on, () => this.id);
    this.source = contents.shared ?? {
      found: findToSend(options, contents.source, { snapshot: contents.snapshot ?? false }),
      segments: new SegmentReader(),
      bundles: new BundleReader(digest),
    };
    this.entries = new SendEntries(
      this.found(),
      (error) => this.failed(error),
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
    const { entries, waits, on, connector } = this;
    const { segments, bundles } = this.source;
    // Looking begins while the receiver is being dialed.
    entries.pull().catch(ignored('whether it fails is asked when it is needed'));
    try {
      await sendUntilDone({
        connector,
        limit: this.source.limit ?? new RateLimit(limit),
        waits,
        connections,
        compress,
        retryFor,
        signal,
        outlet: {
          entries,
          algorithm: digest,
          ofSnapshot: this.contents.snapshot ?? false,
          needsDone: this.contents.needsDone ?? false,
          segments,
          bundles,
          waits,
          signal,
          on,
          stored: (outgoing, receipt) => this.stored(outgoing, receipt),
          refusedBy: (outgoing, refusal) => this.refusedBy(outgoing, refusal),
          failed: (error) => this.failed(error),
          connectionLost: ({ message }) =>
            on({ event: 'connection', state: 'lost', message, retry_for: Math.round(retryFor / 1000) }),
          connectionBack: () => on({ event: 'connection', state: 'back' }),
          receiverWaited: (waited) => this.receiverWaited(waited),
          alarmed: ({ name }, message) => {
            this.alarms++;
            this.failed(new TransferError('mismatch', message, { fileName: name, hint: sourceRotHint }));
          },
          snapshot: (done) => {
            this.snapshot = done;
          },
        },
      });
    } catch (error) {
      this.failed(asTransferError(error, 'unexpected', 'Sending failed'));
    }
  }

  async close(): Promise<void> {
    for (const event of this.lost.events()) {
      this.on(event);
      const meant = event.event === 'lost' && event.what !== 'mode' && event.what !== 'mtime';
      // The hint is empty, since the event was shown.
      if (meant && this.options.metadata)
        this.failures.push(new TransferError('some-failed', event.message, { hint: '' }));
    }
    for (const event of this.leftOut.events()) {
      this.on(event);
      this.failures.push(new TransferError('some-failed', event.message, { hint: '' }));
    }
    await Promise.all([
      this.entries.close(),
      this.source.segments.close(),
      this.source.bundles.close(),
      this.connector.close(),
    ]);
  }

  get bottleneck(): Bottleneck | null {
    return heldBackBy(this.waits, this.receiverWaits, this.contents.local ?? false);
  }

  /** Of the session, once there is one. */
  private get id(): string {
    return this.connector.session ?? this.own;
  }

  get route(): string | undefined {
    const { relay } = this.connector;
    return relay && routeThrough(relay);
  }

  get congestion(): string | undefined {
    return this.connector.congestion;
  }

  /** Reports and counts what is found, starts the threads that will read it, and passes it on. */
  private async *found(): AsyncGenerator<FoundTogether> {
    let last = performance.now();
    let shown: FoundToSend['scanned'];
    const tell = (): void => {
      if (!shown) return;
      const { name, bytes } = shown;
      this.on({ event: 'progress', file_name: name, phase: 'scan', done: bytes, total: bytes, files: this.offered });
    };
    for await (const each of this.source.found) {
      const { entries, streams = 0, notices = [], already = [], scanned } = each;
      for (const one of notices) {
        if (one.type === 'left-out') this.leftOut.add(one.name, one.leftOut);
        else this.on({ event: 'skipped', file_name: one.name, reason: one.reason });
      }
      const { small, large } = entries ? countFiles(entries) : { small: 0, large: 0 };
      this.offered += streams + small + large + already.length;
      for (const done of already) this.done(done);
      shown = scanned ?? shown;
      if (performance.now() - last >= tellScanEvery) {
        last = performance.now();
        tell();
      }
      // While the receiver is being dialed.
      if (entries && small > 0 && !areFewNamed(entries)) this.source.bundles.warm();
      if (large > 0) this.source.segments.warm();
      yield each;
    }
    if (this.offered > 1) tell();
  }

  private stored(
    { type, name, size, began, bytesOnWire, kept, grew, text }: SentEntry,
    { digests = {}, verified, path: stored, verified_at: verifiedAt, repaired, lost }: SessionReceipt,
  ): void {
    this.lost.add(name, lost);
    if (text !== undefined) this.on({ event: 'text', text });
    if (type !== 'file' && type !== 'stream') return;
    const { route } = this;
    const done: { -readonly [Key in keyof FileDone]: FileDone[Key] } = {
      file_name: name,
      file_size: size,
      digests,
      verified,
      path: stored ?? name,
      bytes_on_wire: bytesOnWire,
      seconds: (performance.now() - began) / 1000,
    };
    if (verifiedAt !== undefined) done.verified_at = verifiedAt;
    if (kept !== undefined) done.kept = kept;
    if (repaired !== undefined) done.repaired = repaired;
    if (grew === true) done.source_grew = true;
    if (route !== undefined) done.route = route;
    this.done(done);
  }

  private done(file: FileDone): void {
    this.tally.add(file);
    if (this.files.length < mostRemembered) this.files.push(file);
    this.tell(fileEvent('sent', this.id, file));
  }

  private refusedBy({ type, name }: SentEntry, refusal: SessionRefusal): void {
    const fileName = type === 'text' ? 'text' : name;
    if (refusal.skipped === true) this.on({ event: 'skipped', file_name: fileName, reason: refusal.message });
    else this.failed(refused({ ...refusal, file_name: fileName }));
  }

  private failed(error: TransferError): void {
    this.failures.push(error);
    this.on(failureEvent(error));
  }

  private receiverWaited({ network, write, verify }: Waited): void {
    Object.assign(this.receiverWaits.spent, { network, write, verify });
  }
}
