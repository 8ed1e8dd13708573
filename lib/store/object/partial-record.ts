import { isDigest } from '../../wire/fields';
import type { DigestName } from '../../wire/fields';
import { unfinishedName } from '../limited';
import type { Bucket } from './bucket';
import { escapeComponent } from './sigv4';

/** Where the records of unfinished files are. */
export const partialsPrefix = 'partials/';

/** A file that can be told from others when it is offered again. */
export interface ResumableFile {
  readonly peer: string;
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** In ns since 1970. */
  readonly mtime: bigint;
  readonly algorithm: DigestName;
}

/** The upload of such a file. */
export interface UploadRecord {
  /** Of the object that it becomes. */
  readonly key: string;
  readonly upload: string;
  /** In bytes. */
  readonly partSize: number;
}

/** Digests of the segments of one part, in their order. */
export type PartDigests = ReadonlyMap<number, readonly string[]>;

const readAtOnce = 16;

/**
 * What is known of an unfinished file, so that any receiver can go on with it: one object about its upload, and one for
 * each part that the store has, since a part cannot be read before its upload is completed. Methods reject with the
 * failures of `Bucket`; a record that cannot be read is as if it were not there.
 */
export class PartialRecord {
  private readonly prefix: string;

  constructor(
    private readonly bucket: Bucket,
    private readonly file: ResumableFile,
  ) {
    this.prefix = `${partialsPrefix}${escapeComponent(file.peer)}/${unfinishedName(file.peer, file.name)}/`;
  }

  /** The upload of exactly this file; undefined where there is none. */
  async find(): Promise<UploadRecord | undefined> {
    const found = await this.bucket.get(`${this.prefix}upload`);
    const { name, size, mtime, algorithm, key, upload, part_size: partSize } = parseObject(found?.text);
    const same =
      name === this.file.name &&
      size === this.file.size &&
      mtime === this.file.mtime.toString() &&
      algorithm === this.file.algorithm;
    if (!same || typeof key !== 'string' || typeof upload !== 'string' || !Number.isSafeInteger(partSize))
      return undefined;
    return { key, upload, partSize: partSize as number };
  }

  async begin({ key, upload, partSize }: UploadRecord): Promise<void> {
    const { name, size, mtime, algorithm } = this.file;
    const record = { name, size, mtime: mtime.toString(), algorithm, key, upload, part_size: partSize };
    await this.bucket.put(`${this.prefix}upload`, Buffer.from(JSON.stringify(record)));
  }

  /** The store has this part. */
  async add({ key }: Pick<UploadRecord, 'key'>, number: number, digests: readonly string[]): Promise<void> {
    await this.bucket.put(this.partKey(key, number), Buffer.from(JSON.stringify(digests)));
  }

  /** The digests of those parts of an upload that are recorded. */
  async parts({ key }: Pick<UploadRecord, 'key'>): Promise<PartDigests> {
    const found = new Map<number, readonly string[]>();
    const keys: string[] = [];
    const read = async (each: string): Promise<void> => {
      const digests = parseArray((await this.bucket.get(each))?.text);
      if (digests.every((digest) => isDigest(digest, this.file.algorithm)))
        found.set(Number(each.slice(each.lastIndexOf('/') + 1)), digests);
    };
    for await (const { key: each } of this.bucket.list(this.partKey(key, undefined))) keys.push(each);
    for (let at = 0; at < keys.length; at += readAtOnce) await Promise.all(keys.slice(at, at + readAtOnce).map(read));
    return found;
  }

  /** Removes all of it. */
  async forget(): Promise<void> {
    for await (const { key } of this.bucket.list(this.prefix)) await this.bucket.delete(key);
  }

  private partKey(key: string, number: number | undefined): string {
    const upload = key.slice(key.lastIndexOf('/') + 1);
    return `${this.prefix}${upload}/${number === undefined ? '' : String(number).padStart(5, '0')}`;
  }
}

/** The key of the object that an upload becomes, by its record; undefined where that cannot be read: nobody goes on. */
export function keyOfUpload(text: string | undefined): string | undefined {
  const { key } = parseObject(text);
  return typeof key === 'string' ? key : undefined;
}

function parseObject(text: string | undefined): Readonly<Record<string, unknown>> {
  const found = parse(text);
  return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
}

function parseArray(text: string | undefined): unknown[] {
  const found = parse(text);
  return Array.isArray(found) ? found : [null];
}

function parse(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // whoever wrote that was not us: it is as if it were not there
  }
}
