import { TransferError } from '../errors';
import { type FileDone, fileEvent, type Listener, ofTransfer, Waits } from '../progress';
import { routeThrough } from '../net/address';
import type { Waited } from '../wire/message';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { SessionReceipt } from '../wire/session-list';
import type { SessionRefusal } from '../wire/session-message';
import type { FoundToSend } from './finding';
import type { SentEntry } from './entries';
import type { Connector } from './connector';
import { LostCount } from '../session/lost';
import { LeftOutCount } from './left-out';
import { failureEvent, Tally } from '../session/summary';
import { newSession, refused } from '../session/opening';

/** Most results that are kept for `files`; further ones are reported only. */
const mostRemembered = 10_000;
const sourceRotHint = 'Compare it with the snapshot before: memory or disk of this machine may be failing.';

/** What became of the entries of a session, over all of its conversations: told as it happens, and added up. */
export class SessionResults {
  readonly files: FileDone[] = [];
  readonly failures: TransferError[] = [];
  readonly tally = new Tally();
  /** What the receiver waited for, once it has said so. */
  readonly receiverWaits = new Waits();
  /** What became of a backup; undefined until the receiver has said so. */
  snapshot: SnapshotDone | undefined;
  /** How many of the failures are about files that are stored, and are other than they were. */
  alarms = 0;
  /** Takes events that have no id of the session yet. */
  readonly on: Listener;
  private readonly lost = new LostCount();
  private readonly leftOut = new LeftOutCount();
  private readonly own = newSession();

  constructor(
    /** The listener of the options, for events that have the id of the session already. */
    private readonly tell: Listener,
    private readonly connector: Pick<Connector, 'session' | 'relay'>,
  ) {
    this.on = ofTransfer(tell, () => this.id);
  }

  /** `relay HOST:PORT` where a relay carries the session; undefined for none. */
  get route(): string | undefined {
    const { relay } = this.connector;
    return relay && routeThrough(relay);
  }

  /** What a scan says beside what it found. */
  noticed(notice: NonNullable<FoundToSend['notices']>[number]): void {
    if (notice.type === 'left-out') this.leftOut.add(notice.name, notice.leftOut);
    else this.on({ event: 'skipped', file_name: notice.name, reason: notice.reason });
  }

  /** The receiver has an entry, and its receipt was found right. */
  stored(
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

  /** A file is stored, by this session or by what came before it. */
  done(file: FileDone): void {
    this.tally.add(file);
    if (this.files.length < mostRemembered) this.files.push(file);
    this.tell(fileEvent('sent', this.id, file));
  }

  refused({ type, name }: SentEntry, refusal: SessionRefusal): void {
    const fileName = type === 'text' ? 'text' : name;
    if (refusal.skipped === true) this.on({ event: 'skipped', file_name: fileName, reason: refusal.message });
    else this.failed(refused({ ...refusal, file_name: fileName }));
  }

  /** About one file, or about the whole session where the error names none. */
  failed(error: TransferError): void {
    this.failures.push(error);
    this.on(failureEvent(error));
  }

  /** The receiver says that a file is other than it was, and should not be. */
  alarmed({ name }: SentEntry, message: string): void {
    this.alarms++;
    this.failed(new TransferError('mismatch', message, { fileName: name, hint: sourceRotHint }));
  }

  /** The receiver is dialed, or awaited, again for `retryFor` ms. */
  connectionLost({ message }: TransferError, retryFor: number): void {
    this.on({ event: 'connection', state: 'lost', message, retry_for: Math.round(retryFor / 1000) });
  }

  connectionBack(): void {
    this.on({ event: 'connection', state: 'back' });
  }

  receiverWaited({ network, write, verify }: Waited): void {
    Object.assign(this.receiverWaits.spent, { network, write, verify });
  }

  /**
   * Tells what did not come along beside the content, once for each kind; it is a failure where that was asked for,
   * `metadataAsked`, or lies at the source.
   */
  conclude(metadataAsked: boolean): void {
    for (const event of this.lost.events()) {
      this.on(event);
      const meant = event.event === 'lost' && event.what !== 'mode' && event.what !== 'mtime';
      // The hint is empty, since the event was shown.
      if (meant && metadataAsked) this.failures.push(new TransferError('some-failed', event.message, { hint: '' }));
    }
    for (const event of this.leftOut.events()) {
      this.on(event);
      this.failures.push(new TransferError('some-failed', event.message, { hint: '' }));
    }
  }

  /** Of the session, once there is one. */
  private get id(): string {
    return this.connector.session ?? this.own;
  }
}
