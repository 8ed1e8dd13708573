// The short way of a backup from this machine into an object store: what has not changed, and small files, need no
// session to be asked about. Everything else goes its usual way. Half of the time of a backup of small files was that
// of offering, deciding and telling within one process.
import { TransferError } from '../../errors';
import type { Digests, FileDone } from '../../progress';
import { type EntryName, printable } from '../../name';
import { entryAt, entryTypes, fileType, type FoundBatch, packEntries, splitTexts } from '../../scan/found-batch';
import { BundleReader, bundleError, type ReadBundle } from '../../send/bundle-reader';
import { findToSend, type FoundToSend } from '../../send/finding';
import { SegmentReader } from '../../send/segment-reader';
import type { SendOptions } from '../../send/send-options';
import type { ContentSource } from '../../send/transfer';
import { notAsSent } from '../../store/object/pack';
import type { Packing } from '../../store/object/packing';
import type { ContentLocation } from '../../store/object/records';
import type { StagedObjects } from '../../store/object/staged-objects';
import { ignored } from '../../trace';
import { smallFile } from '../../wire/segment';
import { longestBundle } from '../../wire/session-message';
import type { EarlierFiles } from '../backup/earlier-files';
import { isReservedName } from '../manifest/checksum-list';
import type { ManifestEntry, ManifestFile } from '../manifest/manifest';

/** What files are stored into without a session. */
export interface DirectStage {
  readonly store: StagedObjects;
  readonly before: EarlierFiles;
  /** Of the manifest, by name. */
  readonly lines: Map<string, ManifestEntry>;
  readonly algorithm: keyof Digests;
}

/** What there is to back up, looked for from the first moment on. To be closed, unless all of it is taken. */
export class BegunFinding {
  private readonly found: AsyncGenerator<FoundToSend>;
  private readonly first: Promise<IteratorResult<FoundToSend>>;

  constructor(options: SendOptions) {
    // Most of it is not offered: a session encodes what is.
    this.found = findToSend(options, undefined, { snapshot: true, offered: false });
    this.first = this.found.next();
    this.first.catch(ignored('whoever takes it is told'));
  }

  async *take(): AsyncGenerator<FoundToSend> {
    try {
      for (let next = await this.first; next.done !== true; next = await this.found.next()) yield next.value;
    } finally {
      await this.close();
    }
  }

  async close(): Promise<void> {
    await this.found.return(undefined);
  }
}

/** What a session has to send of what is `found`, the rest of which is stored in `stage` meanwhile. */
export function directContent(stage: DirectStage, found: BegunFinding, signal: AbortSignal | undefined): ContentSource {
  return {
    found: new DirectFiles(stage).found(found.take(), signal),
    segments: new SegmentReader(),
    bundles: new BundleReader(stage.algorithm),
  };
}

const mostFiles = 512;
/** Bundles that are read ahead of what is packed: fewer than the reader has memory for. */
const readAhead = 4;
const nothingHeld: ReadonlyMap<number, string> = new Map();

/** A line on its way: what its content says comes last. One object from the first to the last, since there are many. */
type LineInMaking = Omit<ManifestFile, 'digests' | 'content'> & {
  digests: ManifestFile['digests'];
  content: ManifestFile['content'];
};

type LinkLine = Extract<ManifestEntry, { readonly type: 'link' }>;

interface Known {
  readonly line: LineInMaking;
  /** As of `performance.now`. */
  readonly began: number;
  readonly grew: boolean;
}

/** Small files that are being read. */
interface Reading {
  readonly read: Promise<ReadBundle>;
  /** By their numbers. */
  readonly lines: ReadonlyMap<number, LineInMaking>;
  readonly began: number;
}

/** Stores unchanged and small files of a backup itself, and leaves the rest to the session. */
class DirectFiles {
  private readonly reader: BundleReader;
  private readonly packing: Packing<Known>;
  private readonly reading: Reading[] = [];
  private already: FileDone[] = [];
  private failures: TransferError[] = [];
  private next = 0;
  /** What is being read, or is on its way. */
  private readonly waiting = new Set<string>();
  /** Other names of files that are here, or on their way. */
  private readonly links: LinkLine[] = [];

  constructor(private readonly stage: DirectStage) {
    this.reader = new BundleReader(stage.algorithm);
    this.packing = stage.store.packing(stage.algorithm);
    // All of a first backup is to be read.
    if (stage.before.number === undefined) this.reader.warm();
  }

  async *found(
    found: AsyncIterable<FoundToSend>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<FoundToSend, void, undefined> {
    try {
      for await (const { entries, failures = [], ...others } of found) {
        const left = entries && (await this.take(entries));
        if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
        yield { ...others, ...(left ? { entries: left } : {}), ...this.settled(failures) };
      }
      for (let next = this.reading.shift(); next; next = this.reading.shift()) {
        if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
        await this.pack(next);
      }
      await this.packing.end();
      const last = this.settled([]);
      yield { ...last, failures: [...(last.failures ?? []), ...this.takeLinks()] };
    } finally {
      await this.reader.close();
      await this.packing.stop();
      // What came last is noted for the next run, if this one ends here.
      this.settled([]);
    }
  }

  /** Takes those that a session need not ask about. The others are left, in a batch of their own. */
  private async take(batch: FoundBatch): Promise<FoundBatch> {
    const began = performance.now();
    const names = splitTexts(batch.names, batch.length);
    const wanted: { readonly at: number; readonly line: LineInMaking }[] = [];
    const left: number[] = [];
    for (let at = 0; at < batch.length; at++) {
      const name = names[at] as EntryName;
      if (this.takeLink(batch, at, name)) continue;
      const line = lineAt(batch, at, name);
      const kept = line && this.keep(line, began);
      if (kept === true) continue;
      if (line && line.size <= smallFile && !batch.vouched.has(at)) {
        wanted.push({ at, line });
        this.waiting.add(name);
      } else left.push(at);
    }
    if (wanted.length > 0) await this.read(batch, wanted, began);
    if (left.length === batch.length) return batch;
    const below = splitTexts(batch.below, batch.length);
    return packEntries(left.map((at) => entryAt(batch, at, names[at] ?? '', below[at] ?? '')));
  }

  /** Takes another name of a file that does not go through a session. */
  private takeLink(batch: FoundBatch, at: number, name: EntryName): boolean {
    if (entryTypes[batch.types[at] ?? 0] !== 'link' || isReservedName(name)) return false;
    const target = batch.targets.get(at) as EntryName;
    if (!this.waiting.has(target) && this.stage.lines.get(target)?.type !== 'file') return false;
    this.links.push({ type: 'link', name, target, mtime: batch.mtimes[at] ?? 0n });
    return true;
  }

  /** Once everything else is settled: why some of them are not in the snapshot. */
  private takeLinks(): TransferError[] {
    const { lines } = this.stage;
    return this.links.flatMap((link) => {
      if (lines.get(link.target)?.type === 'file') {
        lines.set(link.name, link);
        return [];
      }
      const reason = `${printable(link.target)}, of which ${printable(link.name)} is another name, is not stored.`;
      return [new TransferError('exists', reason, { fileName: link.name })];
    });
  }

  /** Whether it is stored already: in the newest snapshot, or by an earlier try. */
  private keep(line: LineInMaking, began: number): boolean {
    const { before, lines, store, algorithm } = this.stage;
    const { name, source } = line;
    const unchanged = before.unchanged(line);
    if (unchanged) {
      lines.set(name, unchanged);
      this.tell({ line: unchanged, began, grew: false }, 0);
      return true;
    }
    const staged = store.names.file(name);
    const same =
      staged?.content !== undefined &&
      staged.size === line.size &&
      staged.mtime === line.mtime &&
      staged.ctime === source.ctime &&
      staged.digests[algorithm] !== undefined &&
      store.believes(staged);
    if (!same) return false;
    line.digests = staged.digests;
    this.store({ line, began, grew: false }, staged.content, 0);
    return true;
  }

  private async read(
    batch: FoundBatch,
    wanted: readonly { readonly at: number; readonly line: LineInMaking }[],
    began: number,
  ): Promise<void> {
    // What was moved or renamed may be in any of them.
    await this.stage.before.allContents();
    const first = this.next;
    this.next += batch.length;
    this.reader.know({ first, found: batch });
    for (let from = 0; from < wanted.length;) {
      const lines = new Map<number, LineInMaking>();
      let bytes = 0;
      for (let each = wanted[from]; each; each = wanted[++from]) {
        bytes += each.line.size;
        if (lines.size === mostFiles || (lines.size > 0 && bytes > longestBundle)) break;
        lines.set(first + each.at, each.line);
      }
      const read = this.reader.read([...lines.keys()], nothingHeld);
      read.catch(ignored('whoever packs it is told'));
      this.reading.push({ read, lines, began });
      const due = this.reading.length > readAhead ? this.reading.shift() : undefined;
      if (due) await this.pack(due);
    }
    this.reader.forget(first);
  }

  private async pack({ read, lines, began }: Reading): Promise<void> {
    const bundle = await read;
    const { files, digests, bytes, failures, grew } = bundle;
    try {
      await this.packing.room();
      const { algorithm } = this.stage;
      const before = await this.stage.before.contents();
      const length = digests.length / files.length;
      let at = 0;
      for (let index = 0; index < files.length; index++) {
        const number = files[index] ?? 0;
        const line = lines.get(number);
        if (!line) continue;
        const digest = digests.slice(index * length, (index + 1) * length);
        line.digests = { [algorithm]: digest };
        const known = { line, began, grew: grew.includes(number) };
        const had = before.at(digest, line.size);
        if (had) this.store(known, had, 0);
        else this.packing.add(known, bytes.subarray(at, at + line.size));
        at += line.size;
      }
      for (const { file, failure } of failures) this.failures.push(bundleError(lines.get(file)?.name ?? '', failure));
    } finally {
      bundle.release();
    }
  }

  /** What became of files since this was asked before. */
  private settled(failures: readonly TransferError[]): Pick<FoundToSend, 'already' | 'failures'> {
    for (const { items, contents } of this.packing.taken())
      for (let at = 0; at < items.length; at++) {
        const [item, content] = [items[at] as Known, contents[at]];
        if (content) this.store(item, content, item.line.size);
        else this.failures.push(notAsSent(item.line.name).about(item.line.name));
      }
    const settled = { already: this.already, failures: [...failures, ...this.failures] };
    this.already = [];
    this.failures = [];
    return settled;
  }

  /** `sent` is how many bytes of it went to the store now. */
  private store(known: Known, content: ContentLocation | undefined, sent: number): void {
    const { lines, store } = this.stage;
    const { line } = known;
    line.content = content;
    lines.set(line.name, line);
    this.waiting.delete(line.name);
    if (sent > 0) store.names.note(line.name, line, line.source.ctime);
    this.tell(known, sent);
  }

  private tell({ line, began, grew }: Omit<Known, 'line'> & { readonly line: ManifestFile }, sent: number): void {
    this.already.push({
      file_name: line.name,
      file_size: line.size,
      digests: line.digests,
      verified: this.stage.store.verified,
      path: line.name,
      bytes_on_wire: sent,
      seconds: (performance.now() - began) / 1000,
      ...(grew ? { source_grew: true } : {}),
    });
  }
}

/** Of a file that is not read yet. */
const unread: ManifestFile['digests'] = {};

/** The line of a file that may go the short way; undefined for everything else. */
function lineAt(batch: FoundBatch, at: number, name: EntryName): LineInMaking | undefined {
  const size = batch.sizes[at] ?? 0;
  if (batch.types[at] !== fileType || size === 0 || isReservedName(name)) return undefined;
  return {
    type: 'file',
    name,
    size,
    mode: batch.modes[at] ?? 0,
    mtime: batch.mtimes[at] ?? 0n,
    digests: unread,
    metadata: batch.metadata.get(at),
    kept: undefined,
    content: undefined,
    source: { ctime: batch.ctimes[at] ?? 0n, inode: batch.inodes[at] ?? 0n },
  };
}
