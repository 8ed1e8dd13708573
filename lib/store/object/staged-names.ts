import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { EntryName } from '../../name';
import { trace } from '../../trace';
import type { Bucket, ListedObject } from './bucket';
import type { GroundNames } from './ground';
import type { FoundRecord, Published } from './names';
import type { Digests } from '../../progress';
import { parseJsonObject } from '../../wire/json-object';
import { type Metadata, metadataKeys } from '../../wire/metadata';
import {
  type ContentLocation,
  escapeName,
  type FileRecord,
  type NameRecord,
  type ObjectVerified,
  parseRecord,
} from './records';

export const stagesPrefix = 'stages/';

/** A note is written for this many files, or bytes, or ms after the last one. */
const notedTogether = 32_768;
const notedBytes = 64 * 1024 * 1024;
const notedEvery = 30_000;
/** Lines in one turn of the event loop. */
const linesAtOnce = 2_048;
const noteVersion = 2;
/** Nobody else can give these names. */
export const stagedId = 'staged';

/** As whom a backup stores: what is unfinished of it is gone on with by the next one of the same name alone. */
export function stagedPeer({ peer, backup }: Pick<StagedUse, 'peer' | 'backup'>): string {
  return `${peer} backup ${backup}`;
}

/** A file that is staged, as a manifest will have it. */
export interface NotedFile {
  /** In bytes. */
  readonly size: number;
  readonly mode?: number | undefined;
  /** In ns since 1970. */
  readonly mtime?: bigint | undefined;
  readonly digests: Digests;
  readonly metadata?: Metadata | undefined;
  readonly content?: ContentLocation | undefined;
}

interface PendingNote {
  readonly name: string;
  readonly file: NotedFile;
  readonly ctime: bigint | undefined;
}

/** Whose names they are, and what they will be. */
export interface StagedUse {
  readonly backup: string;
  readonly peer: string;
  /** How far what is noted was verified. */
  readonly verified: ObjectVerified;
}

/**
 * The names of what becomes a snapshot: in memory until a manifest has them, and noted in the store from time to time,
 * so that an interrupted backup can go on. A note that cannot be written is no failure: its files would be sent again.
 */
export class StagedNames implements GroundNames {
  private readonly records = new Map<string, NameRecord>();
  private pending: PendingNote[] = [];
  private pendingBytes = 0;
  private lastNote = performance.now();
  /** The keys of notes of earlier tries that were gone on with, and of those that were written here. */
  private readonly notes = { earlier: new Set<string>(), own: new Set<string>() };
  private noting: Promise<void> = Promise.resolve();

  private constructor(
    private readonly bucket: Bucket,
    private readonly use: StagedUse,
  ) {}

  /**
   * The names of the next snapshot of `backup` by this peer, with what an earlier try has stored and noted; but for
   * what `usable` says no to.
   */
  static async open(
    bucket: Bucket,
    use: StagedUse,
    usable: (content: ContentLocation) => boolean,
  ): Promise<StagedNames> {
    const names = new StagedNames(bucket, use);
    for await (const { key, size } of names.listed()) {
      names.notes.earlier.add(key);
      for (const [name, record] of parseStageNote(await bucket.text(key, size)))
        if (record.content && usable(record.content)) names.records.set(name, record);
    }
    return names;
  }

  /** The file that was stored under a name; undefined where there is none. */
  file(name: string): FileRecord | undefined {
    const record = this.records.get(name);
    return record?.type === 'file' ? record : undefined;
  }

  look(name: string): Promise<FoundRecord | undefined> {
    const record = this.records.get(name);
    return Promise.resolve(record && { record, etag: '' });
  }

  publish(name: EntryName, record: NameRecord): Promise<Published> {
    this.records.set(name, record);
    if (record.type === 'file' && record.content) this.note(name, record, record.ctime);
    return Promise.resolve({ path: name, outcome: 'stored', record });
  }

  /** Takes what needs no note: it is in an earlier snapshot. */
  write(name: string, record: NameRecord): Promise<void> {
    this.records.set(name, record);
    return Promise.resolve();
  }

  writeOver(name: string, record: NameRecord): Promise<boolean> {
    this.records.set(name, record);
    return Promise.resolve(true);
  }

  makeDirectory(name: EntryName, record: NameRecord): Promise<boolean> {
    const isPresent = this.records.get(name)?.type === 'directory';
    if (!isPresent) this.records.set(name, record);
    return Promise.resolve(!isPresent);
  }

  /** Notes what is not noted yet. */
  async settle(): Promise<void> {
    this.flush();
    await this.noting;
  }

  /**
   * Removes the notes: a manifest has everything, or nobody will go on with it. Another backup of the same name that is
   * under way keeps its own, and those that were there before: they may be its own, too.
   */
  async forget(): Promise<void> {
    await this.noting;
    const { own, earlier } = this.notes;
    let others = false;
    for await (const { key } of this.listed()) others ||= !own.has(key) && !earlier.has(key);
    for (const key of [...own, ...(others ? [] : earlier)]) await this.bucket.delete(key);
  }

  /**
   * Notes a file that is stored, for a next try; nothing else is kept of it here. `ctime`: when the source was changed
   * in any way, in ns since 1970.
   */
  note(name: string, file: NotedFile, ctime: bigint | undefined): void {
    this.pending.push({ name, file, ctime });
    this.pendingBytes += file.size;
    const isDue =
      this.pending.length >= notedTogether ||
      this.pendingBytes >= notedBytes ||
      performance.now() - this.lastNote >= notedEvery;
    if (isDue) this.flush();
  }

  /** Where the notes of this backup are. */
  private get below(): string {
    return `${stagesPrefix}${escapeName(this.use.peer)}/${escapeName(this.use.backup)}/`;
  }

  /** Those that are there; what lies deeper is noted by others. */
  private async *listed(): AsyncGenerator<ListedObject> {
    for await (const each of this.bucket.list(this.below)) if (!each.key.includes('/', this.below.length)) yield each;
  }

  private flush(): void {
    if (this.pending.length === 0) return;
    const head = {
      sendall: 'stage',
      version: noteVersion,
      peer: stagedPeer(this.use),
      verified: this.use.verified,
      verified_at: new Date().toISOString(),
    };
    const { pending } = this;
    this.pending = [];
    this.pendingBytes = 0;
    this.lastNote = performance.now();
    const key = `${this.below}${randomBytes(8).toString('hex')}`;
    this.notes.own.add(key);
    this.noting = this.noting
      .then(async () => void (await this.bucket.put(key, await noteOf(head, pending))))
      .catch((error: unknown) => trace('what is staged is not noted, and would be sent again: %o', error));
  }
}

/** What `parseStageNote` reads. */
async function noteOf(head: object, pending: readonly PendingNote[]): Promise<Buffer> {
  const texts = [Buffer.from(`${JSON.stringify(head)}\n`)];
  for (let at = 0; at < pending.length; at += linesAtOnce) {
    if (at > 0) await turn();
    texts.push(
      Buffer.from(
        pending
          .slice(at, at + linesAtOnce)
          .map(lineOf)
          .join(''),
      ),
    );
  }
  return Buffer.concat(texts);
}

function lineOf({ name, file, ctime }: PendingNote): string {
  const { size, mode, mtime, digests, metadata, content } = file;
  const line = {
    name,
    size,
    mode,
    mtime: mtime?.toString(),
    ctime: ctime?.toString(),
    digests,
    content: content?.key,
    offset: content?.offset,
    ...metadataKeys(metadata),
  };
  return `${JSON.stringify(line)}\n`;
}

/** The files of a note; none of what is no note of ours. */
export function parseStageNote(text: string): [name: string, record: FileRecord][] {
  const [first = '', ...lines] = text.split('\n');
  try {
    const { sendall, version, ...common } = parseJsonObject(Buffer.from(first));
    if (sendall !== 'stage' || version !== noteVersion) return [];
    return lines.flatMap((line): [string, FileRecord][] => {
      if (line === '') return [];
      const { name, ...file } = parseJsonObject(Buffer.from(line));
      const record = parseRecord(JSON.stringify({ type: 'file', id: stagedId, ...common, ...file }), String(name));
      return typeof name === 'string' && record.type === 'file' ? [[name, record]] : [];
    });
  } catch (error) {
    trace('a note of what is staged is not used: %o', error);
    return [];
  }
}
