import type { AlignedMemory, Lease } from '../threads/aligned-memory';
import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import type { Digests } from '../progress';
import type { BadEntry, BundledFile, Entry } from '../wire/session-list';
import type { Close } from '../wire/session-message';
import type { SessionStore } from '../store/session-store';
import type { Answers } from './answers';
import { ArrivingGroup } from './arriving-group';
import { ArrivingOffer, isSmall, type LargeArrival, type OfferSink } from './arriving-offer';
import type { Earlier, Intake } from './intake';
import type { SessionRules } from './rules';
import { type Pending, type Stored, Unsettled, type UnsettledSink } from './unsettled';

/** What the entries of a session say to the conversation, beside what they answer. */
export interface TreeSink {
  /** Something got its receipt or refusal. */
  settled(): void;
  /** A file comes in segments after all. */
  begin(arrival: LargeArrival): void;
  /** Something went wrong that is about no single entry. */
  broken(error: unknown): void;
}

/** Every entry of a session from its offer to its receipt; what comes in segments is left to `ArrivingFile` in between. */
export class ArrivingTree {
  private readonly unsettled: Unsettled;
  private readonly group: ArrivingGroup;
  private readonly offering: ArrivingOffer;
  /** Small files that the sender was asked for and that have not come. */
  private awaited = 0;
  private ended = false;

  constructor(
    private readonly store: SessionStore,
    rules: SessionRules,
    private readonly answers: Answers,
    private readonly sink: TreeSink,
    intake?: Intake,
  ) {
    const unsettled: UnsettledSink = {
      settled: () => sink.settled(),
      unlinked: (pending) => void this.unlinked(pending),
      again: (file) => {
        this.awaited++;
        this.unsettled.ask([file]);
      },
    };
    this.unsettled = new Unsettled(store, answers, unsettled, intake);
    this.group = new ArrivingGroup(store.group, rules, {
      placeOf: (name) => this.unsettled.placeOf(name),
      pending: (file) => this.expects(file),
      waiting: () => this.unsettled.contents,
      complete: () => this.ended && this.awaited === 0,
      settle: (outcomes) => this.unsettled.settle(outcomes),
      broken: (error) => sink.broken(error),
    });
    const offers: OfferSink = {
      place: (entry) => this.group.place(entry),
      link: (file, earlier) => this.link(file, earlier),
      awaited: () => void this.awaited++,
    };
    this.offering = new ArrivingOffer(store, rules, answers, this.unsettled, offers, intake);
  }

  /** For the contents of bundles. */
  get memory(): AlignedMemory {
    return this.group.memory;
  }

  /** Whether every entry that was offered has its receipt or refusal. */
  get settled(): boolean {
    return this.unsettled.none;
  }

  /** Whether an entry has neither receipt nor refusal yet. */
  expects(file: number): boolean {
    return this.unsettled.get(file) !== undefined;
  }

  /** Whether an entry was never asked for, and is not settled either: nothing can be said of it yet (PROTOCOL.md 17.1). */
  isUnasked(file: number): boolean {
    const pending = this.unsettled.get(file);
    return pending !== undefined && pending.asked !== true;
  }

  /** Tells the sender that an entry is wanted. */
  ask(file: number): void {
    this.unsettled.ask([file]);
  }

  /** Whether an entry is a small file that has not come: no segments of it can. */
  awaitsWhole(file: number): boolean {
    const entry = this.unsettled.get(file)?.entry;
    return entry?.type === 'file' && isSmall(entry);
  }

  /** Settles what can be settled at once, asks for the rest, and returns what comes in segments. */
  offer(entries: readonly (Entry | BadEntry)[]): Promise<LargeArrival[]> {
    return this.offering.take(entries);
  }

  /** Takes the files of a bundle out of `lease`, in which their contents stand one after another, and gives that back. */
  bundle(lease: Lease, files: readonly BundledFile[], listShare: number): void {
    const wanted: Parameters<ArrivingGroup['write']>[1][number][] = [];
    let from = 0;
    let to = 0;
    for (const { file, size, digest } of files) {
      const pending = this.unsettled.get(file);
      const entry = pending?.entry;
      // What came already on a connection that died is not wanted twice.
      if (pending && entry?.type === 'file' && !isHere(pending)) {
        if (entry.size !== size) {
          lease.release();
          throw new TransferError('bad-header', `${printable(entry.name)} was offered with ${String(entry.size)} bytes, and sent with ${String(size)}.`);
        }
        if (from !== to) lease.bytes.copyWithin(to, from, from + size);
        to += size;
        pending.bytesOnWire = size + listShare;
        pending.digest = digest;
        this.awaited--;
        wanted.push({ file, name: entry.name, size, digest, mode: entry.mode, mtime: entry.mtime });
      }
      from += size;
    }
    this.group.write(lease, wanted);
  }

  /** The sender says that a small file that stands here is the same. Throws `bad-header` where none was spoken of. */
  close({ file, digests }: Close, algorithm: keyof Digests): void {
    const pending = this.unsettled.get(file);
    if (!pending) return;
    const { entry, standing, standingStat } = pending;
    if (standing === undefined || digests[algorithm] !== standing || isHere(pending)) throw new TransferError('bad-header', `${printable(entry.name)} was closed without being sent.`);
    this.awaited--;
    pending.standing = undefined;
    if (pending.alike) {
      this.link(file, pending.alike);
    } else if (standingStat) {
      pending.digest = standing;
      this.group.standing({ file, name: entry.name, stat: standingStat });
    }
  }

  /** An entry is to be one more name of an earlier file, whose content is the same. */
  link(file: number, earlier: Earlier): void {
    const pending = this.unsettled.get(file);
    if (!pending) return;
    pending.linked = earlier;
    pending.digest = earlier.digest;
    this.group.linkEarlier({ file, name: pending.entry.name, earlier: earlier.file });
    this.group.flushIfDue();
  }

  /** A file that did not come in a bundle is stored. */
  async stored(file: number, stored: Stored): Promise<void> {
    await this.unsettled.stored(file, stored);
    this.group.flushIfDue();
  }

  /** The sender gave an entry up. Of those that came whole, nothing more is given up. */
  drop(file: number, error: TransferError): void {
    const pending = this.unsettled.get(file);
    if (pending?.entry.type !== 'file' || isHere(pending)) return;
    if (isSmall(pending.entry)) this.awaited--;
    this.refuse(pending.entry, error.about(pending.entry.name));
  }

  /** An entry ended without being stored. */
  refuse(entry: Entry, error: TransferError): void {
    this.unsettled.refuse(entry, error);
    this.group.flushIfDue();
  }

  /** Everything was offered. */
  end(): void {
    this.ended = true;
    this.group.flushIfDue();
  }

  /** The session is over: what is here and whole is still stored. */
  async finish(): Promise<void> {
    try {
      await this.group.finish();
    } finally {
      this.unsettled.close();
      await this.store.release();
    }
  }

  /** A file that could not be linked, for instance because an earlier one has too many names, is wanted like a new one. */
  private async unlinked(pending: Pending): Promise<void> {
    const { entry } = pending;
    if (entry.type !== 'file') return;
    const small = isSmall(entry);
    if (small) this.awaited++;
    try {
      pending.admitted ??= await this.store.admit({ ...entry, there: 0 });
      if (small) this.unsettled.ask([entry.file]);
      else this.sink.begin({ entry, admitted: pending.admitted, update: false, unlessSame: undefined });
    } catch (error) {
      if (small) this.awaited--;
      this.refuse(entry, asTransferError(error, 'disk', 'The entry could not be stored').about(entry.name));
    }
  }
}

/** Whether the content of a small file has come, or need not come: it is in a group by now. */
function isHere({ digest }: Pending): boolean {
  return digest !== undefined;
}
