// The names of what becomes a snapshot: in memory until a manifest has them, and noted in the store from time to time,
// so that a backup that was broken off is gone on with.
import { randomBytes } from 'node:crypto';
import type { EntryName } from '../../name';
import { trace } from '../../trace';
import type { Bucket } from './bucket';
import type { GroundNames } from './ground';
import type { FoundRecord, Published } from './names';
import { type ContentPlace, encodeRecord, escapeName, type FileRecord, type NameRecord, parseRecord } from './records';

export const stagesPrefix = 'stages/';

/** Files are noted once there are so many of them, or bytes, or once the last note is so old, in ms. */
const notedTogether = 4096;
const notedBytes = 64 * 1024 * 1024;
const notedEvery = 30_000;

export class StagedNames implements GroundNames {
  private readonly records = new Map<string, NameRecord>();
  private pending: string[] = [];
  private pendingBytes = 0;
  private lastNote = performance.now();
  private noting: Promise<void> = Promise.resolve();

  private constructor(
    private readonly bucket: Bucket,
    /** Where the notes of this backup are. */
    private readonly below: string,
  ) {}

  /**
   * The names of the next snapshot of `backup` by this peer, with what an earlier try has stored and noted; but for
   * what `usable` says no to.
   */
  static async open(
    bucket: Bucket,
    { backup, peer }: { readonly backup: string; readonly peer: string },
    usable: (content: ContentPlace) => boolean,
  ): Promise<StagedNames> {
    const names = new StagedNames(bucket, `${stagesPrefix}${escapeName(peer)}/${escapeName(backup)}/`);
    for await (const { key } of bucket.list(names.below))
      for (const [name, record] of parseStageNote((await bucket.get(key))?.text ?? ''))
        if (record.content && usable(record.content)) names.records.set(name, record);
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
    if (record.type === 'file' && record.content) this.note(name, record);
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
    const isThere = this.records.get(name)?.type === 'directory';
    if (!isThere) this.records.set(name, record);
    return Promise.resolve(!isThere);
  }

  /** Notes what is not noted yet. */
  async settle(): Promise<void> {
    this.flush();
    await this.noting;
  }

  /** Removes the notes: a manifest has everything, or nobody will go on with it. */
  async forget(): Promise<void> {
    await this.noting;
    for await (const { key } of this.bucket.list(this.below)) await this.bucket.delete(key);
  }

  private note(name: string, record: FileRecord): void {
    this.pending.push(`${JSON.stringify(name)}\t${encodeRecord(record).toString()}`);
    this.pendingBytes += record.size;
    const isDue =
      this.pending.length >= notedTogether ||
      this.pendingBytes >= notedBytes ||
      performance.now() - this.lastNote >= notedEvery;
    if (isDue) this.flush();
  }

  private flush(): void {
    if (this.pending.length === 0) return;
    const text = this.pending.splice(0).join('');
    this.pendingBytes = 0;
    this.lastNote = performance.now();
    const key = `${this.below}${randomBytes(8).toString('hex')}`;
    this.noting = this.noting
      .then(async () => void (await this.bucket.put(key, Buffer.from(text))))
      .catch((error: unknown) => trace('what is staged is not noted, and would be sent again: %o', error));
  }
}

/** The files of a note; none of what is no note of ours. */
export function parseStageNote(text: string): [name: string, record: FileRecord][] {
  return text.split('\n').flatMap((line): [string, FileRecord][] => {
    const tab = line.indexOf('\t');
    if (tab === -1) return [];
    try {
      const name: unknown = JSON.parse(line.slice(0, tab));
      const record = parseRecord(line.slice(tab + 1), String(name));
      return typeof name === 'string' && record.type === 'file' ? [[name, record]] : [];
    } catch (error) {
      trace('a note of what is staged is not used: %o', error);
      return [];
    }
  });
}
