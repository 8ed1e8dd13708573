import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import type { Digests, FileDone } from '../progress';
import type { Entry, FileEntry, SessionReceipt } from '../wire/session-list';
import { ignored } from '../trace';
import type { FileStat, EntryOutcome } from '../store/local/batch';
import { NameTable } from '../store/local/name-table';
import type { Admitted, SessionStore } from '../store/session-store';
import type { Committed } from '../store/store';
import type { Answers } from './answers';
import type { Earlier, Intake } from './intake';

/** An entry that was offered and has neither receipt nor refusal yet. */
export interface Pending {
  readonly entry: Entry;
  readonly began: number;
  admitted?: Admitted | undefined;
  /** It is to be one more name of this file, whose digest is `digest`. */
  linked?: Earlier | undefined;
  bytesOnWire: number;
  /** The sender was told that it is wanted: before that it says nothing of it (PROTOCOL.md 17.1). */
  asked?: boolean;
  /** Of a small file that came in a bundle, as the sender has it. */
  digest?: string | undefined;
  /** Of a small file that stands there, or as `alike`: what it reads as from the disk. */
  standing?: string | undefined;
  /** Of when it was read. */
  standingStat?: FileStat | undefined;
  alike?: Earlier | undefined;
  /** How often a small file was found damaged, and asked for again. */
  repairs?: number;
}

/** A file that is stored, outside of any group. */
export interface Stored {
  readonly committed: Committed;
  readonly digests: Digests;
  /** In bytes, as the sender closed it. */
  readonly size: number;
  readonly bytesOnWire: number;
  readonly repaired: number;
}

export interface UnsettledSink {
  /** Told whenever something was settled. */
  settled(): void;
  /** It could not be linked to an earlier one: it is wanted after all. */
  unlinked(pending: Pending): void;
  /** A small file was damaged on its way to the disk, and is wanted once more. */
  again(file: number): void;
}

/** A file that does not match after so many repairs has a disk or a memory under it that will not do better. */
const mostRepairs = 3;
/** What is known of a name. */
const offered = 0;
const isStored = 1;

/** The entries of a session between their offer and their receipt or refusal. */
export class Unsettled {
  private readonly pending = new Map<number, Pending>();
  /** The names that were offered, and whether the files under them are stored. */
  private readonly names = new NameTable();
  /** Where they are, by their names, if that is elsewhere. */
  private readonly places = new Map<EntryName, EntryName>();

  constructor(
    private readonly store: SessionStore,
    private readonly answers: Answers,
    private readonly sink: UnsettledSink,
    private readonly intake: Intake | undefined,
  ) {}

  /** Whether the name was not offered before. */
  admit(name: EntryName): boolean {
    const isNew = !this.names.has(name);
    if (isNew) this.names.set(name, offered);
    return isNew;
  }

  add(pending: Pending): void {
    this.pending.set(pending.entry.file, pending);
  }

  get(file: number): Pending | undefined {
    return this.pending.get(file);
  }

  /** Tells the sender that these are wanted. */
  ask(files: readonly number[]): void {
    for (const file of files) {
      const pending = this.pending.get(file);
      if (pending) pending.asked = true;
    }
    this.answers.wanted(files);
  }

  /** Whether there are none. */
  get none(): boolean {
    return this.pending.size === 0;
  }

  /** Whether there are any to which a hard link may point, or that are still to be put into a directory. */
  get contents(): boolean {
    return [...this.pending.values()].some(({ entry }) => entry.type === 'file' || entry.type === 'symlink');
  }

  /** This one was stored before. */
  known(entry: FileEntry, digests: Digests): void {
    this.names.set(entry.name, isStored);
    this.intake?.stored(entry, digests);
  }

  /** Where a file of that name is, if this receiver has stored it, now or in an earlier conversation, and nobody has touched it since. */
  async placeOf(name: EntryName): Promise<EntryName | undefined> {
    if (this.names.get(name) === isStored) return this.places.get(name) ?? name;
    const kept = this.store.index.find(name);
    const [there] = kept ? await this.store.group.there.look([name]) : [];
    return kept && there?.kind === 'file' && there.ino === kept.ino && there.ctimeNs === kept.ctimeNs ? name : undefined;
  }

  /** This one is not stored, and why. */
  refuse(entry: Entry, error: TransferError): void {
    this.release(entry.file, false);
    this.refused(entry, error);
    this.sink.settled();
  }

  /** What became of a group. */
  async settle(outcomes: readonly EntryOutcome[]): Promise<void> {
    const { index } = this.store;
    const receipts: SessionReceipt[] = [];
    const received: FileDone[] = [];
    // Objects that are mostly alike are spread only where they are not: there are many.
    for (const { file, committed, error, stat } of outcomes) {
      const pending = this.pending.get(file);
      if (!pending) continue;
      const { entry } = pending;
      if (error && pending.linked) {
        pending.linked = undefined;
        pending.digest = undefined;
        this.sink.unlinked(pending);
        continue;
      }
      if (error?.code === 'mismatch' && this.retry(pending)) continue;
      this.release(file, !error && committed?.outcome !== 'identical');
      if (error) {
        this.refused(entry, error);
        continue;
      }
      const path = committed?.path ?? entry.name;
      if (entry.type !== 'file') {
        receipts.push({ file, verified: null, ...elsewhere(entry, path) });
        this.intake?.stored(entry);
        continue;
      }
      const { algorithm, verified } = this.store;
      const digests = pending.digest === undefined ? {} : { [algorithm]: pending.digest };
      const { size = 0, mtime: sourceMtime, ctime: sourceCtime } = entry;
      if (stat) index.remember(path, { size, ino: stat.ino, mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs, sourceMtime, sourceCtime, digests, verified });
      this.keep(entry.name, path as EntryName);
      this.intakeFile(entry, digests);
      const receipt = { file, digests, verified };
      const done = fileDone(pending, { path, verified }, { size, digests, bytesOnWire: pending.bytesOnWire });
      const plain = pending.repairs === undefined && path === entry.name;
      receipts.push(plain ? receipt : { ...receipt, ...elsewhere(entry, path), ...repairs(pending) });
      received.push(plain ? done : { ...done, ...repairs(pending) });
    }
    // All at once, so that nobody sees them settled and not told of.
    if (receipts.length > 0) this.answers.receipts(receipts);
    for (const file of received) this.answers.received(file);
    this.sink.settled();
    await saveLater(index);
  }

  /** A single file is stored. */
  async stored(file: number, stored: Stored): Promise<void> {
    const pending = this.pending.get(file);
    if (pending?.entry.type !== 'file') return;
    const { entry } = pending;
    const { committed, digests, repaired } = stored;
    const { path, verified, outcome } = committed;
    await this.remember(entry, path, { digests, verified });
    this.release(file, outcome !== 'identical');
    this.keep(entry.name, path as EntryName);
    this.intakeFile(entry, digests);
    const repairs = repaired > 0 ? { repaired } : {};
    this.answers.receipts([{ file, digests, verified, ...elsewhere(entry, path), ...repairs }]);
    this.answers.received({ ...fileDone(pending, committed, stored), ...repairs });
    this.sink.settled();
  }

  /** Gives back what was promised to those that are left: the session is over. */
  close(): void {
    for (const file of [...this.pending.keys()]) this.release(file, false);
  }

  /** "A segment found bad at this point is asked for again." False where that was done often enough. */
  private retry(pending: Pending): boolean {
    const { repairs = 0, digest } = pending;
    if (digest === undefined || repairs >= mostRepairs) return false;
    pending.repairs = repairs + 1;
    pending.bytesOnWire = 0;
    pending.digest = undefined;
    this.sink.again(pending.entry.file);
    return true;
  }

  private refused(entry: Entry, error: TransferError): void {
    const { code, message } = error;
    this.intake?.missing({ name: entry.name, code, message }, true);
    this.answers.refuse(entry.file, error.about(entry.name));
  }

  private intakeFile(entry: FileEntry, digests: Digests): void {
    const alarm = this.intake?.alarm(entry, digests);
    if (alarm) this.answers.alarm(entry.file, alarm);
    this.intake?.stored(entry, digests);
  }

  private keep(name: EntryName, path: EntryName): void {
    this.names.set(name, isStored);
    if (path !== name) this.places.set(name, path);
  }

  private release(file: number, kept: boolean): void {
    this.pending.get(file)?.admitted?.settle(kept);
    this.pending.delete(file);
  }

  private async remember(entry: FileEntry, path: string, { digests, verified }: Pick<FileDone, 'digests'> & Pick<Committed, 'verified'>): Promise<void> {
    const { group, index } = this.store;
    const [there] = await group.there.look([path as EntryName]);
    if (there?.kind !== 'file') return;
    const { ino, mtimeNs, ctimeNs, size } = there;
    index.remember(path, { size, ino, mtimeNs, ctimeNs, sourceMtime: entry.mtime, sourceCtime: entry.ctime, digests, verified });
    await saveLater(index);
  }
}

function repairs({ repairs }: Pending): { readonly repaired?: number } {
  return repairs === undefined ? {} : { repaired: 1 };
}

/** Where an entry is, if that is not where it was to be. */
function elsewhere({ name }: Entry, path: string): { readonly path?: string } {
  return path === name ? {} : { path };
}

function fileDone({ entry, began }: Pending, { path, verified }: Pick<Committed, 'path' | 'verified'>, { size, digests, bytesOnWire }: Pick<Stored, 'size' | 'digests' | 'bytesOnWire'>): FileDone {
  return { file_name: entry.name, file_size: size, digests, verified, path, bytes_on_wire: bytesOnWire, seconds: (performance.now() - began) / 1000 };
}

/** Keeps what was remembered. The files are stored whether this can be done or not: without it they are read again another time. */
async function saveLater(index: SessionStore['index']): Promise<void> {
  await index.save().catch(ignored('receipts are kept later, or the files are read again'));
}
