import { Readable } from 'node:stream';
import { createDigest } from '../digest';
import type { RememberedDigests } from '../digest-cache';
import type { DigestPool } from '../digest-pool';
import { asTransferError, TransferError } from '../errors';
import type { EntryName } from '../name';
import { type Listener, Meter, type Waits } from '../progress';
import { OpenSource, type SourceFile, unreadable } from './source';
import { spool } from './spool';

/** A file whose digest is known: ready for the plain wire, which wants the md5 before the bytes. */
export interface Outgoing {
  readonly name: EntryName;
  readonly size: number;
  readonly md5: string;
  readonly began: number;
  /** The whole content of a small file; others are read from `source` while they are sent. */
  readonly content?: Uint8Array;
  readonly source?: OpenSource;
}

/** What is to be sent: a file, a stream of unknown length, or a file that could not even be found. */
export type Found = SourceFile | { readonly input: Readable; readonly name: EntryName } | TransferError;

export interface OutgoingOptions {
  readonly pool: DigestPool;
  readonly cache: RememberedDigests;
  /** How many large files may be hashed before their turn. */
  readonly largeAhead: number;
  readonly waits: Waits;
  readonly on: Listener;
}

/** Up to this size a file is read whole and hashed on the spot. */
const smallFile = 64 * 1024;
const openAhead = 16;
const smallAhead = 64;

/**
 * The files to send, in their order, each prepared before its turn: file n + 1 is hashed while file n is on the wire. Several
 * conversations may take from one queue.
 */
export class OutgoingQueue {
  private readonly prepared: Promise<Outgoing | TransferError>[] = [];
  private large = 0;
  private finished = false;
  private changed: (() => void)[] = [];

  constructor(
    private readonly found: AsyncIterator<Found>,
    private readonly options: OutgoingOptions,
  ) {
    void this.pump();
  }

  /** The next file (or why it cannot be sent), once it is ready; undefined when there are no more. */
  async take(): Promise<Outgoing | TransferError | undefined> {
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

  /** Closes what nobody took. */
  async drop(): Promise<void> {
    await this.found.return?.();
    for (const prepared of this.prepared.splice(0)) {
      const outgoing = await prepared;
      if (!(outgoing instanceof TransferError)) await outgoing.source?.close();
    }
  }

  private async pump(): Promise<void> {
    const opening: Promise<Opened>[] = [];
    let more = true;
    while (more || opening.length > 0) {
      while (more && opening.length < openAhead) {
        const next = await this.found.next().catch((error: unknown) => ({ done: false as const, value: asTransferError(error, 'source-unreadable', 'Cannot look for files') }));
        if (next.done) more = false;
        else opening.push(openFound(next.value));
      }
      const opened = await opening.shift();
      if (opened) await this.admit(opened);
    }
    this.finished = true;
    this.notify();
  }

  /** Files come here in their order, so whatever this waits for is ahead of it and will be taken. */
  private async admit(opened: Opened): Promise<void> {
    const isLarge = !(opened instanceof TransferError) && opened.source.size > smallFile;
    while (this.prepared.length >= smallAhead || (isLarge && this.large >= this.options.largeAhead)) await this.change();
    if (isLarge) this.large++;
    const preparing = opened instanceof TransferError ? Promise.resolve(opened) : this.prepare(opened).catch((error: unknown) => asTransferError(error, 'source-unreadable', 'Cannot read').about(opened.name));
    this.prepared.push(
      preparing.then((outgoing) => {
        if (isLarge && outgoing instanceof TransferError) this.large--;
        return outgoing;
      }),
    );
    this.notify();
  }

  private async prepare({ source, name, md5, began }: OpenedFile): Promise<Outgoing> {
    const { size } = source;
    this.options.on({ event: 'started', file_name: name, file_size: size });
    try {
      if (size > smallFile) return { name, size, md5: md5 ?? (await this.digestLarge(source, name)), source, began };
      const content = new Uint8Array(size);
      if ((await source.read(content, 0)) !== size) throw source.changed();
      await source.checkUnchanged();
      await source.close();
      const digest = await createDigest('md5');
      digest.update(content);
      return { name, size, md5: digest.digest(), content, began };
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  private async digestLarge(source: OpenSource, name: EntryName): Promise<string> {
    const { cache, pool, on } = this.options;
    const { size, before } = source;
    const remembered = await cache.lookup(before, 'md5');
    if (remembered !== undefined) return remembered;
    const hashingBegan = Date.now();
    const meter = new Meter(on, name, 'hash', size);
    try {
      const reading = pool.digestFile({ fd: source.handle.fd, size, algorithms: ['md5'], onProgress: (done) => meter.update(done) });
      const { md5 = '' } = await reading.digests.catch(async (error: unknown) => {
        await source.checkUnchanged();
        throw unreadable(name, error);
      });
      await source.checkUnchanged();
      await cache.remember(before, 'md5', md5, hashingBegan);
      return md5;
    } finally {
      meter.stop();
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

type Opened = OpenedFile | TransferError;

async function openFound(found: Found): Promise<Opened> {
  if (found instanceof TransferError) return found;
  const began = performance.now();
  const { name } = found;
  try {
    if ('input' in found) return { ...(await spool(found.input, name)), name, began };
    return { source: await OpenSource.open(found), name, began };
  } catch (error) {
    return asTransferError(error, 'source-unreadable', 'Cannot open').about(name);
  }
}
