import path from 'node:path';
import { asTransferError, TransferError } from '../errors';
import { type EntryName, parseEntryName } from '../name';
import { type Bottleneck, type FileDone, type Listener, Waits } from '../progress';
import type { Waited } from '../wire/message';
import { smallFile } from '../wire/segment';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { MissingEntry, SessionReceipt } from '../wire/session-list';
import type { SessionRefusal } from '../wire/session-message';
import { BundleReader } from './bundle-reader';
import { RateLimit } from './rate-limit';
import { SegmentReader } from './segment-reader';
import { type SendOptions, usualInputName } from './send-options';
import { failureEvent, type Sender, Tally } from '../session/summary';
import { type FoundEntry, scanTree } from '../scan/tree-scan';
import { Entries, type Outgoing } from './entries';
import type { Meeting } from './meeting';
import { refused } from '../session/opening';
import { sendUntilDone } from './session-sender';

const usualRetry = 300_000;
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
  /** Whether all is in vain without the receiver's `done`: then it is met again for that alone. */
  readonly needsDone?: boolean;
}

/** Everything that a sender does in a session, over as many conversations as it takes. */
export class SessionTransfer implements Sender {
  readonly files: FileDone[] = [];
  readonly failures: TransferError[] = [];
  readonly tally = new Tally();
  /** What became of a backup. */
  snapshot: SnapshotDone | undefined;
  private readonly waits = new Waits();
  private readonly receiverWaits = new Waits();
  private readonly on: Listener;
  private readonly entries: Entries;
  private readonly segments = new SegmentReader();
  private readonly bundles: BundleReader;

  constructor(
    private readonly options: SendOptions,
    private readonly meeting: Meeting,
    private readonly contents: SessionContents = {},
  ) {
    const { on = () => undefined, digest = 'blake3' } = options;
    this.on = on;
    this.bundles = new BundleReader(digest);
    this.entries = new Entries(this.found(), (error) => this.failed(error), contents.missing);
    // It may break before anyone reads from it; who does then is told.
    if (options.paths.includes('-')) (options.input ?? process.stdin).once('error', () => undefined);
  }

  async run(): Promise<void> {
    const { connections = 'auto', retryFor = usualRetry, limit = Infinity, digest = 'blake3', signal } = this.options;
    const { entries, segments, bundles, waits, on, meeting } = this;
    // Looking begins while the receiver is being dialed; whether it fails is asked when it is needed.
    entries.pull().catch(() => undefined);
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
          receiverWaited: (waited) => this.receiverWaited(waited),
          alarmed: ({ found }, message) => this.failed(new TransferError('mismatch', message, { fileName: nameOf(found), hint: sourceRotHint })),
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
    await Promise.all([this.entries.close(), this.segments.close(), this.bundles.close(), this.meeting.close()]);
  }

  /** What was waited for most. Where both ends waited for each other, the receiver knows what for. */
  get bottleneck(): Bottleneck | null {
    const { source, network, verify } = this.waits.spent;
    if (source >= Math.max(network, verify)) return this.waits.longest;
    return this.receiverWaits.longest ?? 'network';
  }

  private async *found(): AsyncGenerator<readonly (Outgoing['found'] | TransferError)[]> {
    const { paths, input = process.stdin, name, text } = this.options;
    if (text !== undefined) yield [{ type: 'text', text }];
    const inputName = paths.includes('-') ? parseEntryName(name ?? usualInputName, { allowHidden: true }) : undefined;
    if (inputName !== undefined) yield [{ type: 'stream', name: inputName, input }];
    const places = paths.filter((place) => place !== '-');
    if (places.length > 0) yield* this.scanned(places, inputName === undefined ? [] : [inputName]);
    for await (const found of this.contents.source ?? []) {
      this.warm(found);
      yield found;
    }
  }

  private async *scanned(paths: readonly string[], taken: readonly string[]): AsyncGenerator<readonly (Outgoing['found'] | TransferError)[]> {
    const { exclude, signal, name } = this.options;
    const shown = path.basename(path.resolve(paths[0] ?? ''));
    let told = performance.now();
    for await (const { items, bytes } of scanTree({ paths, name, exclude, taken, signal })) {
      if (performance.now() - told >= tellScanEvery) {
        told = performance.now();
        this.on({ event: 'progress', file_name: shown, phase: 'scan', done: bytes, total: bytes });
      }
      const found: (Outgoing['found'] | TransferError)[] = [];
      for (const item of items) {
        if (!(item instanceof TransferError) && item.type === 'skipped') this.on({ event: 'skipped', file_name: item.name, reason: item.reason });
        else found.push(item);
      }
      this.warm(found);
      yield found;
    }
  }

  /** Starts the threads that will read what was found, while the receiver is being dialed. */
  private warm(found: readonly (Outgoing['found'] | TransferError)[]): void {
    for (const each of found) {
      if (each instanceof TransferError || each.type !== 'file') continue;
      if (each.size > smallFile) this.segments.warm();
      else this.bundles.warm();
    }
  }

  private stored({ found, began, bytesOnWire, size }: Outgoing, { digests = {}, verified, path: stored, repaired }: SessionReceipt): void {
    if (found.type === 'text') this.on({ event: 'text', text: found.text });
    if (found.type !== 'file' && found.type !== 'stream') return;
    const done: FileDone = {
      file_name: found.name,
      file_size: found.type === 'file' ? found.size : (size ?? 0),
      digests,
      verified,
      path: stored ?? found.name,
      bytes_on_wire: bytesOnWire,
      seconds: (performance.now() - began) / 1000,
      ...(repaired === undefined ? {} : { repaired }),
    };
    this.tally.add(done);
    if (this.files.length < mostRemembered) this.files.push(done);
    this.on({ event: 'sent', ...done });
  }

  private refusedBy({ found }: Outgoing, refusal: SessionRefusal): void {
    const fileName = nameOf(found);
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

function nameOf(found: Outgoing['found']): EntryName | string {
  return found.type === 'text' ? 'text' : found.name;
}
