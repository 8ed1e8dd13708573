import type { AlignedMemory, Lease } from '../../aligned-memory';
import { asTransferError, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests } from '../../progress';
import type { BadEntry, BundledFile, Entry, FileEntry, HeldSegment, SessionReceipt } from '../../protocol/session-list';
import { smallFile } from '../../protocol/segment';
import type { Close } from '../../protocol/session-message';
import type { Admitted, SessionStore } from '../../store/session-store';
import type { Answers } from './answers';
import { ArrivingGroup } from './arriving-group';
import type { Earlier, Intake } from './intake';
import { judge, judgeStaged, type Verdict } from './judge';
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

/** A file that comes in segments, to be begun. */
export interface LargeArrival {
  readonly entry: FileEntry;
  readonly admitted: Admitted;
  /** Whether a file stands there whose segments may be the same. */
  readonly update: boolean;
  /** Why it is taken only if it is the same. */
  readonly unlessSame: TransferError | undefined;
  /** A file of an earlier snapshot whose content may be the same, in part or as a whole. */
  readonly alike?: Earlier | undefined;
}

/** What an offer comes to, for the sender. */
interface Asked {
  readonly large: LargeArrival[];
  readonly wanted: number[];
  readonly held: HeldSegment[];
  readonly receipts: SessionReceipt[];
}

/** Every entry of a session from its offer to its receipt; what comes in segments is left to `ArrivingFile` in between. */
export class ArrivingTree {
  private readonly unsettled: Unsettled;
  private readonly group: ArrivingGroup;
  /** Small files that the sender was asked for and that have not come. */
  private awaited = 0;
  private ended = false;

  constructor(
    private readonly store: SessionStore,
    private readonly rules: SessionRules,
    private readonly answers: Answers,
    private readonly sink: TreeSink,
    private readonly intake?: Intake,
  ) {
    const unsettled: UnsettledSink = {
      settled: () => sink.settled(),
      unlinked: (pending) => void this.unlinked(pending),
      again: (file) => {
        this.awaited++;
        answers.wanted([file]);
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

  /** Whether an entry is a small file that has not come: no segments of it can. */
  awaitsWhole(file: number): boolean {
    const entry = this.unsettled.get(file)?.entry;
    return entry?.type === 'file' && entry.size !== undefined && entry.size <= smallFile;
  }

  /** Settles what can be settled at once, asks for the rest, and returns what comes in segments. */
  async offer(entries: readonly (Entry | BadEntry)[]): Promise<LargeArrival[]> {
    const good = entries.filter((entry): entry is Entry => {
      if ('error' in entry) this.refuseName(entry);
      return !('error' in entry);
    });
    if (good.some((entry) => entry.type === 'file' && (entry.size ?? Infinity) <= smallFile)) this.store.group.warm();
    const standing = await this.store.group.look(good.map(({ name }) => name));
    const files = good.filter((entry) => entry.type === 'file');
    const earlier = await this.intake?.earlier(files);
    const before = new Map(earlier?.map((found, at) => [files[at], found]));
    const asked: Asked = { large: [], wanted: [], held: [], receipts: [] };
    for (const [at, entry] of good.entries()) {
      try {
        this.admitName(entry.name);
        if (entry.type === 'file') {
          const verdict = this.intake ? judgeStaged(entry, standing[at], before.get(entry), this.store, this.intake.mayKnow) : judge(entry, standing[at], this.store, this.rules);
          await this.follow(verdict, entry, asked);
        } else {
          this.unsettled.add({ entry, began: performance.now(), bytesOnWire: 0 });
          this.group.place(entry);
        }
      } catch (thrown) {
        const error = asTransferError(thrown, 'disk', 'The entry could not be stored').about(entry.name);
        this.unsettled.refuse(entry, error);
      }
    }
    if (asked.receipts.length > 0) this.answers.receipts(asked.receipts);
    if (asked.held.length > 0) this.answers.held(asked.held);
    if (asked.wanted.length > 0) this.answers.wanted(asked.wanted);
    return asked.large;
  }

  /** Does what was decided about a file, and adds to `asked` what the sender is to be told. */
  private async follow(verdict: Verdict, entry: FileEntry, asked: Asked): Promise<void> {
    const began = performance.now();
    if ('known' in verdict) {
      const { verified } = this.store;
      this.unsettled.known(entry, verdict.known);
      asked.receipts.push({ file: entry.file, digests: verdict.known, verified });
      this.answers.received({ file_name: entry.name, file_size: entry.size ?? 0, digests: verdict.known, verified, path: entry.name, bytes_on_wire: 0, seconds: 0 });
      return;
    }
    if ('link' in verdict) {
      this.unsettled.add({ entry, began, bytesOnWire: 0 });
      this.link(entry.file, verdict.link);
      return;
    }
    const { update, unlessSame, alike } = verdict;
    const small = entry.size !== undefined && entry.size <= smallFile;
    const there = small ? 0 : await this.store.partials.allocated(this.rules.peer, entry.name);
    const admitted = await this.store.admit({ ...entry, there });
    const pending: Pending = { entry, began, admitted, bytesOnWire: 0 };
    this.unsettled.add(pending);
    if (!small) {
      asked.large.push({ entry, admitted, update, unlessSame, alike });
      return;
    }
    this.awaited++;
    if (update) pending.standing = await this.digestStanding(entry);
    else if (alike?.linkable === true) Object.assign(pending, { alike, standing: alike.digest });
    if (pending.standing !== undefined) asked.held.push({ file: entry.file, segment: 0, digest: pending.standing });
    asked.wanted.push(entry.file);
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
      if (pending && entry?.type === 'file' && pending.bytesOnWire === 0 && !pending.linked) {
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

  /** The sender says that a small file that stands here is the same. Rejects with `bad-header` where none was spoken of. */
  async close({ file, size, digests }: Close, algorithm: keyof Digests): Promise<void> {
    const pending = this.unsettled.get(file);
    if (!pending) return;
    const { entry, standing, bytesOnWire } = pending;
    if (standing === undefined || digests[algorithm] !== standing || bytesOnWire > 0 || pending.linked) throw new TransferError('bad-header', `${printable(entry.name)} was closed without being sent.`);
    this.awaited--;
    pending.standing = undefined;
    if (pending.alike) {
      this.link(file, pending.alike);
      return;
    }
    const committed = { path: entry.name, verified: this.store.verified, outcome: 'identical' } as const;
    await this.stored(file, { committed, digests: { [algorithm]: standing }, size, bytesOnWire: 0, repaired: 0 });
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
    if (pending?.entry.type !== 'file' || pending.bytesOnWire > 0 || pending.linked) return;
    if (pending.entry.size !== undefined && pending.entry.size <= smallFile) this.awaited--;
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

  private admitName(name: EntryName): void {
    if (!this.unsettled.admit(name)) throw new TransferError('exists', `${printable(name)} was offered twice.`, { hint: '' });
    const refusal = this.intake?.refusal(name);
    if (refusal) throw refusal;
  }

  private refuseName({ file, text, error }: BadEntry): void {
    this.intake?.missing({ name: text, code: error.code, message: error.message }, true);
    this.answers.refuse(file, error.about(text));
  }

  /** What the small file that stands there reads as, so that it is sent only if it differs. */
  private async digestStanding(entry: FileEntry): Promise<string | undefined> {
    // One that cannot be read has to be sent; what stands in its way is met when it is stored.
    return entry.size === 0 ? undefined : this.store.digestStanding(entry.name).catch(() => undefined);
  }

  /** A file that could not be linked, for instance because an earlier one has too many names, is wanted like a new one. */
  private async unlinked(pending: Pending): Promise<void> {
    const { entry } = pending;
    if (entry.type !== 'file') return;
    const small = entry.size !== undefined && entry.size <= smallFile;
    if (small) this.awaited++;
    try {
      pending.admitted ??= await this.store.admit({ ...entry, there: 0 });
      if (small) this.answers.wanted([entry.file]);
      else this.sink.begin({ entry, admitted: pending.admitted, update: false, unlessSame: undefined });
    } catch (error) {
      if (small) this.awaited--;
      this.refuse(entry, asTransferError(error, 'disk', 'The entry could not be stored').about(entry.name));
    }
  }
}
