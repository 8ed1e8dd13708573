import type { Readable } from 'node:stream';
import type { RememberedDigests } from '../digest/digest-cache';
import type { DigestPool } from '../digest/digest-pool';
import { asTransferError, TransferError } from '../errors';
import type { EntryName } from '../name';
import { type Listener, Meter, type Waits } from '../progress';
import { readSmallSource, type SmallSource } from './small-source';
import { changed, sizeless, unreadable } from '../scan/source';
import { OpenSource, type SourceFile } from './open-source';
import { isBarred, type Located } from '../threads/walker';
import type { SmallSourceReader } from './small-source-reader';
import { spool } from './spool';

/** A file whose digest is known: ready for the plain wire, which wants the md5 before the bytes. */
export interface PlainFile {
  readonly name: EntryName;
  readonly size: number;
  readonly md5: string;
  readonly began: number;
  /** The whole content of a small file; others are read from `source` while they are sent. */
  readonly content?: Uint8Array;
  readonly source?: OpenSource;
  /** A small file that is longer by now than its content. */
  readonly grew?: boolean;
}

/** What is to be sent: a file, a stream of unknown length, or a file that could not even be found. */
export type PlainSource = SourceFile | { readonly input: Readable; readonly name: EntryName } | TransferError;

export interface OutgoingOptions {
  readonly pool: DigestPool;
  readonly worker: SmallSourceReader;
  readonly cache: RememberedDigests;
  /** How many large files may be hashed before their turn. */
  readonly largeAhead: number;
  readonly waits: Waits;
  readonly on: Listener;
}

const openAhead = 64;
const preparedAhead = 128;
const fewFiles = 8;

/**
 * The files to send, in their order, each prepared before its turn: file n + 1 is hashed while file n is on the wire.
 * Several conversations may take from one queue.
 */
export class OutgoingQueue {
  private readonly prepared: Promise<PlainFile | TransferError>[] = [];
  private large = 0;
  private opened = 0;
  private finished = false;
  private changed: (() => void)[] = [];
  private readonly stopping = new AbortController();
  private readonly pumping: Promise<void>;
  private dropping: Promise<boolean> | undefined;

  constructor(
    private readonly found: AsyncIterator<PlainSource>,
    private readonly options: OutgoingOptions,
  ) {
    this.pumping = this.pump();
  }

  /** The next file (or why it cannot be sent), once it is ready; undefined when there are no more. */
  async take(): Promise<PlainFile | TransferError | undefined> {
    while (this.prepared.length === 0 && !this.finished) await this.change();
    const next = await this.options.waits.on('hash', this.prepared.shift() ?? Promise.resolve(undefined));
    if (next && !(next instanceof TransferError) && next.source) this.large--;
    this.notify();
    return next;
  }

  /** Waits until the next file is ready; resolves with false when there are no more. */
  async ready(): Promise<boolean> {
    while (this.prepared.length === 0 && !this.finished) await this.change();
    return (await this.prepared[0]) !== undefined;
  }

  /** Whether `ready` knows within `ms`. */
  async readyWithin(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), ms);
    });
    try {
      return await Promise.race([this.ready().then(() => true), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes back, as the next one, a file that was taken and of which nothing was sent. */
  giveBack(file: PlainFile): void {
    this.prepared.unshift(Promise.resolve(file));
    if (file.source) this.large++;
    this.notify();
  }

  /** Stops looking, hashing and reading, and closes what nobody took; resolves with whether there was any of that. */
  drop(): Promise<boolean> {
    this.dropping ??= this.stop(!this.finished || this.prepared.length > 0);
    return this.dropping;
  }

  private async stop(anyLeft: boolean): Promise<boolean> {
    this.stopping.abort();
    this.notify();
    await this.pumping;
    await this.found.return?.();
    for (const prepared of this.prepared.splice(0)) await closeAny(await prepared);
    return anyLeft;
  }

  private get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  private async pump(): Promise<void> {
    const opening: Promise<OpenedSource>[] = [];
    let more = true;
    while ((more && !this.stopped) || opening.length > 0) {
      while (more && !this.stopped && opening.length < openAhead) {
        const next = await this.found.next().catch((error: unknown) => ({
          done: false as const,
          value: asTransferError(error, 'source-unreadable', 'Cannot look for files'),
        }));
        if (next.done) more = false;
        else opening.push(this.open(next.value));
      }
      const opened = await opening.shift();
      if (opened) await this.admit(opened);
    }
    this.finished = true;
    this.notify();
  }

  /** Files come here in their order, so whatever this waits for is ahead of it and will be taken. */
  private async admit(opened: OpenedSource): Promise<void> {
    const toHash = opened instanceof TransferError || 'size' in opened ? undefined : opened;
    while (
      !this.stopped &&
      (this.prepared.length >= preparedAhead || (toHash && this.large >= this.options.largeAhead))
    )
      await this.change();
    if (this.stopped) return closeAny(opened);
    if (toHash) this.large++;
    if (!(opened instanceof TransferError))
      this.options.on({
        event: 'started',
        file_name: opened.name,
        file_size: 'size' in opened ? opened.size : opened.source.size,
      });
    this.prepared.push(toHash ? this.prepare(toHash) : Promise.resolve(opened as PlainFile | TransferError));
    this.notify();
  }

  private async open(found: PlainSource): Promise<OpenedSource> {
    if (found instanceof TransferError) return found;
    const began = performance.now();
    const { name } = found;
    try {
      if ('input' in found) return { ...(await spool(found.input, name, this.stopping.signal)), name, began };
      const small = await this.readSmall(found);
      if (typeof small === 'object') return { ...small, name, size: small.content.length, began };
      if (small === 'changed') throw changed(name);
      if (small === 'sizeless') throw sizeless(name);
      return { source: await OpenSource.open(found), name, began };
    } catch (error) {
      if (error instanceof TransferError) return error.about(name);
      return isBarred(error) ? changed(name) : unreadable(name, error);
    }
  }

  private readSmall(source: Located): Promise<SmallSource> {
    // A thread is not started for a handful of files.
    return this.opened++ < fewFiles ? readSmallSource(source) : this.options.worker.read(source);
  }

  private async prepare({ source, name, md5, began }: OpenedFile): Promise<PlainFile | TransferError> {
    try {
      return { name, size: source.size, md5: md5 ?? (await this.digestLarge(source, name)), source, began };
    } catch (error) {
      this.large--;
      await source.close();
      return asTransferError(error, 'source-unreadable', 'Cannot read').about(name);
    }
  }

  private async digestLarge(source: OpenSource, name: EntryName): Promise<string> {
    const { cache, pool, on } = this.options;
    const { size, before } = source;
    const remembered = await cache.lookup(before, 'md5');
    if (remembered !== undefined) return remembered;
    const hashingBegan = Date.now();
    const meter = new Meter(on, name, 'hash', size);
    const reading = pool.digestFile({
      fd: source.handle.fd,
      size,
      algorithms: ['md5'],
      onProgress: (done) => meter.update(done),
    });
    const cancel = (): void => reading.cancel();
    this.stopping.signal.addEventListener('abort', cancel, { once: true });
    try {
      const { md5 = '' } = await reading.digests.catch(async (error: unknown) => {
        if (this.stopped) throw new TransferError('interrupted', 'Interrupted.', { cause: error });
        await source.check();
        throw unreadable(name, error);
      });
      await source.check();
      if (!source.grew) await cache.remember(before, 'md5', md5, hashingBegan);
      return md5;
    } finally {
      meter.stop();
      this.stopping.signal.removeEventListener('abort', cancel);
    }
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.changed.push(resolve));
  }

  private notify(): void {
    for (const wake of this.changed.splice(0)) wake();
  }
}

interface OpenedFile {
  readonly source: OpenSource;
  readonly name: EntryName;
  readonly md5?: string;
  readonly began: number;
}

/** A small file is ready when it is opened, a large one still has to be hashed. */
type OpenedSource = OpenedFile | PlainFile | TransferError;

async function closeAny(file: OpenedSource): Promise<void> {
  if (!(file instanceof TransferError)) await file.source?.close();
}
