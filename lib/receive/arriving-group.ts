import type { AlignedMemory, Lease } from '../threads/aligned-memory';
import { TransferError } from '../errors';
import { type EntryName, printable } from '../name';
import type { DirectoryEntry, Entry, FileEntry, HardLinkEntry } from '../wire/session-list';
import type { BatchedEarlier, BatchedFile, BatchedExisting, EntryOutcome, BatchStore } from '../store/local/batch';
import type { SessionRules } from './rules';

/** What the groups of a session need to know of the entries in them. */
export interface GroupSink {
  /** Whether an entry has neither receipt nor refusal yet. */
  pending(file: number): boolean;
  /** Whether something is pending to which a hard link may point, or whose directory may not be finished before. */
  waiting(): boolean;
  /** Where a file is that this receiver has stored under a name; undefined for all others. */
  placeOf(name: EntryName): Promise<EntryName | undefined>;
  /** Whether nothing more will come into a group. */
  complete(): boolean;
  settle(outcomes: readonly EntryOutcome[]): Promise<void>;
  /** Something went wrong that is about no single entry. */
  broken(error: unknown): void;
}

/** A group is made durable once it is so large, in files and bytes, or its first file has waited so long, in ms. */
const groupFiles = 4096;
const groupBytes = 48 * 1024 * 1024;
const groupWaits = 1_000;

/** What of a session is stored in groups, and when each of them is made durable; hard links and the times of directories at the end. */
export class ArrivingGroup {
  private readonly links: HardLinkEntry[] = [];
  private earlier: BatchedEarlier[] = [];
  private readonly directories: DirectoryEntry[] = [];
  /** Those of them that were not there before. */
  private readonly made = new Set<number>();
  private flushing: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private finishing = false;

  constructor(
    private readonly group: BatchStore,
    private readonly rules: Pick<SessionRules, 'ifExists' | 'mayCompare'>,
    private readonly sink: GroupSink,
  ) {}

  /** For the contents of bundles. */
  get memory(): AlignedMemory {
    return this.group.memory;
  }

  /** Takes what is not a file. */
  place(entry: Exclude<Entry, FileEntry>): void {
    switch (entry.type) {
      case 'link':
        this.links.push(entry);
        return;
      case 'directory':
        this.directories.push(entry);
        this.group.directory(entry);
        break;
      case 'symlink':
        this.group.symlink({ ...entry, ifExists: this.rules.ifExists });
        break;
    }
    this.flushLater();
  }

  /** Takes a file that is to be one more name of an earlier one. */
  linkEarlier(entry: BatchedEarlier): void {
    this.earlier.push(entry);
    if (this.earlier.length >= groupFiles) this.startFlush();
    else this.flushLater();
  }

  /** Takes a file that stands there already, and was read. */
  standing(entry: BatchedExisting): void {
    this.group.existing(entry);
    this.flushIfDue();
    if (this.group.open.files > 0) this.flushLater();
  }

  /** Takes files whose contents stand one after another in `lease`, and gives that back. */
  write(lease: Lease, files: readonly Omit<BatchedFile, 'ifExists'>[]): void {
    const { group, sink } = this;
    const { ifExists } = this.rules;
    // What could not be written comes out of the flush of its group.
    group.write(lease, files.map((file) => ({ ...file, ifExists }))).then(
      () => this.flushIfDue(),
      (error: unknown) => sink.broken(error),
    );
    this.flushLater();
  }

  /** Flushes once nothing more can come into the group, or it is large enough. */
  flushIfDue(): void {
    const { files, bytes } = this.group.open;
    if (files >= groupFiles || bytes >= groupBytes || this.sink.complete()) this.startFlush();
  }

  /** Stores what is here, and nothing more after that. */
  async finish(): Promise<void> {
    clearTimeout(this.timer);
    await this.flushing;
    await this.flush();
  }

  private flushLater(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.startFlush();
    }, groupWaits);
  }

  private startFlush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flushing = this.flushing.then(() => this.flush()).catch((error: unknown) => this.sink.broken(error));
  }

  private async flush(): Promise<void> {
    const { group, sink } = this;
    const earlier = this.earlier.splice(0);
    if (earlier.length > 0) await sink.settle(await group.linkEarlier(earlier));
    const outcomes = group.open.files > 0 ? await group.flush() : [];
    const directories = new Set(this.directories.map(({ file }) => file));
    for (const { file, committed } of outcomes) if (committed?.outcome === 'stored' && directories.has(file)) this.made.add(file);
    await sink.settle(outcomes.filter(({ file, error }) => error || !directories.has(file)));
    if (sink.complete() && group.open.files === 0 && this.earlier.length === 0) await this.finishTree();
  }

  /** Hard links need what they point to; directories get their times when nothing more is written into them. */
  private async finishTree(): Promise<void> {
    const { group, sink } = this;
    if (sink.waiting() || this.finishing) return;
    this.finishing = true;
    await this.makeLinks();
    const directories = this.directories.filter(({ file }) => sink.pending(file));
    // "A `write` key can add, never replace": not even the mode and time of a directory that was there before.
    const ours = directories.filter(({ file }) => this.rules.mayCompare || this.made.has(file));
    if (ours.length > 0) await sink.settle(await group.finishDirectories(ours));
    const left = directories.filter((directory) => !ours.includes(directory));
    if (left.length > 0) await sink.settle(left.map(({ file }) => ({ file })));
  }

  /** A link is made only to what this receiver has stored: under the name of a file that was refused, something else stands. */
  private async makeLinks(): Promise<void> {
    const { group, sink } = this;
    const links: Parameters<typeof group.link>[0][number][] = [];
    for (const { file, name, target } of this.links) {
      if (!sink.pending(file)) continue;
      const place = await sink.placeOf(target);
      if (place) links.push({ file, name, target: place, ifExists: this.rules.ifExists });
      else await sink.settle([{ file, error: new TransferError('exists', `${printable(name)} is a hard link to ${printable(target)}, which is not stored here.`, { hint: '' }) }]);
    }
    if (links.length > 0) await sink.settle(await group.link(links));
  }
}
