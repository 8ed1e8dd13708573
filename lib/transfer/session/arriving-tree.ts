import type { AlignedMemory, Lease } from '../../aligned-memory';
import { asTransferError, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests, FileDone } from '../../progress';
import type { BadEntry, BundledFile, DirectoryEntry, Entry, FileEntry, HardLinkEntry, HeldSegment, SessionReceipt } from '../../protocol/session-list';
import { smallFile } from '../../protocol/segment';
import type { Close } from '../../protocol/session-message';
import type { GroupOutcome } from '../../store/group-tree';
import type { Admitted, SessionStore } from '../../store/session-store';
import type { Committed } from '../../store/store';
import type { ArrivingFile } from './arriving-file';
import { judge } from './judge';
import type { SessionRules } from './rules';

/** What the entries of a session have to say to the conversation. */
export interface TreeSink {
  receipts(receipts: readonly SessionReceipt[]): void;
  done(file: FileDone): void;
  refuse(entry: { readonly file: number }, error: TransferError): void;
  held(segments: readonly HeldSegment[]): void;
  wanted(files: readonly number[]): void;
  settled(): void;
  /** Something went wrong that is about no single entry. */
  broken(error: unknown): void;
}

/** A file that comes in segments, to be begun. */
export interface LargeArrival {
  readonly entry: FileEntry;
  /** Whether a file stands there whose segments may be the same. */
  readonly update: boolean;
  /** Why it is taken only if it is the same. */
  readonly unlessSame: TransferError | undefined;
}

interface Pending {
  readonly entry: Entry;
  readonly began: number;
  readonly admitted?: Admitted;
  bytesOnWire: number;
  /** Of a small file that came in a bundle, as the sender has it. */
  digest?: string;
  /** Of a small file that stands there: what it reads as from the disk. */
  standing?: string;
}

/** A group is made durable once it is so large, in files and bytes, or its first file has waited so long, in ms. */
const groupFiles = 4096;
const groupBytes = 48 * 1024 * 1024;
const groupWaits = 1_000;

/** Every entry of a session from its offer to its receipt; what comes in segments is left to `ArrivingFile` in between. */
export class ArrivingTree {
  private readonly pending = new Map<number, Pending>();
  private readonly names = new Set<string>();
  private readonly links: HardLinkEntry[] = [];
  private readonly directories: DirectoryEntry[] = [];
  /** Small files that the sender was asked for and that have not come. */
  private awaited = 0;
  private ended = false;
  private flushing: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private finishing = false;

  constructor(
    private readonly store: SessionStore,
    private readonly rules: SessionRules,
    private readonly sink: TreeSink,
  ) {}

  /** For the contents of bundles. */
  get memory(): AlignedMemory {
    return this.store.group.memory;
  }

  /** Whether every entry that was offered has its receipt or refusal. */
  get settled(): boolean {
    return this.pending.size === 0;
  }

  /** Settles what can be settled at once, asks for the rest, and returns what comes in segments. */
  async offer(entries: readonly (Entry | BadEntry)[]): Promise<LargeArrival[]> {
    const good = entries.filter((entry): entry is Entry => {
      if ('error' in entry) this.sink.refuse(entry, entry.error.about(entry.text));
      return !('error' in entry);
    });
    const standing = await this.store.group.look(good.map(({ name }) => name));
    const large: LargeArrival[] = [];
    const wanted: number[] = [];
    const receipts: SessionReceipt[] = [];
    for (const [at, entry] of good.entries()) {
      try {
        this.admitName(entry.name);
        const began = performance.now();
        if (entry.type !== 'file') {
          this.pending.set(entry.file, { entry, began, bytesOnWire: 0 });
          this.place(entry);
          continue;
        }
        const verdict = judge(entry, standing[at], this.store, this.rules);
        if ('known' in verdict) {
          receipts.push({ file: entry.file, digests: verdict.known, verified: this.store.verified });
          this.sink.done({ file_name: entry.name, file_size: entry.size ?? 0, digests: verdict.known, verified: this.store.verified, path: entry.name, bytes_on_wire: 0, seconds: 0 });
          continue;
        }
        const { update, unlessSame } = verdict;
        const admitted = await this.store.admit(entry);
        this.pending.set(entry.file, { entry, began, admitted, bytesOnWire: 0 });
        if (entry.size === undefined || entry.size > smallFile) {
          large.push({ entry, update, unlessSame });
        } else if (update) {
          await this.compare(entry);
        } else {
          this.awaited++;
          wanted.push(entry.file);
        }
      } catch (thrown) {
        this.sink.refuse(entry, asTransferError(thrown, 'disk', 'The entry could not be stored').about(entry.name));
      }
    }
    if (receipts.length > 0) this.sink.receipts(receipts);
    if (wanted.length > 0) this.sink.wanted(wanted);
    return large;
  }

  /** Takes the files of a bundle out of `lease`, in which their contents stand one after another, and gives that back. */
  bundle(lease: Lease, files: readonly BundledFile[], listShare: number): void {
    const { group } = this.store;
    const wanted: Parameters<typeof group.write>[1][number][] = [];
    let from = 0;
    let to = 0;
    for (const { file, size, digest } of files) {
      const pending = this.pending.get(file);
      const entry = pending?.entry;
      // What came already on a connection that died is not wanted twice.
      if (pending && entry?.type === 'file' && pending.bytesOnWire === 0) {
        if (entry.size !== size) {
          lease.release();
          throw new TransferError('bad-header', `${printable(entry.name)} was offered with ${String(entry.size)} bytes, and sent with ${String(size)}.`);
        }
        if (from !== to) lease.bytes.copyWithin(to, from, from + size);
        to += size;
        pending.bytesOnWire = size + listShare;
        pending.digest = digest;
        this.awaited--;
        wanted.push({ file, name: entry.name, size, digest, mode: entry.mode, mtime: entry.mtime, ifExists: this.rules.ifExists });
      }
      from += size;
    }
    // What could not be written comes out of the flush of its group.
    void group.write(lease, wanted).then(() => this.flushIfDue());
    this.flushLater();
  }

  /** The sender says that a small file that stands here is the same. */
  async close({ file, digests }: Close, algorithm: keyof Digests): Promise<void> {
    const pending = this.pending.get(file);
    if (pending?.entry.type !== 'file') return;
    const { entry, standing } = pending;
    if (standing === undefined || digests[algorithm] !== standing) throw new TransferError('bad-header', `${printable(entry.name)} was closed without being sent.`);
    this.awaited--;
    await this.storedFile(pending, { path: entry.name, verified: this.store.verified, outcome: 'identical' }, { [algorithm]: standing });
    this.flushIfDue();
  }

  /** A file that arrived in segments was committed. */
  async storedLarge(file: ArrivingFile, committed: Committed, digests: Digests): Promise<void> {
    const pending = this.pending.get(file.entry.file);
    if (!pending) return;
    pending.bytesOnWire = file.bytesOnWire;
    await this.storedFile(pending, committed, digests, file.repaired);
  }

  /** The sender gave an entry up. */
  drop(file: number): void {
    const pending = this.pending.get(file);
    if (pending?.entry.type !== 'file' || pending.entry.size === undefined || pending.entry.size > smallFile || pending.bytesOnWire > 0) return;
    this.awaited--;
    this.release(file);
    this.sink.refuse(pending.entry, new TransferError('source-changed', 'The sender gave this file up.', { fileName: pending.entry.name, hint: '' }));
    this.flushIfDue();
    this.sink.settled();
  }

  /** An entry ended without being stored. */
  release(file: number): void {
    this.pending.get(file)?.admitted?.settle(false);
    this.pending.delete(file);
    this.flushIfDue();
  }

  /** Everything was offered. */
  end(): void {
    this.ended = true;
    this.flushIfDue();
  }

  /** The session is over: what is here and whole is still stored. */
  async finish(): Promise<void> {
    clearTimeout(this.timer);
    await this.flushing;
    await this.flush();
    for (const { admitted } of this.pending.values()) admitted?.settle(false);
    await this.store.release();
  }

  private admitName(name: EntryName): void {
    if (this.names.has(name)) throw new TransferError('exists', `${printable(name)} was offered twice.`, { hint: '' });
    this.names.add(name);
  }

  private place(entry: Exclude<Entry, FileEntry>): void {
    const { ifExists } = this.rules;
    if (entry.type === 'link') {
      this.links.push(entry);
      return;
    }
    if (entry.type === 'directory') this.directories.push(entry);
    if (entry.type === 'directory') this.store.group.directory(entry);
    else this.store.group.symlink({ ...entry, ifExists });
    this.flushLater();
  }

  /** Tells what the small file that stands there reads as, so that it is sent only if it differs. */
  private async compare(entry: FileEntry): Promise<void> {
    const digest = entry.size === 0 ? undefined : await this.store.digestStanding(entry.name);
    const pending = this.pending.get(entry.file);
    if (digest !== undefined && pending) {
      pending.standing = digest;
      this.sink.held([{ file: entry.file, segment: 0, digest }]);
    }
    this.awaited++;
    this.sink.wanted([entry.file]);
  }

  private flushLater(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.startFlush();
    }, groupWaits);
  }

  /** Once nothing more can come into the group, or it is large enough. */
  private flushIfDue(): void {
    const { files, bytes } = this.store.group.open;
    if (files >= groupFiles || bytes >= groupBytes || (this.ended && this.awaited === 0)) this.startFlush();
  }

  private startFlush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flushing = this.flushing.then(() => this.flush()).catch((error: unknown) => this.sink.broken(error));
  }

  private async flush(): Promise<void> {
    const { group } = this.store;
    const outcomes = group.open.files > 0 ? await group.flush() : [];
    const directories = new Set(this.directories.map(({ file }) => file));
    await this.settle(outcomes.filter(({ file, error }) => error || !directories.has(file)));
    if (this.ended && this.awaited === 0 && group.open.files === 0) await this.finishTree();
  }

  /** Hard links need what they point to; directories get their times when nothing more is written into them. */
  private async finishTree(): Promise<void> {
    const waiting = [...this.pending.values()].some(({ entry }) => entry.type === 'file' || entry.type === 'symlink');
    if (waiting || this.finishing) return;
    this.finishing = true;
    const { ifExists } = this.rules;
    const links = this.links.filter(({ file }) => this.pending.has(file));
    if (links.length > 0) await this.settle(await this.store.group.link(links.map((link) => ({ ...link, ifExists }))));
    const directories = this.directories.filter(({ file }) => this.pending.has(file));
    if (directories.length > 0) await this.settle(await this.store.group.finishDirectories(directories));
    this.sink.settled();
  }

  private async settle(outcomes: readonly GroupOutcome[]): Promise<void> {
    const receipts: SessionReceipt[] = [];
    for (const { file, committed, error, stat } of outcomes) {
      const pending = this.pending.get(file);
      if (!pending) continue;
      const { entry } = pending;
      if (error) {
        this.release(file);
        this.sink.refuse(entry, error.about(entry.name));
        continue;
      }
      this.pending.delete(file);
      pending.admitted?.settle(committed?.outcome !== 'identical');
      const path = committed?.path ?? entry.name;
      if (entry.type !== 'file') {
        receipts.push({ file, verified: null, ...(path === entry.name ? {} : { path }) });
        continue;
      }
      const digests = pending.digest === undefined ? {} : { [this.store.algorithm]: pending.digest };
      receipts.push({ file, digests, verified: this.store.verified, ...(path === entry.name ? {} : { path }) });
      if (stat && entry.size !== undefined) {
        this.store.index.remember(path, { ...stat, size: entry.size, sourceMtime: entry.mtime, sourceCtime: entry.ctime, digests, verified: this.store.verified });
      }
      this.sink.done(this.fileDone(pending, path, digests));
    }
    await this.store.index.save();
    if (receipts.length > 0) this.sink.receipts(receipts);
    this.sink.settled();
  }

  private async storedFile(pending: Pending, { path, verified, outcome }: Committed, digests: Digests, repaired = 0): Promise<void> {
    const { entry } = pending;
    if (entry.type !== 'file') return;
    const [there] = await this.store.group.look([path as EntryName]);
    if (there?.kind === 'file') {
      const { ino, mtimeNs, ctimeNs, size } = there;
      this.store.index.remember(path, { size, ino, mtimeNs, ctimeNs, sourceMtime: entry.mtime, sourceCtime: entry.ctime, digests, verified });
      await this.store.index.save();
    }
    this.pending.delete(entry.file);
    pending.admitted?.settle(outcome !== 'identical');
    this.sink.receipts([{ file: entry.file, digests, verified, ...(path === entry.name ? {} : { path }), ...(repaired > 0 ? { repaired } : {}) }]);
    this.sink.done(this.fileDone(pending, path, digests));
    this.flushIfDue();
    this.sink.settled();
  }

  private fileDone({ entry, began, bytesOnWire }: Pending, path: string, digests: Digests): FileDone {
    return {
      file_name: entry.name,
      file_size: entry.type === 'file' ? (entry.size ?? 0) : 0,
      digests,
      verified: this.store.verified,
      path,
      bytes_on_wire: bytesOnWire,
      seconds: (performance.now() - began) / 1000,
    };
  }
}
