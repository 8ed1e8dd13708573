import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests, Listener } from '../../progress';
import type { Entry, FileEntry, MissingEntry } from '../../wire/session-list';
import type { Kept } from '../../store/store';
import type { SnapshotDone } from '../../wire/snapshot-done';
import type { Destination } from '../../receive/destinations';
import { HeldText, textOf, textOfMissing } from '../../receive/held-text';
import type { MissingLines } from '../../store/limited';
import type { Earlier, SnapshotStage, StageRequest } from '../../receive/snapshot-stage';
import { isReservedName } from '../manifest/checksum-list';
import { type EarlierContents, EarlierFiles } from './earlier-files';
import {
  isSnapshotNumber,
  lineBytes,
  type Manifest,
  type ManifestEntry,
  type ManifestHead,
} from '../manifest/manifest';
import type { ContentLocation } from '../../store/object/records';
import { ObjectStore } from '../../store/object/object-store';
import type { DirectStage } from '../object/direct-files';
import { StagedObjectSnapshot } from '../object/staged-object-snapshot';
import { type SnapshotInStage, StagedSnapshot } from './staged-snapshot';
import { timeOf } from '../manifest/snapshot-id';
import { newestOf } from '../register/register';
import { SourceCounts } from './shrinking';
import { ignored } from '../../trace';

/** Characters of an entry that are not counted: what is stored takes room on the disk, and has a name there. */
const freeText = 512;

/** The request for a new snapshot, or for the copy of one. */
export interface BackupRequest extends StageRequest {
  /** The manifest of the snapshot that is copied, whose id it gets; absent for a new one. */
  readonly copies?: Manifest;
}

/** One snapshot on its way into a receive directory, over all conversations of the session that brings it. */
export class BackupStage implements SnapshotStage {
  readonly destination: Destination;
  private readonly lines = new Map<string, ManifestEntry>();
  /** How many of the entries that were offered are known here. */
  private settled = 0;
  /** The names that were told as missing and were not offered. */
  private readonly unoffered = new Set<string>();
  /** How many conversations use it: two for a moment, where one comes back before the end of the other is noticed. */
  private conversations = 0;
  private left = false;
  private closing: Promise<void> | undefined;
  private whenLeft: () => void = () => undefined;
  superseded: Promise<TransferError> = new Promise(() => undefined);
  private supersede: (reason: TransferError) => void = () => undefined;
  /** The end of the conversation. */
  private over: Promise<void> = Promise.resolve();
  private committed: SnapshotDone | undefined;
  /** Why it is given up. */
  private failed: TransferError | undefined;
  private readonly text: HeldText;
  /** Names and bytes of what is missing. */
  private readonly missingLines: MissingLines;
  /** By name; see `asCopied`. */
  private digestsCopied: ReadonlyMap<string, string> | undefined;

  private constructor(
    private readonly request: BackupRequest,
    private head: ManifestHead,
    private readonly staged: SnapshotInStage,
    private readonly before: EarlierFiles,
    private readonly on: Listener,
  ) {
    const { allowance } = request.destination;
    this.text = new HeldText(request.peer);
    this.missingLines = allowance.openLines();
    this.destination = { directory: staged.tree, store: staged.store, allowance };
  }

  /**
   * Locks the backup. Rejects with `exists` where its name is not for this peer, with `quota` where that would be one
   * name too many, with `directory` while another process uses it.
   */
  static async open(request: BackupRequest, on: Listener): Promise<BackupStage> {
    const { name, algorithm, destination, peer, copies } = request;
    const { store } = destination;
    const staged: SnapshotInStage = await (store instanceof ObjectStore
      ? StagedObjectSnapshot.open(store, name, peer, copies !== undefined)
      : StagedSnapshot.open(destination.directory, name, peer, destination.allowance));
    try {
      const { register } = staged;
      const number = (newestOf(register)?.number ?? 0) + 1;
      if (!isSnapshotNumber(number))
        throw new TransferError('unexpected', `The backup ${printable(name)} has no number left for another snapshot.`);
      const head = {
        name,
        id: copies?.head.id ?? (await staged.freeId(new Date())),
        number,
        digest: algorithm,
      };
      // All of them are this peer's own: nobody else makes snapshots of a backup.
      const before = await EarlierFiles.of(staged.catalog, name, algorithm, (file) => staged.usable(file));
      return new BackupStage(request, head, staged, before, on);
    } catch (error) {
      await staged.close();
      throw error;
    }
  }

  /** How files come into it without a session; undefined where only a session brings them. */
  get direct(): DirectStage | undefined {
    const { staged, before, lines, head } = this;
    return staged instanceof StagedObjectSnapshot
      ? { store: staged.store, before, lines, algorithm: head.digest }
      : undefined;
  }

  get id(): string {
    return this.head.id;
  }

  get mayKnow(): boolean {
    return this.request.mayCompare || this.staged.ours;
  }

  /** Who brings it: the id of its key. */
  get peer(): string {
    return this.request.peer;
  }

  get session(): string {
    return this.request.session;
  }

  /** Whether no conversation uses it at this moment. */
  get idle(): boolean {
    return this.left;
  }

  /** Whether something of it is known here that a new one would not find on the disk. */
  get isWorthKeeping(): boolean {
    return this.lines.size > 0 && this.failed === undefined;
  }

  /** Ends the conversation that uses it, if one does; false where it has not ended within `ms`. */
  async takeFrom(ms: number): Promise<boolean> {
    this.supersede(
      new TransferError('exists', `Another backup ${printable(this.head.name)} was begun with the same key.`, {
        hint: 'What came until then is not sent again by that one.',
      }),
    );
    const late = new AbortController();
    const lateness = sleep(ms, undefined, { signal: late.signal }).catch(ignored('it is over before'));
    await Promise.race([this.over, lateness]);
    late.abort();
    return this.left;
  }

  get isComplete(): boolean {
    return this.committed !== undefined;
  }

  /**
   * A conversation begins, or goes on with it: one that still uses it is ended. `left` is called when no conversation
   * uses it any more.
   */
  takeUp(left: () => void): this {
    this.supersede(new TransferError('connection-lost', 'The sender came back on another connection.'));
    this.superseded = new Promise((resolve) => {
      this.supersede = resolve;
    });
    this.left = false;
    if (this.conversations++ > 0) return this;
    this.over = new Promise((resolve) => {
      this.whenLeft = () => {
        left();
        resolve();
      };
    });
    return this;
  }

  async earlier(entries: readonly FileEntry[]): Promise<(Earlier | undefined)[]> {
    const found: (Earlier | undefined)[] = [];
    for (const entry of entries) found.push(this.asCopied(entry, await this.before.find(entry, this.request.checksum)));
    return found;
  }

  /**
   * Those entries of a snapshot that is copied which have to come: all of them on a disk, where an object store needs
   * the contents only that it does not have.
   */
  async lacking({ head, entries }: Manifest): Promise<readonly ManifestEntry[]> {
    if (!(this.staged instanceof StagedObjectSnapshot)) return entries;
    const contents = await this.before.allContents();
    const wanted = new Map<string, ManifestEntry>();
    for (const entry of entries) {
      const digest = entry.type === 'file' && entry.size > 0 ? (entry.digests[head.digest] ?? '') : undefined;
      if (entry.type !== 'file' || digest === undefined || wanted.has(digest)) continue;
      if (!contents.at(digest, entry.size)) wanted.set(digest, entry);
    }
    return [...wanted.values()];
  }

  stored(entry: Entry, digests: Digests = {}, kept?: Kept): void {
    const content = entry.type === 'file' ? this.staged.contentOf(entry.name) : undefined;
    const line = lineOf(entry, digests, kept);
    try {
      this.add(content && line.type === 'file' ? { ...line, content } : line, true);
    } catch (error) {
      this.end(asTransferError(error, 'quota', 'There is too much of it'));
    }
  }

  missing(entry: MissingEntry): void {
    try {
      this.add(missingLine(entry), true);
    } catch (error) {
      this.end(asTransferError(error, 'quota', 'Too much is missing'));
    }
  }

  async unsent(entries: readonly MissingEntry[]): Promise<void> {
    try {
      await this.addUnsent(entries);
    } catch (error) {
      this.end(asTransferError(error, 'quota', 'Too much is missing'));
      throw error;
    }
  }

  private async addUnsent(entries: readonly MissingEntry[]): Promise<void> {
    const { allowance } = this.request.destination;
    for (const entry of entries) {
      // What is missing may be told again, and is no news of a name that is stored.
      if (this.lines.has(entry.name)) continue;
      const line = missingLine(entry);
      if (!(await allowance.takeLine(entry.name, lineBytes(line), this.missingLines))) return;
      this.add(line, false);
    }
  }

  alarm(entry: FileEntry, digests: Digests): TransferError | undefined {
    const before = this.request.checksum ? this.before.digestBefore(entry) : undefined;
    if (before === undefined || before === digests[this.head.digest]) return undefined;
    return new TransferError(
      'mismatch',
      `${printable(entry.name)} has other content than in the snapshot before, although its size and time are the same.`,
      { fileName: entry.name },
    );
  }

  /** "An entry whose name the snapshot needs for itself cannot be stored." */
  refusal(name: EntryName): TransferError | undefined {
    if (!isReservedName(name)) return undefined;
    return new TransferError('name', `A snapshot keeps the name ${printable(name)} for itself.`, {
      fileName: name,
      hint: 'Back up the directory that it is in.',
    });
  }

  async commit(entries: number): Promise<SnapshotDone> {
    if (this.committed) return this.committed;
    if (this.failed) throw this.failed;
    const { head, lines, staged } = this;
    if (this.settled < entries) {
      throw new TransferError(
        'connection-lost',
        'The receiver was started again in the middle, and does not know all of this snapshot any more.',
        { hint: 'Start the same backup again: what is there is not sent again.' },
      );
    }
    const before = await this.before.contents();
    const { copies } = this.request;
    const sorted = copies
      ? this.copied(copies, before)
      : [...lines.values()].map((line) => this.withTarget(line)).sort((one, other) => (one.name < other.name ? -1 : 1));
    const files = sorted.filter((line) => line.type === 'file');
    const missing = sorted.filter(({ type }) => type === 'missing').length;
    if (missing === sorted.length) throw nothingStored(sorted);
    const totals = {
      entries: sorted.length,
      bytes: sumOf(files.map(({ size }) => size)),
      newBytes: sumOf(files.filter(({ digests }) => !before.has(digests[head.digest] ?? '')).map(({ size }) => size)),
      missing,
    };
    const counts = new SourceCounts();
    for (const line of sorted) counts.add(line);
    const shrunk = this.request.allowShrink ? [] : counts.shrunkSince(this.before.counts);
    this.head = await staged.commit({ head, entries: sorted, totals }, counts, shrunk, this.before.number);
    const { id } = this.head;
    const { bytes, newBytes } = totals;
    this.committed = {
      id,
      entries: totals.entries,
      bytes,
      new_bytes: newBytes,
      missing,
      ...(shrunk.length > 0 ? { shrunk } : {}),
    };
    this.on({
      event: 'snapshot',
      snapshot: `${head.name}/${id}`,
      time: timeOf(id).toISOString(),
      entries: totals.entries,
      bytes,
      new_bytes: newBytes,
      missing,
      verified_at: null,
    });
    for (const each of shrunk) this.on({ event: 'shrunk', snapshot: `${head.name}/${id}`, ...each });
    return this.committed;
  }

  async leave(): Promise<void> {
    if (--this.conversations > 0) return;
    try {
      if (this.committed) await this.close();
    } finally {
      this.left = true;
      this.whenLeft();
    }
  }

  /** Unlocks the backup, once; what is staged stays for the next run. */
  close(): Promise<void> {
    if (!this.closing) {
      this.text.close();
      this.request.destination.allowance.closeLines(this.missingLines);
    }
    return (this.closing ??= this.staged.close());
  }

  /** A file that the copied manifest and an earlier snapshot both have counts as unchanged: it is not read again. */
  private asCopied({ name }: FileEntry, earlier: Earlier | undefined): Earlier | undefined {
    const { copies } = this.request;
    if (!copies || !earlier?.linkable) return earlier;
    this.digestsCopied ??= new Map(
      copies.entries.flatMap((entry) =>
        entry.type === 'file' ? [[entry.name, entry.digests[copies.head.digest] ?? '']] : [],
      ),
    );
    return this.digestsCopied.get(name) === earlier.digest ? { ...earlier, unchanged: true } : earlier;
  }

  /**
   * The entries of the snapshot that is copied, as they are here. Throws `mismatch` where one of them is not: then
   * there is no snapshot.
   */
  private copied({ head, entries }: Manifest, before: EarlierContents): ManifestEntry[] {
    const inObjects = this.staged instanceof StagedObjectSnapshot;
    const contents = new Map<string, ContentLocation>();
    for (const line of this.lines.values())
      if (line.type === 'file' && line.content) contents.set(line.digests[head.digest] ?? '', line.content);
    return entries.map((entry) => {
      if (entry.type === 'missing') return entry;
      const line = this.lines.get(entry.name);
      if (!inObjects && line?.type === entry.type) return { ...entry, content: undefined, kept: line.kept };
      if (inObjects && (entry.type !== 'file' || entry.size === 0))
        return { ...entry, content: undefined, kept: undefined };
      const digest = entry.type === 'file' ? (entry.digests[head.digest] ?? '') : '';
      const size = entry.type === 'file' ? entry.size : 0;
      const content = contents.get(digest) ?? before.at(digest, size);
      if (inObjects && content) return { ...entry, content, kept: undefined };
      throw new TransferError(
        'mismatch',
        `${printable(entry.name)} did not come, so that this snapshot is not copied.`,
      );
    });
  }

  /**
   * A hard link whose target is not in this snapshot is missing: the target may have been staged by an earlier run
   * alone.
   */
  private withTarget(line: ManifestEntry): ManifestEntry {
    if (line.type !== 'link' || this.lines.get(line.target)?.type === 'file') return line;
    return {
      type: 'missing',
      name: line.name,
      code: 'exists',
      reason: `${line.target}, of which it is another name, is not in the snapshot.`,
    };
  }

  /** The session is to end, and nobody goes on with this. */
  private end(reason: TransferError): void {
    this.failed ??= reason;
    this.supersede(reason);
  }

  /** In place of what is said of that name until now. Throws `quota` where that takes too much memory. */
  private add(line: ManifestEntry, offered: boolean): void {
    const before = this.lines.get(line.name);
    const more = heldOf(line) - (before ? heldOf(before) : 0);
    if (more > 0) this.text.hold(more);
    else this.text.letGo(-more);
    this.lines.set(line.name, line);
    if (!offered) this.unoffered.add(line.name);
    else if (this.unoffered.delete(line.name) || before === undefined) this.settled++;
  }
}

/** How many characters of a line are counted. Most have little text, and take room on the disk. */
function heldOf(line: ManifestEntry): number {
  if (line.type === 'missing') return textOfMissing({ name: line.name, message: line.reason });
  return Math.max(0, textOf(line) - freeText);
}

function missingLine({ name, code, message }: MissingEntry): ManifestEntry {
  return { type: 'missing', name, code, reason: message };
}

/** Why there is no snapshot where all of it is missing. */
function nothingStored(lines: readonly ManifestEntry[]): TransferError {
  const codes = lines.map((line) => (line.type === 'missing' ? line.code : undefined));
  const withoutRoom = (['space', 'quota'] as const).find((code) => codes.includes(code));
  if (withoutRoom === undefined)
    return new TransferError('source-unreadable', 'Nothing of the source could be read, so there is no snapshot.');
  return new TransferError(withoutRoom, 'There was no room for anything of the source, so there is no snapshot.');
}

function lineOf(entry: Entry, digests: Digests, kept: Kept | undefined): ManifestEntry {
  const { name, mtime, metadata } = entry;
  switch (entry.type) {
    case 'file': {
      const { size = 0, mode, ctime, inode } = entry;
      return {
        type: 'file',
        name,
        size,
        mode,
        mtime,
        digests,
        metadata,
        kept,
        source: { ...(ctime === undefined ? {} : { ctime }), ...(inode === undefined ? {} : { inode }) },
      };
    }
    case 'directory':
      return { type: 'directory', name, mode: entry.mode, mtime, metadata, kept };
    case 'symlink':
      return { type: 'symlink', name, target: entry.target, mtime, metadata, kept };
    case 'link':
      return { type: 'link', name, target: entry.target, mtime, kept };
  }
}

function sumOf(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}
