import type { BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Worker } from 'node:worker_threads';
import { asTransferError, TransferError } from '../errors';
import { dataIn } from './data-in';
import { lookAtEdgesOfHandle, type StatsWithEdges } from './edges';
import { ignored } from '../trace';
import { endWorker, startWorker } from '../threads/order-worker';
import { readFlags } from '../threads/walker';
import { parseEntryName } from '../name';
import { systemPath } from '../name-bytes';
import { type LeftOut, plainMetadata } from './metadata-reader';
import { usualIgnoreFile } from './ignore-file';
import type { FoundEntry, FoundFile } from './found';
import type { LeavingOut } from './leaving-out';
import { entryAt, type FoundBatch, packEntries, splitTexts } from './found-batch';
import type { ScanNews, ScanPacket, ScanSetup, ScanNotice } from './tree-scan.worker';

export type { FoundEntry, FoundFile } from './found';

export interface TreeScanOptions extends LeavingOut {
  readonly paths: readonly string[];
  /** The name for a single file. */
  readonly name?: string | undefined;
  /** The name of files that say what is left out of their directories; '' for none. Default `.sendallignore`. */
  readonly ignoreFile?: string | undefined;
  /** Names that something else of the same transfer has: what is found under one of them is a failure. */
  readonly taken?: readonly string[] | undefined;
  /** Whether a second name of a file is a link to its first (default), and not a file of its own. */
  readonly hardLinks?: boolean | undefined;
  /** Whether owners and extended attributes are wanted, too. */
  readonly metadata?: boolean | undefined;
  /** Whether the edges of files are wanted (default), as far as a scan reads any; see `FoundFile`. */
  readonly edges?: boolean | undefined;
  /** Whether only `files` and `bytes` are wanted: then all batches are empty. */
  readonly totalsOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Something that no wire carries. */
export interface Skipped {
  readonly type: 'skipped';
  readonly name: string;
  /** 'a socket', 'a named pipe', 'a device'. */
  readonly reason: string;
}

/** Of an entry that was found: some of its extended attributes do not travel. */
export interface LeftOutOf {
  readonly type: 'left-out';
  readonly name: string;
  readonly leftOut: LeftOut;
}

export interface ScanBatch {
  /**
   * Up to 512; a TransferError in place of what should be sent and cannot: `source-unreadable`, `name` or `usage`, with
   * its `fileName`. Two things of one name never come: the second is a failure (`name`).
   */
  readonly items: readonly (FoundEntry | Skipped | LeftOutOf | TransferError)[];
  /** How many files were found so far, and how many bytes they have; links count as nothing. */
  readonly files: number;
  readonly bytes: number;
}

/** Most batches that the thread makes ahead. */
const mostAhead = 4;
/** Most named files that are looked at, and read if small, without a thread, which takes longer to start. */
export const fewFiles = 8;

/**
 * Everything at and below `paths`, in an order that stays the same: a directory before what is in it, siblings by the
 * code units of their names. A directory's entries are named from the directory's own name on, itself included. What
 * the caller names is followed if it is a symbolic link, what is found is not. A thread of its own looks, a few batches
 * ahead of whoever takes them; it ends with the generator. Rejects with `interrupted` once `signal` is aborted,
 * `unexpected` if the thread dies.
 */
export async function* scanTree(options: TreeScanOptions): AsyncGenerator<ScanBatch> {
  for await (const packet of packets(options))
    yield { items: unpack(packet), files: packet.files, bytes: packet.bytes };
}

/** What a scan finds, for a session. */
export interface OfferedScan {
  readonly found: FoundBatch;
  /** Its entries as the payload of `offer`, encoded by the thread; absent where it did not, or none was started. */
  readonly offer: Uint8Array | undefined;
  /** What cannot be sent, what no wire carries, and what does not travel of an entry. */
  readonly notices: readonly (Skipped | LeftOutOf | TransferError)[];
  /** As of `ScanBatch`. */
  readonly files: number;
  readonly bytes: number;
}

/** The same for a session; its entries are encoded as `offers` says, or not at all. */
export async function* scanOffers(options: TreeScanOptions, offers: ScanSetup['offers']): AsyncGenerator<OfferedScan> {
  for await (const { found, offer, notices, files, bytes } of packets(options, offers))
    yield { found, offer, notices: notices.map(saidOf), files, bytes };
}

async function* packets(options: TreeScanOptions, offers?: ScanSetup['offers']): AsyncGenerator<ScanPacket> {
  const {
    paths,
    name,
    exclude = [],
    excludeIfPresent = [],
    excludeCaches = false,
    oneFileSystem = false,
    ignoreFile = usualIgnoreFile,
    taken = [],
    hardLinks = true,
    metadata = false,
    edges = true,
    totalsOnly = false,
    signal,
  } = options;
  const roots = paths.map((pathname) => ({ pathname, base: name ?? path.basename(path.resolve(pathname)) }));
  const few =
    roots.length <= fewFiles && !totalsOnly && !metadata && !signal?.aborted
      ? await namedFiles(roots, taken, edges)
      : undefined;
  if (few) {
    yield {
      found: packEntries(few),
      notices: [],
      offer: undefined,
      files: few.length,
      bytes: few.reduce((sum, { size }) => sum + size, 0),
    };
    return;
  }
  const fetched = new Int32Array(new SharedArrayBuffer(4));
  const scan = new ScanThread({
    roots,
    single: name !== undefined,
    exclude,
    excludeIfPresent,
    excludeCaches,
    oneFileSystem,
    ignoreFile,
    taken,
    hardLinks,
    metadata,
    edges,
    totalsOnly,
    offers,
    fetched,
    mostAhead,
  });
  const interrupt = (): void => scan.fail(new TransferError('interrupted', 'Interrupted.'));
  signal?.addEventListener('abort', interrupt);
  try {
    if (signal?.aborted) interrupt();
    for (let packet = await scan.next(); packet; packet = await scan.next()) yield packet;
  } finally {
    signal?.removeEventListener('abort', interrupt);
    await scan.close();
  }
}

/** What the caller names, if those are a few files with good names and nothing else: no thread is started for that. */
async function namedFiles(
  roots: ScanSetup['roots'],
  taken: readonly string[],
  withEdges: boolean,
): Promise<FoundFile[] | undefined> {
  const files: FoundFile[] = [];
  const seen = new Set(taken);
  for (const { pathname, base } of roots) {
    const file = seen.has(base) ? undefined : await namedFile(pathname, base, withEdges);
    // Everything else is for the scan to tell; which file has several names, too.
    if (file === undefined || files.some(({ inode }) => inode === file.inode)) return undefined;
    files.push(file);
    seen.add(base);
  }
  return files;
}

async function namedFile(pathname: string, base: string, withEdges: boolean): Promise<FoundFile | undefined> {
  try {
    const found = await stat(systemPath(pathname), { bigint: true });
    if (!found.isFile() || plainMetadata(found) !== undefined) return undefined;
    const { stats, edges } = withEdges ? await lookForEdges(pathname, found) : { stats: found, edges: undefined };
    const { mtimeNs: mtime, ctimeNs: ctime, blocks, ino: inode } = stats;
    const size = Number(stats.size);
    const name = parseEntryName(base, { allowHidden: true, names: 'any' });
    const sparse = Number(blocks) * 512 < size;
    return {
      type: 'file',
      path: pathname,
      name,
      size,
      mode: Number(stats.mode) & 0o777,
      mtime,
      ctime,
      sparse,
      data: sparse ? dataIn(systemPath(pathname), size) : undefined,
      inode,
      ...(edges === undefined ? {} : { edges }),
    };
  } catch {
    // The scan says what is wrong with it.
    return undefined;
  }
}

/** Of a named file, whatever its age. */
async function lookForEdges(pathname: string, found: BigIntStats): Promise<StatsWithEdges> {
  const unknown = { stats: found, edges: undefined };
  if (found.size === 0n) return unknown;
  try {
    const handle = await open(systemPath(pathname), readFlags);
    try {
      return await lookAtEdgesOfHandle(handle, found);
    } finally {
      await handle.close();
    }
  } catch (error) {
    ignored('whoever reads the file is told')(error);
    return unknown;
  }
}

/** The thread that looks, and what it found and nobody has taken yet. */
class ScanThread {
  private readonly worker: Worker;
  private readonly batches: ScanPacket[] = [];
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
  async next(): Promise<ScanPacket | undefined> {
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

function unpack({ found, notices }: ScanPacket): ScanBatch['items'] {
  const [names, below] = [splitTexts(found.names, found.length), splitTexts(found.below, found.length)];
  const items: ScanBatch['items'][number][] = [];
  let next = 0;
  for (let at = 0; at <= found.length; at++) {
    for (let each = notices[next]; each?.before === at; each = notices[++next]) items.push(saidOf(each));
    if (at < found.length) items.push(entryAt(found, at, names[at] ?? '', below[at] ?? ''));
  }
  return items;
}

function saidOf(notices: ScanNotice): Skipped | LeftOutOf | TransferError {
  if ('leftOut' in notices) return { type: 'left-out', name: notices.name, leftOut: notices.leftOut };
  if ('reason' in notices) return { type: 'skipped', name: notices.name, reason: notices.reason };
  const { code, message, hint, cause } = notices.failure;
  return new TransferError(code, message, {
    fileName: notices.name,
    hint: hint ?? '',
    ...(cause === undefined ? {} : { cause: Object.assign(new Error(cause.message), cause) }),
  });
}
