import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { Worker } from 'node:worker_threads';
import { asTransferError, TransferError } from '../errors';
import { endWorker, startWorker } from '../threads/lane';
import type { Located } from '../threads/walker';
import { type EntryName, parseEntryName } from '../name';
import { systemPath } from '../name-bytes';
import { usualIgnoreFile } from './ignore-file';
import type { PackedBatch, ScanNews, ScanSetup } from './tree-scan.worker';

export interface TreeScanOptions {
  readonly paths: readonly string[];
  /** The name for a single file. */
  readonly name?: string | undefined;
  /** Patterns of what is left out, from the top of each tree; see `exclude.ts`. */
  readonly exclude?: readonly string[] | undefined;
  /** The name of files that say what is left out of their directories; '' for none. Default `.sendallignore`. */
  readonly ignoreFile?: string | undefined;
  /** Names that something else of the same transfer has: what is found under one of them is a failure. */
  readonly taken?: readonly string[] | undefined;
  /** Whether a second name of a file is a link to its first (default), and not a file of its own. */
  readonly hardLinks?: boolean | undefined;
  /** Whether only `files` and `bytes` are wanted: then all batches are empty. */
  readonly totalsOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What every entry that was found has. */
export interface Found extends Located {
  readonly name: EntryName;
  /** Nanoseconds since 1970. */
  readonly mtime: bigint;
  readonly ctime: bigint;
}

export interface FoundFile extends Found {
  readonly type: 'file';
  /** Bytes. */
  readonly size: number;
  /** Permission bits, 0 to 0o777. */
  readonly mode: number;
  /** Whether it takes less room on its disk than its size: it may have holes. */
  readonly sparse: boolean;
  /** What is known of it from elsewhere: with any other digest it is not sent, and this is the mtime that it is stored with. */
  readonly vouched?: { readonly digest: string; readonly mtime: bigint };
  /** Its number on its disk. */
  readonly inode?: bigint;
}

export interface FoundDirectory extends Found {
  readonly type: 'directory';
  readonly mode: number;
}

export interface FoundSymlink extends Found {
  readonly type: 'symlink';
  /** Where it points, as it is. */
  readonly target: string;
}

/** Another name of a file that was found before. */
export interface FoundLink extends Found {
  readonly type: 'link';
  /** The name under which it was found first. */
  readonly target: EntryName;
}

export type FoundEntry = FoundFile | FoundDirectory | FoundSymlink | FoundLink;

/** Something that no wire carries. */
export interface Skipped {
  readonly type: 'skipped';
  readonly name: string;
  /** 'a socket', 'a named pipe', 'a device'. */
  readonly reason: string;
}

export interface ScanBatch {
  /**
   * Up to 512; a TransferError in place of what should be sent and cannot: `source-unreadable`, `name` or `usage`, with its `fileName`. Two
   * things of one name never come: the second is a failure (`name`).
   */
  readonly items: readonly (FoundEntry | Skipped | TransferError)[];
  /** How many files were found so far, and how many bytes they have; links count as nothing. */
  readonly files: number;
  readonly bytes: number;
}

/** How many batches the thread makes before anyone takes them. */
const mostAhead = 4;
/** So many named files are looked at without a thread. */
const fewFiles = 8;

/**
 * Everything at and below `paths`, in an order that stays the same: a directory before what is in it, siblings by the code
 * units of their names. A directory's entries are named from the directory's own name on, itself included. What the caller names
 * is followed if it is a symbolic link, what is found is not. A thread of its own looks, a few batches ahead of whoever takes
 * them; it ends with the generator. Rejects with `interrupted` once `signal` is aborted, `unexpected` if the thread dies.
 */
export async function* scanTree(options: TreeScanOptions): AsyncGenerator<ScanBatch> {
  const { paths, name, exclude = [], ignoreFile = usualIgnoreFile, taken = [], hardLinks = true, totalsOnly = false, signal } = options;
  const roots = paths.map((place) => ({ place, base: name ?? path.basename(path.resolve(place)) }));
  const few = roots.length <= fewFiles && !totalsOnly && !signal?.aborted ? await namedFiles(roots, taken) : undefined;
  if (few) {
    yield { items: few, files: few.length, bytes: few.reduce((sum, { size }) => sum + size, 0) };
    return;
  }
  const fetched = new Int32Array(new SharedArrayBuffer(4));
  const scan = new Scan({ roots, single: name !== undefined, exclude, ignoreFile, taken, hardLinks, totalsOnly, fetched, mostAhead });
  const interrupt = (): void => scan.fail(new TransferError('interrupted', 'Interrupted.'));
  signal?.addEventListener('abort', interrupt);
  try {
    if (signal?.aborted) interrupt();
    for (let packed = await scan.next(); packed; packed = await scan.next()) {
      yield { items: unpack(packed, roots), files: packed.files, bytes: packed.bytes };
    }
  } finally {
    signal?.removeEventListener('abort', interrupt);
    await scan.close();
  }
}

/** What the caller names, if those are a few files with good names and nothing else: no thread is started for that. */
async function namedFiles(roots: ScanSetup['roots'], taken: readonly string[]): Promise<FoundFile[] | undefined> {
  const files: FoundFile[] = [];
  const seen = new Set(taken);
  for (const { place, base } of roots) {
    const file = seen.has(base) ? undefined : await namedFile(place, base);
    // Everything else is for the scan to tell; which file has several names, too.
    if (file === undefined || files.some(({ inode }) => inode === file.inode)) return undefined;
    files.push(file);
    seen.add(base);
  }
  return files;
}

async function namedFile(place: string, base: string): Promise<FoundFile | undefined> {
  try {
    const stats = await stat(systemPath(place), { bigint: true });
    if (!stats.isFile()) return undefined;
    const { mtimeNs: mtime, ctimeNs: ctime, blocks, ino: inode } = stats;
    const size = Number(stats.size);
    const name = parseEntryName(base, { allowHidden: true });
    return { type: 'file', path: place, name, size, mode: Number(stats.mode) & 0o777, mtime, ctime, sparse: Number(blocks) * 512 < size, inode };
  } catch {
    // The scan says what is wrong with it.
    return undefined;
  }
}

/** The thread that looks, and what it found and nobody has taken yet. */
class Scan {
  private readonly worker: Worker;
  private readonly batches: PackedBatch[] = [];
  private ended = false;
  private failure: TransferError | undefined;
  private wake: () => void = () => undefined;

  constructor(private readonly setup: ScanSetup) {
    this.worker = startWorker(path.join(__dirname, 'tree-scan.worker'), { workerData: setup });
    this.worker.on('message', (news: ScanNews) => this.hear(news));
    const died = (error: unknown): void => this.fail(asTransferError(error, 'unexpected', 'Looking for files failed'));
    this.worker.on('error', died);
    this.worker.on('exit', () => this.ended || died(new Error('the thread has ended')));
    // A scan that nobody asks anything of keeps no process alive.
    this.worker.unref();
  }

  /** The next batch; undefined after the last. */
  async next(): Promise<PackedBatch | undefined> {
    while (this.failure === undefined && !this.ended && this.batches.length === 0) {
      this.worker.ref();
      await new Promise<void>((resolve) => (this.wake = resolve));
      this.worker.unref();
    }
    if (this.failure) throw this.failure;
    Atomics.add(this.setup.fetched, 0, 1);
    Atomics.notify(this.setup.fetched, 0);
    return this.batches.shift();
  }

  fail(error: TransferError): void {
    this.failure ??= error;
    this.wake();
  }

  async close(): Promise<void> {
    await endWorker(this.worker);
  }

  private hear(news: ScanNews): void {
    if (news === 'end') this.ended = true;
    else this.batches.push(news);
    this.wake();
  }
}

function unpack(packed: PackedBatch, roots: ScanSetup['roots']): ScanBatch['items'] {
  return packed.types.map((type, at) => {
    const text = packed.names[at] ?? '';
    const word = packed.words.get(at) ?? '';
    if (type === 'skipped') return { type, name: text, reason: word };
    if (type === 'failed') return failureAt(packed, at, text);
    const name = text as EntryName; // the thread took it from parseEntryName
    const base = { ...locate(name, roots[packed.roots[at] ?? 0]), name, mtime: packed.mtimes[at] ?? 0n, ctime: packed.ctimes[at] ?? 0n };
    const mode = packed.modes[at] ?? 0;
    switch (type) {
      case 'file':
        return { type, size: packed.sizes[at] ?? 0, mode, sparse: packed.sparse[at] === 1, inode: packed.inodes[at] ?? 0n, ...base };
      case 'directory':
        return { type, mode, ...base };
      case 'symlink':
        return { type, target: word, ...base };
      case 'link':
        return { type, target: word as EntryName, ...base };
    }
  });
}

function failureAt({ failures }: PackedBatch, at: number, fileName: string): TransferError {
  const { code, message, cause } = failures.get(at) ?? { code: 'unexpected', message: 'Looking for files failed.' };
  return new TransferError(code, message, { fileName, ...(cause === undefined ? {} : { cause: Object.assign(new Error(cause.message), cause) }) });
}

function locate(name: EntryName, root: ScanSetup['roots'][number] | undefined): Located {
  if (root === undefined || name === root.base) return { path: root?.place ?? name };
  return { path: root.place, below: root.base === '' ? name : name.slice(root.base.length + 1) };
}
