// What is asked of a bucket: objects below one prefix, with conditions, and uploads in parts.
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TransferError } from '../../errors';
import { trace } from '../../trace';
import { usualPartSize } from './part-memory';
import { ObjectFailure, type BucketLocation, ObjectRequests, type RequestDeadlines } from './requests';
import { elementsIn, escapeXml, textIn } from './xml';

/** An object as a listing shows it. */
export interface ListedObject {
  /** Without the prefix of the store. */
  readonly key: string;
  /** In bytes. */
  readonly size: number;
  /** By the store's clock, in ms since 1970. */
  readonly modified: number;
}

/** An object that is small enough to be taken at once, and which version of it that was. */
export interface SmallObject {
  readonly text: string;
  readonly etag: string;
}

/** An object has no more parts than this. */
export const mostParts = 10_000;

/** How long the parts are, in bytes, of an object that is put by one process from its beginning to its end. */
export function partSizeFor(size: number): number {
  return Math.max(usualPartSize, Math.ceil(size / mostParts));
}

/** A part of an upload that the store has. */
export interface UploadedPart {
  /** From 1 on. */
  readonly number: number;
  readonly size: number;
  readonly etag: string;
}

/** When a PUT is carried out at all. */
export type PutCondition = 'always' | 'free' | { readonly etag: string };

/** Hashed at once, in bytes: some ms. */
const hashedAtOnce = 8 * 1024 * 1024;
/** Most times that reading goes on where an answer broke off. */
const mostBreaks = 5;

/** The objects of one bucket whose keys begin with `prefix`, which is empty or ends in a slash. */
export class Bucket {
  private readonly requests: ObjectRequests;
  /** It takes nothing without a checksum, as S3 where objects are locked. */
  private demandsSums = false;

  constructor(
    location: BucketLocation,
    readonly prefix: string,
    deadlines?: RequestDeadlines,
  ) {
    this.requests = new ObjectRequests(location, deadlines);
  }

  /**
   * Stores an object. Resolves with its version; undefined where the condition does not hold. `summed`: with a
   * checksum, which whoever reads all of it back can do without.
   */
  async put(
    key: string,
    body: Uint8Array,
    condition: PutCondition = 'always',
    summed = true,
  ): Promise<string | undefined> {
    if (!summed && !this.demandsSums) {
      try {
        return await this.putWith(key, body, undefined, condition);
      } catch (error) {
        if (!(error instanceof ObjectFailure) || error.status !== 400) throw error;
        trace('%s is put with a checksum: %o', key, error);
        this.demandsSums = true;
      }
    }
    return this.putWith(key, body, await contentMd5(body), condition);
  }

  /** The same with this checksum, whatever the bytes are; undefined for none. */
  async putWith(
    key: string,
    body: Uint8Array,
    md5: string | undefined,
    condition: PutCondition = 'always',
  ): Promise<string | undefined> {
    const headers = {
      ...(md5 === undefined ? {} : { 'content-md5': md5 }),
      ...(condition === 'free' ? { 'if-none-match': '*' } : {}),
      ...(typeof condition === 'object' ? { 'if-match': condition.etag } : {}),
    };
    const takes = condition === 'always' ? [] : condition === 'free' ? [412] : [412, 404];
    const { status, headers: answered } = await this.requests.send({
      method: 'PUT',
      key: this.prefix + key,
      headers,
      body,
      takes,
    });
    return status >= 300 ? undefined : (answered.etag ?? '');
  }

  /** A small object; undefined where there is none. */
  async get(key: string): Promise<SmallObject | undefined> {
    const { status, headers, text } = await this.requests.send({ method: 'GET', key: this.prefix + key, takes: [404] });
    return status === 404 ? undefined : { text, etag: headers.etag ?? '' };
  }

  /** An object of `size` bytes as text; empty where it is gone by now. */
  async text(key: string, size: number): Promise<string> {
    const read: Buffer[] = [];
    try {
      await this.read(key, 0, size, (bytes) => read.push(bytes));
    } catch (error) {
      if (error instanceof TransferError && error.code === 'mismatch') return '';
      throw error;
    }
    return Buffer.concat(read).toString();
  }

  /** How many bytes an object has, and which version it is; undefined where there is none. */
  async look(key: string): Promise<{ readonly size: number; readonly etag: string } | undefined> {
    const { status, headers } = await this.requests.send({ method: 'HEAD', key: this.prefix + key, takes: [404] });
    return status === 404 ? undefined : { size: Number(headers['content-length'] ?? NaN), etag: headers.etag ?? '' };
  }

  /** How many bytes an object has; undefined where there is none. */
  async sizeOf(key: string): Promise<number | undefined> {
    return (await this.look(key))?.size;
  }

  /** As `read`, as many bytes as `memory` has. */
  async readInto(key: string, offset: number, memory: Buffer): Promise<void> {
    let at = 0;
    await this.read(key, offset, memory.length, (bytes) => {
      memory.set(bytes, at);
      at += bytes.length;
    });
  }

  /**
   * Reads `length` bytes from `offset` on, in order; goes on where an answer breaks off. Rejects with `mismatch` where
   * the object has fewer.
   */
  async read(key: string, offset: number, length: number, take: (bytes: Buffer) => void): Promise<void> {
    let done = 0;
    for (let breaks = 0; done < length; breaks++) {
      try {
        await this.requests.send({
          method: 'GET',
          key: this.prefix + key,
          headers: { range: `bytes=${String(offset + done)}-${String(offset + length - 1)}` },
          take: (bytes) => {
            const wanted = bytes.subarray(0, length - done);
            done += wanted.length;
            take(wanted);
          },
        });
      } catch (error) {
        if (error instanceof ObjectFailure && (error.status === 404 || error.status === 416))
          throw new TransferError('mismatch', 'The object store does not have what it took.', { cause: error });
        if (error instanceof ObjectFailure || breaks >= mostBreaks) throw error;
        if (error instanceof TransferError && error.code !== 'timeout' && error.code !== 'disk') throw error;
      }
      if (done < length && breaks >= mostBreaks)
        throw new TransferError('mismatch', 'The object store gave back fewer bytes than it took.');
    }
  }

  async delete(key: string): Promise<void> {
    await this.requests.send({ method: 'DELETE', key: this.prefix + key, takes: [404] });
  }

  /** The objects whose keys begin with `below`, in the order of their keys. */
  async *list(below: string, after?: string): AsyncGenerator<ListedObject> {
    let token: string | undefined;
    do {
      const { text } = await this.requests.send({
        method: 'GET',
        query: {
          'list-type': '2',
          'encoding-type': 'url',
          prefix: this.prefix + below,
          ...(token === undefined ? {} : { 'continuation-token': token }),
          ...(after === undefined ? {} : { 'start-after': this.prefix + after }),
        },
      });
      for (const element of elementsIn(text, 'Contents')) {
        const key = decodeURIComponent((textIn(element, 'Key') ?? '').replaceAll('+', '%20'));
        if (key.startsWith(this.prefix))
          yield {
            key: key.slice(this.prefix.length),
            size: Number(textIn(element, 'Size')),
            modified: Date.parse(textIn(element, 'LastModified') ?? ''),
          };
      }
      token = textIn(text, 'IsTruncated') === 'true' ? textIn(text, 'NextContinuationToken') : undefined;
    } while (token !== undefined);
  }

  /** Begins an upload in parts; nothing is at `key` until it is completed. Resolves with its id. */
  async beginUpload(key: string): Promise<string> {
    const { text } = await this.requests.send({ method: 'POST', key: this.prefix + key, query: { uploads: '' } });
    const id = textIn(text, 'UploadId');
    if (id === undefined) throw new TransferError('disk', 'The object store began no upload.');
    return id;
  }

  async putPart(key: string, upload: string, number: number, body: Uint8Array): Promise<UploadedPart> {
    const { headers } = await this.requests.send({
      method: 'PUT',
      key: this.prefix + key,
      query: { partNumber: String(number), uploadId: upload },
      headers: { 'content-md5': await contentMd5(body) },
      body,
    });
    return { number, size: body.length, etag: headers.etag ?? '' };
  }

  /** The parts that the store has of an upload; undefined where there is no such upload. */
  async partsOf(key: string, upload: string): Promise<UploadedPart[] | undefined> {
    const parts: UploadedPart[] = [];
    for (let after: string | undefined = '0'; after !== undefined;) {
      const { status, text } = await this.requests.send({
        method: 'GET',
        key: this.prefix + key,
        query: { uploadId: upload, 'part-number-marker': after },
        takes: [404],
      });
      if (status === 404) return undefined;
      for (const part of elementsIn(text, 'Part'))
        parts.push({
          number: Number(textIn(part, 'PartNumber')),
          size: Number(textIn(part, 'Size')),
          etag: textIn(part, 'ETag') ?? '',
        });
      after = textIn(text, 'IsTruncated') === 'true' ? textIn(text, 'NextPartNumberMarker') : undefined;
    }
    return parts;
  }

  /** Makes one object of `size` bytes of the parts, in their order. */
  async completeUpload(key: string, upload: string, parts: readonly UploadedPart[], size: number): Promise<void> {
    const list = parts
      .map(
        ({ number, etag }) => `<Part><PartNumber>${String(number)}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
      )
      .join('');
    const { status } = await this.requests.send({
      method: 'POST',
      key: this.prefix + key,
      query: { uploadId: upload },
      headers: { 'content-type': 'application/xml' },
      body: Buffer.from(`<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`),
      takes: [404],
    });
    // The answer to an earlier attempt may be lost.
    if (status === 404 && (await this.sizeOf(key)) !== size)
      throw new TransferError('disk', 'The object store has lost an upload.');
  }

  async abortUpload(key: string, upload: string): Promise<void> {
    await this.requests.send({ method: 'DELETE', key: this.prefix + key, query: { uploadId: upload }, takes: [404] });
  }

  /** The uploads that were begun and not ended below the prefix. */
  async uploads(): Promise<{ readonly key: string; readonly upload: string; readonly begun: number }[]> {
    const found = [];
    for (let at: Record<string, string> | undefined = {}; at !== undefined;) {
      const { text } = await this.requests.send({
        method: 'GET',
        query: { uploads: '', prefix: this.prefix, ...at },
      });
      for (const element of elementsIn(text, 'Upload'))
        found.push({
          key: (textIn(element, 'Key') ?? '').slice(this.prefix.length),
          upload: textIn(element, 'UploadId') ?? '',
          begun: Date.parse(textIn(element, 'Initiated') ?? ''),
        });
      at =
        textIn(text, 'IsTruncated') === 'true'
          ? {
              'key-marker': textIn(text, 'NextKeyMarker') ?? '',
              'upload-id-marker': textIn(text, 'NextUploadIdMarker') ?? '',
            }
          : undefined;
    }
    return found;
  }

  /** What time it is by the store's clock, in ms since 1970; undefined before it has said so. */
  get storeTime(): number | undefined {
    return this.requests.storeTime;
  }

  close(): void {
    this.requests.close();
  }
}

/** MD5 of a body as `content-md5` has it; in turns, so that nothing else waits for long. */
async function contentMd5(body: Uint8Array): Promise<string> {
  const hash = createHash('md5');
  for (let at = 0; at < body.length; at += hashedAtOnce) {
    if (at > 0) await nextTurn();
    hash.update(body.subarray(at, at + hashedAtOnce));
  }
  return hash.digest('base64');
}
