import { type BigIntStats, statSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type ErrorCode, TransferError } from '../errors';
import { failureOf } from '../threads/lane';
import { type Located, shownPath, Walker } from '../threads/walker';
import { type EntryName, printable } from '../name';
import { isWellFormed, systemPath } from '../name-bytes';
import { type DirectoryEntry, readDirectory, readTarget } from './disk-names';
import { Exclusion, readIgnoreFile } from './ignore-file';
import { kindOf, sourceName, unreadable } from './source';

export interface ScanSetup {
  /** What the caller named, and under which name it travels; '' for the root of a file system, whose entries have no name before theirs. */
  readonly roots: readonly { readonly place: string; readonly base: string }[];
  /** Whether the base is a name for a single file. */
  readonly single: boolean;
  /** Names that something else of the same transfer has. */
  readonly taken: readonly string[];
  /** Whether a second name of a file is a link to its first, and not a file of its own. */
  readonly hardLinks: boolean;
  /** Whether only the sums are wanted, and nothing of what is found. */
  readonly totalsOnly: boolean;
  readonly exclude: readonly string[];
  readonly ignoreFile: string;
  /** How many batches were fetched; shared, and told when it changes. */
  readonly fetched: Int32Array;
  /** The thread stops while so many are waiting. */
  readonly mostAhead: number;
}

/** Entries by columns, which travel between threads at a tenth of the cost of objects. Columns of numbers may be longer than the others. */
export interface PackedBatch {
  readonly types: ('file' | 'directory' | 'symlink' | 'link' | 'skipped' | 'failed')[];
  readonly names: string[];
  /** The numbers of their roots. */
  readonly roots: number[];
  readonly sizes: Float64Array;
  readonly modes: Uint16Array;
  readonly mtimes: BigInt64Array;
  readonly ctimes: BigInt64Array;
  readonly inodes: BigUint64Array;
  readonly sparse: Uint8Array;
  /** Targets of links, reasons of what is skipped. */
  readonly words: Map<number, string>;
  readonly failures: Map<number, PackedFailure>;
  files: number;
  bytes: number;
}

interface PackedFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly cause?: { readonly message: string; readonly code?: string | undefined; readonly errno?: number | undefined } | undefined;
}

export type ScanNews = PackedBatch | 'end';

const batchSize = 512;
/** Where looking is slow, what was found sets out before its batch is full, in ms. */
const longestWait = 25;
/** How often sums are told where only those are wanted, in ms. */
const totalsEvery = 200;

class Scan {
  private batch = emptyBatch();
  private begun = performance.now();
  private posted = 0;
  private files = 0;
  private bytes = 0;
  /** The first names of files that have several, by device and inode. */
  private readonly firstNames = new Map<string, EntryName>();
  private root = 0;
  private readonly walker = new Walker();

  /** The paths that the caller named, by the names under which they travel; for a root without a name those of its entries. */
  private readonly takenBy: Map<string, string>;

  constructor(private readonly setup: ScanSetup) {
    this.takenBy = new Map(setup.taken.map((name) => [name, '']));
  }

  run(): void {
    const exclusion = Exclusion.of(this.setup.exclude);
    for (const [root, { place, base }] of this.setup.roots.entries()) {
      this.root = root;
      // The root of a file system has no name: what is in it takes names, each when it is found.
      if (base === '' || this.takeName(base, place)) this.scanRoot(place, base, exclusion);
    }
    this.walker.close();
    this.post();
    parentPort?.postMessage('end' satisfies ScanNews);
  }

  /** Whether nothing else of the transfer has this name; that is told where something has. "Two files never take one name." */
  private takeName(name: string, path: string): boolean {
    const other = this.takenBy.get(name);
    if (other === undefined) this.takenBy.set(name, path);
    else this.fail(name, sameName(name, other, path));
    return other === undefined;
  }

  /** What the caller named is followed. */
  private scanRoot(place: string, base: string, exclusion: Exclusion): void {
    const stats = this.attempt(base, () => statSync(systemPath(place), { bigint: true }));
    if (stats === undefined) return;
    if (stats.isFile()) this.addNamed({ path: place }, base, stats);
    else if (!stats.isDirectory()) this.fail(base, new TransferError('source-unreadable', `${printable(place)} is not a regular file.`));
    else if (this.setup.single) this.fail(base, new TransferError('usage', '--name is for a single file, not for a directory.'));
    else this.walk({ path: place, below: '' }, base, stats, exclusion);
  }

  /** `name` is what the directory travels as, `below` its path from the top of the tree. */
  private walk({ path, below }: Located & { readonly below: string }, name: string, stats: BigIntStats, exclusion: Exclusion): void {
    const deeper = below === '' ? '' : `${below}/`;
    const entries = this.attempt(name, () => readDirectory(this.walker.at({ path, below: `${deeper}.` })));
    if (entries === undefined) return;
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

  /** Undefined if there is an ignore file that cannot be read: what it leaves out may be what must not be sent. */
  private withIgnoreFile(path: string, inside: string, below: string, entries: readonly DirectoryEntry[], exclusion: Exclusion): Exclusion | undefined {
    const { ignoreFile } = this.setup;
    if (!entries.some((entry) => entry.name === ignoreFile && entry.isFile())) return exclusion;
    try {
      return exclusion.with(below, readIgnoreFile(this.walker.at({ path, below: below === '' ? ignoreFile : `${below}/${ignoreFile}` })));
    } catch (error) {
      const { code, message, cause } = unreadable(inside + ignoreFile, error);
      this.fail(inside + ignoreFile, new TransferError(code, `${message} Nothing in its directory is sent, since it may say what to leave out.`, { cause }));
      return undefined;
    }
  }

  /** False if it cannot be sent, which is told. */
  private addNamed(located: Located, text: string, stats: BigIntStats): boolean {
    const name = sourceName(text);
    if (name instanceof TransferError) this.fail(text, name);
    else this.addFound(name, located, stats);
    return !(name instanceof TransferError);
  }

  private addFound(name: EntryName, located: Located, stats: BigIntStats): void {
    if (stats.isFile()) {
      this.addFile(name, stats);
    } else if (stats.isDirectory()) {
      this.add('directory', name, stats);
    } else if (stats.isSymbolicLink()) {
      this.addSymlink(name, located, stats);
    } else {
      this.add('skipped', name, stats, kindOf(stats));
    }
  }

  private addSymlink(name: EntryName, located: Located, stats: BigIntStats): void {
    const target = this.attempt(name, () => readTarget(this.walker.at(located)));
    if (target === undefined) return;
    if (isWellFormed(target)) this.add('symlink', name, stats, target);
    else this.fail(name, new TransferError('name', `${printable(name)} points to "${printable(target)}", which is not UTF-8.`));
  }

  private addFile(name: EntryName, stats: BigIntStats): void {
    if (stats.nlink > 1n && this.setup.hardLinks) {
      const inode = `${stats.dev}:${stats.ino}`;
      const first = this.firstNames.get(inode);
      if (first !== undefined) {
        this.add('link', name, stats, first);
        return;
      }
      this.firstNames.set(inode, name);
    }
    this.files++;
    this.bytes += Number(stats.size);
    this.add('file', name, stats);
  }

  private add(type: PackedBatch['types'][number], name: string, stats?: BigIntStats, word?: string): void {
    if (this.setup.totalsOnly) {
      if (performance.now() - this.begun > totalsEvery) this.post();
      return;
    }
    const { batch } = this;
    const at = batch.types.push(type) - 1;
    batch.names.push(name);
    batch.roots.push(this.root);
    if (stats) {
      const size = Number(stats.size);
      batch.sizes[at] = size;
      batch.modes[at] = Number(stats.mode) & 0o777;
      batch.mtimes[at] = stats.mtimeNs;
      batch.ctimes[at] = stats.ctimeNs;
      batch.inodes[at] = BigInt.asUintN(64, stats.ino);
      batch.sparse[at] = Number(stats.blocks) * 512 < size ? 1 : 0;
    }
    if (word !== undefined) batch.words.set(at, word);
    if (at + 1 === batchSize || performance.now() - this.begun > longestWait) this.post();
  }

  private fail(name: string, { code, message, cause }: TransferError): void {
    if (!this.setup.totalsOnly) this.batch.failures.set(this.batch.types.length, { code, message, cause: cause === undefined ? undefined : failureOf(cause).failure });
    this.add('failed', name);
  }

  /** Throws ENOENT for what was removed since it was listed. */
  private look(located: Located): BigIntStats {
    const found = this.walker.look(located);
    if (found) return found;
    throw Object.assign(new Error('ENOENT: no such file or directory'), { code: 'ENOENT' });
  }

  private attempt<T>(name: string, look: () => T): T | undefined {
    try {
      return look();
    } catch (error) {
      this.fail(name, unreadable(name, error));
      return undefined;
    }
  }

  private post(): void {
    const { batch } = this;
    if (batch.types.length === 0 && !this.setup.totalsOnly) return;
    const { fetched, mostAhead } = this.setup;
    for (let seen = Atomics.load(fetched, 0); this.posted - seen >= mostAhead; seen = Atomics.load(fetched, 0)) Atomics.wait(fetched, 0, seen);
    this.posted++;
    parentPort?.postMessage(Object.assign(batch, { files: this.files, bytes: this.bytes }) satisfies ScanNews);
    this.batch = emptyBatch();
    this.begun = performance.now();
  }
}

/** The failure for a second thing of one transfer that would be stored under the name of the first; `other` is '' for one that is no path. */
function sameName(name: string, other: string, path: string): TransferError {
  const both = other === '' ? `what is called so already, and ${printable(path)}` : `${printable(other)} and ${printable(path)}`;
  return new TransferError('name', `Two of the paths would both become "${printable(name)}": ${both}.`, { hint: 'Send it by itself, or with --name.' });
}

function emptyBatch(): PackedBatch {
  return {
    types: [],
    names: [],
    roots: [],
    sizes: new Float64Array(batchSize),
    modes: new Uint16Array(batchSize),
    mtimes: new BigInt64Array(batchSize),
    ctimes: new BigInt64Array(batchSize),
    inodes: new BigUint64Array(batchSize),
    sparse: new Uint8Array(batchSize),
    words: new Map(),
    failures: new Map(),
    files: 0,
    bytes: 0,
  };
}

new Scan(workerData as ScanSetup).run();
