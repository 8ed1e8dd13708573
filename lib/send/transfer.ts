import path from 'node:path';
import { asTransferError, TransferError } from '../errors';
import { type Bottleneck, type FileDone, type Listener, ofTransfer, Waits } from '../progress';
import type { Waited } from '../wire/message';
import { smallFile } from '../wire/segment';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { MissingEntry, SessionReceipt } from '../wire/session-list';
import type { SessionRefusal } from '../wire/session-message';
import { BundleReader } from './bundle-reader';
import { RateLimit } from './rate-limit';
import { SegmentReader } from './segment-reader';
import { type SendOptions, usualInputName } from './send-options';
import { LostCount } from '../session/lost';
import { LeftOutCount } from './left-out';
import { failureEvent, heldBackBy, type Sender, Tally } from '../session/summary';
import type { FoundEntry } from '../scan/found';
import { fileType, type FoundBatch, packEntries } from '../scan/found-batch';
import { leavingOut } from '../scan/leaving-out';
import { scanOffers } from '../scan/tree-scan';
import { SendEntries, type FoundTogether, type SentEntry } from './entries';
import { formatAddress } from '../net/address';
import type { Connector } from './connector';
import { splitSources } from './named-pipes';
import { newSession, refused } from '../session/opening';
import { sendUntilDone } from './session-sender';
import { usualRetry } from '../session/deadlines';
import { ignored } from '../trace';

/** Results of more files than that are told as they come, and not kept. */
const mostRemembered = 10_000;
const tellScanEvery = 250;
const sourceRotHint = 'Compare it with the snapshot before: memory or disk of this machine may be failing.';

/** What a session sends, found bit by bit; a TransferError with its `fileName` in place of what cannot be sent. */
export type SessionSource = AsyncIterable<readonly (FoundEntry | TransferError)[]>;

/** What a session is about, beside the `paths` of its options. */
export interface SessionContents {
  /** What is sent instead of those. */
  readonly source?: SessionSource | undefined;
  /** What the receiver is told is missing, before anything is found to be. */
  readonly missing?: readonly MissingEntry[];
  /** Whether all of it is a snapshot, or becomes one: then the receiver is told what is missing. */
  readonly snapshot?: boolean;
  /** Whether the receiver is in this process. */
  readonly local?: boolean;
  /** Whether all is in vain without the receiver's `done`: then it is met again for that alone. */
  readonly needsDone?: boolean;
}

/** Everything that a sender does in a session, over as many conversations as it takes. */
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
  private readonly waits = new Waits();
  private readonly receiverWaits = new Waits();
  private readonly on: Listener;
  private readonly entries: SendEntries;
  private readonly segments = new SegmentReader();
  private readonly bundles: BundleReader;

  constructor(
    private readonly options: SendOptions,
    private readonly meeting: Connector,
    private readonly contents: SessionContents = {},
  ) {
    const { on = () => undefined, digest = 'blake3' } = options;
    const own = newSession();
    this.on = ofTransfer(on, () => meeting.session ?? own);
    this.bundles = new BundleReader(digest);
    this.entries = new SendEntries(
      this.found(),
      (error) => this.failed(error),
      contents.missing,
      contents.snapshot,
      this.bundles,
    );
    // It may break before anyone reads from it; who does then is told.
    if (options.paths.includes('-')) (options.input ?? process.stdin).once('error', () => undefined);
  }

  async run(): Promise<void> {
    const { connections = 'auto', retryFor = usualRetry, limit = Infinity, digest = 'blake3', signal } = this.options;
    const { entries, segments, bundles, waits, on, meeting } = this;
    // Looking begins while the receiver is being dialed.
    entries.pull().catch(ignored('whether it fails is asked when it is needed'));
    try {
      await sendUntilDone({
        meeting,
        limit: new RateLimit(limit),
        waits,
        connections,
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
          alarmed: ({ name }, message) =>
            this.failed(new TransferError('mismatch', message, { fileName: name, hint: sourceRotHint })),
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
      // The event has said it.
      if (meant && this.options.metadata)
        this.failures.push(new TransferError('some-failed', event.message, { hint: '' }));
    }
    for (const event of this.leftOut.events()) {
      this.on(event);
      this.failures.push(new TransferError('some-failed', event.message, { hint: '' }));
    }
    await Promise.all([this.entries.close(), this.segments.close(), this.bundles.close(), this.meeting.close()]);
  }

  get bottleneck(): Bottleneck | null {
    return heldBackBy(this.waits, this.receiverWaits, this.contents.local ?? false);
  }

  get relay(): string | undefined {
    const { relay } = this.meeting;
    return relay && formatAddress(relay).replace(/^tcp:\/\//, '');
  }

  get congestion(): string | undefined {
    return this.meeting.congestion;
  }

  private async *found(): AsyncGenerator<FoundTogether> {
    const { paths, input = process.stdin, name, inputName = name ?? usualInputName, text } = this.options;
    if (text !== undefined) yield { single: { type: 'text', text } };
    const { places, streams } = await splitSources(paths, { input, inputName, single: name });
    const failures: TransferError[] = [];
    for (const { name, open } of streams) {
      this.offered++;
      try {
        const stream = open();
        // Whoever reads it is told.
        stream.once('error', () => undefined);
        yield { single: { type: 'stream', name, input: stream } };
      } catch (error) {
        failures.push(asTransferError(error, 'source-unreadable', 'The input cannot be read'));
      }
    }
    if (failures.length > 0) yield { failures };
    if (places.length > 0)
      yield* this.scanned(
        places,
        streams.map(({ name }) => name),
      );
    for await (const found of this.contents.source ?? []) {
      const entries = packEntries(found.filter((each): each is FoundEntry => !(each instanceof TransferError)));
      this.warm(entries);
      yield { entries, failures: found.filter((each) => each instanceof TransferError) };
    }
  }

  private async *scanned(paths: readonly string[], taken: readonly string[]): AsyncGenerator<FoundTogether> {
    const { signal, name, metadata = false } = this.options;
    const shown = path.basename(path.resolve(paths[0] ?? ''));
    let last = performance.now();
    for await (const { found, offer, told, bytes } of scanOffers(
      {
        paths,
        name,
        ...leavingOut(this.options),
        taken,
        metadata: metadata || (this.contents.snapshot ?? false),
        signal,
      },
      this.entries.numbered,
      this.contents.snapshot ?? false,
    )) {
      if (performance.now() - last >= tellScanEvery) {
        last = performance.now();
        this.on({ event: 'progress', file_name: shown, phase: 'scan', done: bytes, total: bytes });
      }
      for (const each of told) {
        if (each instanceof TransferError) continue;
        if (each.type === 'left-out') this.leftOut.add(each.name, each.leftOut);
        else this.on({ event: 'skipped', file_name: each.name, reason: each.reason });
      }
      this.warm(found);
      yield { entries: found, offer, failures: told.filter((each) => each instanceof TransferError) };
    }
  }

  /** Starts the threads that will read what was found, while the receiver is being dialed. */
  private warm({ length, types, sizes }: FoundBatch): void {
    let [small, large] = [false, false];
    for (let at = 0; at < length; at++) {
      if (types[at] !== fileType) continue;
      this.offered++;
      if ((sizes[at] ?? 0) > smallFile) large = true;
      else small = true;
    }
    if (small) this.bundles.warm();
    if (large) this.segments.warm();
  }

  private stored(
    { type, name, size, began, bytesOnWire, kept, grew, text }: SentEntry,
    { digests = {}, verified, path: stored, verified_at: verifiedAt, repaired, lost }: SessionReceipt,
  ): void {
    this.lost.add(name, lost);
    if (text !== undefined) this.on({ event: 'text', text });
    if (type !== 'file' && type !== 'stream') return;
    const done: FileDone = {
      file_name: name,
      file_size: size,
      digests,
      verified,
      path: stored ?? name,
      bytes_on_wire: bytesOnWire,
      seconds: (performance.now() - began) / 1000,
      ...(verifiedAt === undefined ? {} : { verified_at: verifiedAt }),
      ...(kept === undefined ? {} : { kept }),
      ...(repaired === undefined ? {} : { repaired }),
      ...(grew === true ? { source_grew: true } : {}),
    };
    this.tally.add(done);
    if (this.files.length < mostRemembered) this.files.push(done);
    this.on({ event: 'sent', ...done });
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
