import { asTransferError, TransferError } from '../errors';
import { type EntryName, printable } from '../name';
import { smallFile } from '../wire/segment';
import type { BadEntry, Entry, FileEntry, HeldSegment, SessionReceipt } from '../wire/session-list';
import type { Admitted, SessionStore } from '../store/session-store';
import type { Answers } from './answers';
import type { Earlier, Intake } from './intake';
import { judge, judgeStaged, type Verdict } from './judge';
import type { SessionRules } from './rules';
import type { Pending, Unsettled } from './unsettled';

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
  /** Small files, where one of the same size stands. */
  readonly updates: Pending[];
  readonly wanted: number[];
  readonly held: HeldSegment[];
  readonly receipts: SessionReceipt[];
}

export interface OfferSink {
  /** What needs no content is to be stored. */
  place(entry: Exclude<Entry, FileEntry>): void;
  /** A file is to be one more name of an earlier one. */
  link(file: number, earlier: Earlier): void;
  /** The sender is asked for a small file. */
  awaited(): void;
}

/** Whether an offered file is sent as a whole, and stored in a group. */
export function isSmall({ size }: FileEntry): boolean {
  return size !== undefined && size <= smallFile;
}

/** Decides what becomes of the entries that are offered in a session, by what stands under their names, and says so. */
export class ArrivingOffer {
  constructor(
    private readonly store: SessionStore,
    private readonly rules: SessionRules,
    private readonly answers: Answers,
    private readonly unsettled: Unsettled,
    private readonly sink: OfferSink,
    private readonly intake: Intake | undefined,
  ) {}

  /** Settles what can be settled at once, asks for the rest, and returns what comes in segments. */
  async take(entries: readonly (Entry | BadEntry)[]): Promise<LargeArrival[]> {
    const { intake, store } = this;
    this.rules.backups?.look();
    const good = entries.filter((entry): entry is Entry => {
      if ('error' in entry) this.refuseName(entry);
      return !('error' in entry);
    });
    if (good.some((entry) => entry.type === 'file' && isSmall(entry))) store.group.warm();
    const standing = await store.group.there.look(good.map(({ name }) => name));
    const files = good.filter((entry) => entry.type === 'file');
    const earlier = await intake?.earlier(files);
    const before = new Map(earlier?.map((found, at) => [files[at], found]));
    const asked: Asked = { large: [], updates: [], wanted: [], held: [], receipts: [] };
    for (const [at, entry] of good.entries()) {
      try {
        this.admitName(entry.name);
        if (entry.type === 'file') {
          const verdict = intake ? judgeStaged(entry, standing[at], before.get(entry), store, intake.mayKnow) : judge(entry, standing[at], store, this.rules);
          await this.follow(verdict, entry, asked);
        } else {
          this.unsettled.add({ entry, began: performance.now(), bytesOnWire: 0 });
          this.sink.place(entry);
        }
      } catch (thrown) {
        this.unsettled.refuse(entry, asTransferError(thrown, 'disk', 'The entry could not be stored').about(entry.name));
      }
    }
    asked.held.push(...(await this.standing(asked.updates)));
    this.answer(asked);
    return asked.large;
  }

  private answer({ receipts, held, wanted }: Asked): void {
    if (receipts.length > 0) this.answers.receipts(receipts);
    if (held.length > 0) this.answers.held(held);
    if (wanted.length > 0) this.unsettled.ask(wanted);
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
      this.sink.link(entry.file, verdict.link);
      return;
    }
    const { update, unlessSame, alike } = verdict;
    const small = isSmall(entry);
    const there = small ? 0 : await this.store.partials.allocated(this.rules.peer, entry.name);
    const admitted = await this.store.admit({ ...entry, there });
    const pending: Pending = { entry, began, admitted, bytesOnWire: 0 };
    this.unsettled.add(pending);
    if (!small) {
      asked.large.push({ entry, admitted, update, unlessSame, alike });
      return;
    }
    this.sink.awaited();
    asked.wanted.push(entry.file);
    if (update) {
      asked.updates.push(pending);
    } else if (alike?.linkable === true) {
      Object.assign(pending, { alike, standing: alike.digest });
      asked.held.push({ file: entry.file, segment: 0, digest: alike.digest });
    }
  }

  /** What the small files that stand there read as, so that they are sent only if they differ. */
  private async standing(updates: readonly Pending[]): Promise<HeldSegment[]> {
    const contents = await this.store.group.there.read(updates.map(({ entry }) => entry.name));
    return updates.flatMap((pending, at): HeldSegment[] => {
      const { entry } = pending;
      const content = contents[at];
      if (!content || entry.type !== 'file' || content.stat.size !== entry.size) return [];
      Object.assign(pending, { standing: content.digest, standingStat: content.stat });
      return [{ file: entry.file, segment: 0, digest: content.digest }];
    });
  }

  private admitName(name: EntryName): void {
    if (!this.unsettled.admit(name)) throw new TransferError('name', `${printable(name)} was offered twice.`, { hint: '' });
    this.rules.backups?.refuse(name);
    const refusal = this.intake?.refusal(name);
    if (refusal) throw refusal;
  }

  private refuseName({ file, text, error }: BadEntry): void {
    this.intake?.missing({ name: text, code: error.code, message: error.message }, true);
    this.answers.refuse(file, error.about(text));
  }
}
