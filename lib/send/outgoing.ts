import type { Readable } from 'node:stream';
import type { RememberedDigests } from '../digest/digest-cache';
import type { DigestPool } from '../digest/digest-pool';
import { asTransferError, TransferError } from '../errors';
import type { EntryName } from '../name';
import { type Listener, Meter, type Waits } from '../progress';
import { changed, unreadable } from '../scan/source';
import { OpenSource, type SourceFile } from './open-source';
import { isBarred } from '../threads/walker';
import { smallFile } from '../wire/segment';
import type { PlainRun, SmallSourceReader } from './small-source-reader';
import { spool } from './spool';

/** A large file whose digest is known: ready for the plain wire, which wants the md5 before the bytes. */
export interface PlainFile {
  readonly name: EntryName;
  readonly size: number;
  readonly md5: string;
  readonly began: number;
  /** From which it is read while it is sent. */
  readonly source: OpenSource;
}

/** What is ready for the wire: a file, or many small ones. */
export type PlainOutgoing = PlainFile | PlainRun;

/** A file that was found, with the size that it had then, in bytes. */
export interface FoundSource extends SourceFile {
  readonly size: number;
}

/** What is to be sent: a file, a stream of unknown length, or a file that could not even be found. */
export type PlainSource = FoundSource | { readonly input: Readable; readonly name: EntryName } | TransferError;

export interface OutgoingOptions {
  readonly pool: DigestPool;
  readonly worker: SmallSourceReader;
  readonly cache: RememberedDigests;
  /** How many large files may be hashed before their turn. */
  readonly largeAhead: number;
  readonly waits: Waits;
  readonly on: Listener;
}

/** What is opened, or read, ahead: small files many at a time. */
const openAhead = 8;
const preparedAhead = 64;
/** Most small files that are read at once, and about the most bytes of them and their headers. */
const mostTogether = 256;
const bytesTogether = 480 * 1024;
const usualHeader = 128;

/**
 * The files to send, in their order, each prepared before its turn: file n + 1 is hashed while file n is on the wire.
 * Several conversations may take from one queue.
 */
export class OutgoingQueue {
  private readonly prepared: Promise<PlainOutgoing | TransferError>[] = [];
  private large = 0;
  private finished = false;
  private changed: (() => void)[] = [];
  private readonly stopping = new AbortController();
  private readonly pumping: Promise<void>;
  private dropping: Promise<boolean> | undefined;

  constructor(
    private readonly found: AsyncIterable<readonly PlainSource[]>,
    private readonly options: OutgoingOptions,
  ) {
    this.pumping = this.pump();
  }

  /** What is next (or why it cannot be sent), once it is ready; undefined when there is no more. */
  async take(): Promise<PlainOutgoing | TransferError | undefined> {
    while (this.prepared.length === 0 && !this.finished) await this.change();
    const next = await this.options.waits.on('hash', this.prepared.shift() ?? Promise.resolve(undefined));
    if (next && isLarge(next)) this.large--;
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

  /** Takes back, as the next, what was taken and of which nothing was sent. */
  giveBack(outgoing: PlainOutgoing): void {
    this.prepared.unshift(Promise.resolve(outgoing));
    if (isLarge(outgoing)) this.large++;
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
    // What is still read may wait for the memory of these.
    for (const prepared of this.prepared.splice(0)) await closeAny(await prepared);
    await this.pumping;
    return anyLeft;
  }

  private get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  private async pump(): Promise<void> {
    const opening: Promise<readonly OpenedSource[]>[] = [];
    const groups = this.groups();
    let more = true;
    while ((more && !this.stopped) || opening.length > 0) {
      while (more && !this.stopped && opening.length < openAhead) {
        const next = await groups.next();
        if (next.done) more = false;
        else opening.push(this.open(next.value));
      }
      for (const opened of (await opening.shift()) ?? []) await this.admit(opened);
    }
    await groups.return();
    this.finished = true;
    this.notify();
  }

  /** What was found, small files together. */
  private async *groups(): AsyncGenerator<readonly FoundSource[] | PlainSource, void> {
    try {
      for await (const some of this.found) {
        let small: FoundSource[] = [];
        let bytes = 0;
        for (const each of some) {
          const isSmall = 'size' in each && each.size <= smallFile;
          const size = isSmall ? each.size + usualHeader : Infinity;
          if (small.length > 0 && (small.length >= mostTogether || bytes + size > bytesTogether)) {
            yield small;
            small = [];
            bytes = 0;
          }
          if (isSmall) {
            small.push(each);
            bytes += size;
          } else yield each;
        }
        if (small.length > 0) yield small;
      }
    } catch (error) {
      yield asTransferError(error, 'source-unreadable', 'Cannot look for files');
    }
  }

  /** Files come here in their order, so whatever this waits for is ahead of it and will be taken. */
  private async admit(opened: OpenedSource): Promise<void> {
    const toHash = opened instanceof TransferError || 'files' in opened ? undefined : opened;
    while (
      !this.stopped &&
      (this.prepared.length >= preparedAhead || (toHash && this.large >= this.options.largeAhead))
    )
      await this.change();
    if (this.stopped) return closeAny(opened);
    if (toHash) this.large++;
    if (!(opened instanceof TransferError)) this.tellStarted(opened);
    this.prepared.push(
      opened instanceof TransferError || 'files' in opened ? Promise.resolve(opened) : this.prepare(opened),
    );
    this.notify();
  }

  private tellStarted(opened: OpenedFile | PlainRun): void {
    const { on } = this.options;
    if ('source' in opened) on({ event: 'started', file_name: opened.name, file_size: opened.source.size });
    else for (const { name, size } of opened.files) on({ event: 'started', file_name: name, file_size: size });
  }

  /** Never rejects. */
  private async open(found: readonly FoundSource[] | PlainSource): Promise<readonly OpenedSource[]> {
    if (!isList(found)) return [await this.openOne(found)];
    try {
      const opened: OpenedSource[] = [];
      for (const small of await this.options.worker.readAll(found))
        opened.push('large' in small ? await this.openOne(small.large) : small);
      return opened;
    } catch (error) {
      const failure = asTransferError(error, 'source-unreadable', 'Cannot read');
      return found.map(({ name }) => failure.about(name));
    }
  }

  private async openOne(found: SourceFile | PlainSource): Promise<OpenedSource> {
    if (found instanceof TransferError) return found;
    const began = performance.now();
    const { name } = found;
    try {
      if ('input' in found) return { ...(await spool(found.input, name, this.stopping.signal)), name, began };
      return { source: await OpenSource.open(found), name, began };
    } catch (error) {
      if (error instanceof TransferError) return error.about(name);
      return isBarred(error) ? changed(name) : unreadable(name, error);
    }
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

/** Small files are ready when they are read, a large one still has to be hashed. */
type OpenedSource = OpenedFile | PlainRun | TransferError;

function isLarge(outgoing: PlainOutgoing | TransferError): outgoing is PlainFile {
  return !(outgoing instanceof TransferError) && 'source' in outgoing;
}

function isList(found: readonly FoundSource[] | PlainSource): found is readonly FoundSource[] {
  return Array.isArray(found);
}

async function closeAny(opened: OpenedSource | PlainOutgoing): Promise<void> {
  if (opened instanceof TransferError) return;
  if ('source' in opened) await opened.source.close();
  else opened.release();
}
