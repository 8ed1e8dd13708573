import { accessSync, closeSync, constants, realpathSync, statSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type ErrorCode, TransferError } from '../errors';
import { type Located, readFlags, shownPath, Walker } from '../threads/walker';
import type { EntryStats } from '../threads/entry-stats';
import { fileCalls } from '../threads/file-calls';
import { failureOf } from '../threads/order-worker';
import { type EntryName, printable } from '../name';
import { systemPath } from '../name-bytes';
import { type DiskEntry, readDirectory, readTarget } from './disk-names';
import { Exclusion, readIgnoreFile } from './ignore-file';
import type { FoundBase, FoundEntry } from './found';
import { type FoundBatch, FoundColumns } from './found-batch';
import { type LeftOut, MetadataReader, plainMetadata } from './metadata-reader';
import { offeredEntry } from './offered-entry';
import { isCacheTag } from './cache-tag';
import { patternsFor } from './own-patterns';
import { asStream, kindOf, sourceName, unreadable, unreadableSource } from './source';
import { type Metadata } from '../wire/metadata';
import { encodeEntry, encodeList, type Entry } from '../wire/session-list';
import { carriedTime } from '../threads/carried-time';
import { smallFile } from '../wire/segment';
import { dataIn } from './data-in';
import { lookAtEdges, type StatsWithEdges } from './edges';
import { ignored } from '../trace';

export interface ScanSetup {
  /**
   * What the caller named, and under which name it travels; '' for the root of a file system, whose entries have no
   * name before theirs.
   */
  readonly roots: readonly { readonly pathname: string; readonly base: string }[];
  /** Whether the base is a name for a single file. */
  readonly single: boolean;
  /** Names that something else of the same transfer has. */
  readonly taken: readonly string[];
  /** Whether a second name of a file is a link to its first, and not a file of its own. */
  readonly hardLinks: boolean;
  /** Whether only the sums are wanted, and nothing of what is found. */
  readonly totalsOnly: boolean;
  /**
   * Entries are encoded for `offer`, with numbers from `first` on, and their inodes where those are wanted; absent
   * where nobody offers them.
   */
  readonly offers: { readonly first: number; readonly inodes: boolean } | undefined;
  /** Whether owners and extended attributes are wanted. */
  readonly metadata: boolean;
  /** Whether the edges of files are wanted. */
  readonly edges: boolean;
  /** See `LeavingOut`. */
  readonly exclude: readonly string[];
  readonly excludeIfPresent: readonly string[];
  readonly excludeCaches: boolean;
  readonly oneFileSystem: boolean;
  readonly ignoreFile: string;
  /** How many batches were fetched; shared, and told when it changes. */
  readonly fetched: Int32Array;
  /** Waiting batches at which the thread stops. */
  readonly mostAhead: number;
}

/** What a scan found since the packet before. */
export interface ScanPacket {
  readonly found: FoundBatch;
  /** The entries of `found` as the payload of `offer`, where that is wanted. */
  readonly offer: Uint8Array | undefined;
  /** What cannot be sent, in the order of the finding. */
  readonly notices: readonly ScanNotice[];
  /** How many files were found so far, and how many bytes they have. */
  readonly files: number;
  readonly bytes: number;
}

/** Something that is no entry, found before the one at the place `before`: no wire carries it, or it failed. */
export type ScanNotice = { readonly before: number; readonly name: string } & (
  | { readonly reason: string }
  | { readonly failure: PackedFailure }
  /** An entry that is sent, without these extended attributes of it. */
  | { readonly leftOut: LeftOut }
);

interface PackedFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
  readonly cause?:
    { readonly message: string; readonly code?: string | undefined; readonly errno?: number | undefined } | undefined;
}

export type ScanNews = ScanPacket | 'end';

const batchSize = 512;
/** The first batch is smaller, and each as large as all before it: whoever waits for something to do gets it early. */
const firstBatch = 64;
/** Where looking is slow, what was found sets out before its batch is full, in ms. */
const longestWait = 25;
/** Interval in ms at which sums are sent where only those are wanted. */
const totalsEvery = 200;

/**
 * The edges of a file are noted if the caller named it, or if it was written to in these last ms, and of the first
 * `mostEdges` of those in a scan: older files hardly grow while they are sent, and reading the edges of one costs as
 * much as finding it.
 */
const writtenLately = 24 * 60 * 60 * 1000;
const mostEdges = 1_024;

class TreeWalk {
  private readonly walker = new Walker(fileCalls);
  private readonly metadata: MetadataReader | undefined;
  private found = new FoundColumns(batchSize);
  private offer: Entry[] = [];
  private notices: ScanNotice[] = [];
  private number: number;
  private begun = performance.now();
  private posted = 0;
  /** With how many entries and notices a batch is full. */
  private due = firstBatch;
  private files = 0;
  private bytes = 0;
  /** How many files may have their edges noted. */
  private edgesLeft = mostEdges;
  private readonly lately = BigInt(Date.now() - writtenLately) * 1_000_000n;
  /** The file system of the tree. */
  private device = 0n;
  /** The first names of files that have several, by device and inode. */
  private readonly firstNames = new Map<string, EntryName>();

  /**
   * The paths that the caller named, by the names under which they travel; for a root without a name those of its
   * entries.
   */
  private readonly takenBy: Map<string, string>;

  constructor(private readonly setup: ScanSetup) {
    this.number = setup.offers?.first ?? 0;
    this.metadata = setup.metadata ? new MetadataReader() : undefined;
    this.takenBy = new Map(setup.taken.map((name) => [name, '']));
  }

  run(): void {
    for (const { pathname, base } of this.setup.roots) {
      const exclusion = Exclusion.of(patternsFor(pathname, this.setup.exclude));
      // The root of a file system has no name: what is in it takes names, each when it is found.
      if (base === '' || this.takeName(base, pathname)) this.scanRoot(pathname, base, exclusion);
    }
    this.walker.close();
    this.post();
    parentPort?.postMessage('end' satisfies ScanNews);
  }

  /**
   * Whether nothing else of the transfer has this name; that is told where something has. "Two files never take one
   * name."
   */
  private takeName(name: string, path: string): boolean {
    const other = this.takenBy.get(name);
    if (other === undefined) this.takenBy.set(name, path);
    else this.fail(name, sameName(name, other, path));
    return other === undefined;
  }

  /** What the caller named is followed. */
  private scanRoot(pathname: string, base: string, exclusion: Exclusion): void {
    const stats = this.attempt(
      base,
      () => statSync(systemPath(pathname), { bigint: true }),
      (error) => unreadableSource(pathname, base, error),
    );
    if (stats === undefined) return;
    if (stats.isFile()) this.addNamed({ path: pathname }, base, stats);
    else if (!stats.isDirectory())
      this.fail(
        base,
        new TransferError('source-unreadable', `${printable(pathname)} is not a regular file.`, { hint: asStream }),
      );
    else if (this.setup.single)
      this.fail(
        base,
        new TransferError('usage', `--name is for a single file, and ${printable(pathname)} is a directory.`),
      );
    else {
      this.device = stats.dev;
      this.walk({ path: pathname, below: '' }, base, stats, exclusion);
    }
  }

  /** `name` is what the directory travels as, `below` its path from the top of the tree. */
  private walk(
    { path, below }: Located & { readonly below: string },
    name: string,
    stats: EntryStats,
    exclusion: Exclusion,
  ): void {
    const deeper = below === '' ? '' : `${below}/`;
    const elsewhere = this.setup.oneFileSystem && stats.dev !== this.device;
    const all = elsewhere ? [] : this.attempt(name, () => readDirectory(this.walker.at({ path, below: `${deeper}.` })));
    if (all === undefined) return;
    const entries = all.filter(this.tagIn(path, deeper, all));
    // A name that cannot be stored would be told for everything below it again.
    if (name !== '' && !this.addNamed({ path, below }, name, stats)) return;
    const inside = name === '' ? '' : `${name}/`;
    const rules = this.withIgnoreFile(path, inside, below, entries, exclusion);
    if (rules === undefined) return;
    for (const entry of entries) {
      if (rules.excludes(deeper + entry.name, entry.isDirectory())) continue;
      const located = { path, below: deeper + entry.name };
      if (name === '' && !this.takeName(entry.name, shownPath(located))) continue;
      const found = this.attempt(inside + entry.name, () => this.look(located));
      if (found?.isDirectory()) this.walk(located, inside + entry.name, found, rules);
      else if (found) this.addNamed(located, inside + entry.name, found);
    }
  }

  /** What of a directory stays: all of it, or the one entry that says that the others do not. */
  private tagIn(path: string, deeper: string, entries: readonly DiskEntry[]): (entry: DiskEntry) => boolean {
    const { excludeIfPresent, excludeCaches } = this.setup;
    const tag =
      entries.find(({ name }) => excludeIfPresent.includes(name)) ??
      (excludeCaches
        ? entries.find((entry) => isCacheTag(entry, () => this.walker.at({ path, below: deeper + entry.name })))
        : undefined);
    return (entry) => tag === undefined || entry === tag;
  }

  /**
   * Undefined if there is an ignore file that cannot be read: what it leaves out may be what must not be sent. A link
   * is not followed, since whoever may write here need not be who may read what it points to.
   */
  private withIgnoreFile(
    path: string,
    inside: string,
    below: string,
    entries: readonly DiskEntry[],
    exclusion: Exclusion,
  ): Exclusion | undefined {
    const { ignoreFile } = this.setup;
    if (!entries.some((entry) => entry.name === ignoreFile)) return exclusion;
    const located = { path, below: below === '' ? ignoreFile : `${below}/${ignoreFile}` };
    const name = inside + ignoreFile;
    let failure: TransferError;
    try {
      const stats = this.look(located);
      if (stats.isFile()) return exclusion.with(below, readIgnoreFile(this.walker.at(located)));
      const kind = stats.isDirectory() ? 'a directory' : kindOf(stats);
      failure = new TransferError('source-unreadable', `${printable(name)} is ${kind}, and no regular file.`, {
        hint: 'Put the file itself there, or take it away.',
      });
    } catch (error) {
      failure = unreadable(name, error);
    }
    const { code, message, hint, cause } = failure;
    this.fail(
      name,
      new TransferError(code, `${message} Nothing in its directory is sent, since it may say what to leave out.`, {
        cause,
        ...(hint === undefined ? {} : { hint }),
      }),
    );
    return undefined;
  }

  /** False if it cannot be sent, which is told. */
  private addNamed(located: Located, text: string, stats: EntryStats): boolean {
    const name = sourceName(text);
    if (name instanceof TransferError) this.fail(text, name);
    else this.addFound(name, located, stats);
    return !(name instanceof TransferError);
  }

  private addFound(name: EntryName, located: Located, stats: EntryStats): void {
    const metadata = this.setup.totalsOnly
      ? undefined
      : this.attempt(name, () => this.metadataOf(name, located, stats));
    const { path, below } = located;
    const base = { path, below, name, mtime: carriedTime(stats.mtimeNs), ctime: carriedTime(stats.ctimeNs), metadata };
    const mode = Number(stats.mode) & 0o777;
    if (stats.isFile()) {
      this.addFile(base, mode, stats);
    } else if (stats.isDirectory()) {
      this.add({ type: 'directory', mode, ...base });
    } else if (stats.isSymbolicLink()) {
      this.addSymlink(base);
    } else {
      this.tell({ before: this.found.length, name, reason: kindOf(stats) });
    }
  }

  /** Of what the caller named it is that of what it points to. */
  private metadataOf(name: string, located: Located, stats: EntryStats): Metadata | undefined {
    if (!this.metadata) return plainMetadata(stats);
    const named = located.below === undefined || located.below === '';
    const at = named ? realpathSync(systemPath(located.path)) : this.walker.at(located);
    const { metadata, leftOut } = this.metadata.of(at, stats);
    // Whoever cannot read the content of a file is told that, and it is not sent.
    if (leftOut && !(stats.isFile() && !isReadable(at))) this.tell({ before: this.found.length, name, leftOut });
    return metadata;
  }

  private addSymlink(base: FoundBase): void {
    const { name } = base;
    const target = this.attempt(name, () => readTarget(this.walker.at(base)));
    if (target === undefined) return;
    this.add({ type: 'symlink', target, ...base });
  }

  private addFile(base: FoundBase, mode: number, found: EntryStats): void {
    if (found.nlink > 1n && this.setup.hardLinks) {
      const inode = `${found.dev}:${found.ino}`;
      const target = this.firstNames.get(inode);
      if (target !== undefined) {
        this.add({ type: 'link', target, ...base, metadata: undefined });
        return;
      }
      this.firstNames.set(inode, base.name);
    }
    const { stats, edges } = this.withEdges(base, found);
    const size = Number(stats.size);
    this.files++;
    this.bytes += size;
    const sparse = Number(stats.blocks) * 512 < size;
    const { path, below, name, metadata } = base;
    const [mtime, ctime] = [carriedTime(stats.mtimeNs), carriedTime(stats.ctimeNs)];
    // Not spread, which takes five times the memory: a tree is mostly files.
    this.add({
      type: 'file',
      path,
      below,
      name,
      mtime,
      ctime,
      metadata,
      size,
      mode,
      sparse,
      data: sparse && size > smallFile ? dataIn(this.walker.at(base), size) : undefined,
      inode: BigInt.asUintN(64, stats.ino),
      ...(edges === undefined ? {} : { edges }),
    });
  }

  /** Of a file that was written to lately, or that the caller named, as far as that may still be asked. */
  private withEdges(located: Located, found: EntryStats): StatsWithEdges {
    const unknown = { stats: found, edges: undefined };
    const { edges, totalsOnly } = this.setup;
    const mayGrow = located.below === undefined || found.mtimeNs >= this.lately;
    if (!edges || totalsOnly || found.size === 0n || !mayGrow || this.edgesLeft <= 0) return unknown;
    this.edgesLeft--;
    try {
      const fd = this.walker.open(located, readFlags);
      try {
        return lookAtEdges(fd, found);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      ignored('whoever reads the file is told')(error);
      return unknown;
    }
  }

  private add(entry: FoundEntry): void {
    const { offers, totalsOnly } = this.setup;
    if (!totalsOnly) this.found.add(entry);
    if (offers) this.offer.push(offeredEntry(entry, this.number++, offers.inodes));
    this.postIfDue();
  }

  private tell(notices: ScanNotice): void {
    if (!this.setup.totalsOnly) this.notices.push(notices);
    this.postIfDue();
  }

  private fail(name: string, { code, message, hint, cause }: TransferError): void {
    const failure = { code, message, hint, cause: cause === undefined ? undefined : failureOf(cause).failure };
    this.tell({ before: this.found.length, name, failure });
  }

  /** Throws ENOENT for what was removed since it was listed. */
  private look(located: Located): EntryStats {
    const found = this.walker.look(located);
    if (found) return found;
    throw Object.assign(new Error('ENOENT: no such file or directory'), { code: 'ENOENT' });
  }

  private attempt<T>(
    name: string,
    look: () => T,
    failureFor = (error: unknown): TransferError => unreadable(name, error),
  ): T | undefined {
    try {
      return look();
    } catch (error) {
      this.fail(name, failureFor(error));
      return undefined;
    }
  }

  private postIfDue(): void {
    const { found, notices } = this;
    const wait = this.setup.totalsOnly ? totalsEvery : longestWait;
    if (found.length + notices.length >= this.due || performance.now() - this.begun > wait) this.post();
  }

  private post(): void {
    const { found, offer, notices, files, bytes } = this;
    const { fetched, mostAhead, totalsOnly } = this.setup;
    if (found.length + notices.length === 0 && !totalsOnly) return;
    for (let seen = Atomics.load(fetched, 0); this.posted - seen >= mostAhead; seen = Atomics.load(fetched, 0))
      Atomics.wait(fetched, 0, seen);
    this.posted++;
    this.due = Math.min(batchSize, this.due * 2);
    const encoded = offer.length > 0 ? encodeList(offer.map(encodeEntry)) : undefined;
    parentPort?.postMessage({ found: found.batch(), offer: encoded, notices, files, bytes } satisfies ScanNews);
    this.found = new FoundColumns(batchSize);
    this.offer = [];
    this.notices = [];
    this.begun = performance.now();
  }
}

function isReadable(path: string | Buffer): boolean {
  try {
    accessSync(typeof path === 'string' ? systemPath(path) : path, constants.R_OK);
    return true;
  } catch {
    return false; // whatever the reason: who opens it tells of it
  }
}

/**
 * The failure for a second thing of one transfer that would be stored under the name of the first; `other` is '' for
 * one that is no path.
 */
function sameName(name: string, other: string, path: string): TransferError {
  const both =
    other === '' ? `what is called so already, and ${printable(path)}` : `${printable(other)} and ${printable(path)}`;
  return new TransferError('name', `Two of the paths would both become "${printable(name)}": ${both}.`, {
    hint: 'Send it by itself, or with --name.',
  });
}

new TreeWalk(workerData as ScanSetup).run();
