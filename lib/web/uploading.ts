// What the page of a receiver can ask for: files in slices, many small ones at once, and what the receiver is.
import type { ServerResponse } from 'node:http';
import { TransferError } from '../errors';
import { Turns } from '../receive/turns';
import { type Upload, usualSlice } from '../receive/upload';
import type { SmallUpload } from '../receive/small-uploads';
import type { UploadOffer } from '../receive/upload-visit';
import type { Uploads } from '../receive/uploads';
import type { FileDone } from '../progress';
import { isDigest, optionalTextUnder, sizeUnder, textUnder, wrong } from '../wire/fields';
import { parseList } from '../wire/json-list';
import { type JsonObject, ownValue, parseJsonObject } from '../wire/json-object';
import { smallFile } from '../wire/segment';
import { answer, answerFailure, answerJson, refusalOf, statusOf } from './answer';
import { lengthOf, RequestBody, wholeBody } from './request-body';
import { unhurried } from './unhurried';
import type { WebRequest } from './web-request';

/** Slices on their way, each with a piece in memory, and those that wait for a turn. */
const mostSlices = 24;
const slicesWaiting = 256;
/** A batch is in memory as a whole. */
const mostBatches = 4;
const batchesWaiting = 64;
/** Of one batch: files, and bytes of their contents. */
const batchFiles = 512;
const batchBytes = 4 * 1024 * 1024;
const longestBatchList = 1024 * 1024;
/** Window in ms for a turn, and for a whole batch. */
const patience = 30_000;
const batchWithin = 60_000;
const longestRequest = 64 * 1024;

/** Carries out what the page wants with uploads; `api/uploads…` and `api/batch`. */
export class Uploading {
  private readonly slices = new Turns(mostSlices, slicesWaiting, patience, 'Too many slices come at this moment.');
  private readonly batches = new Turns(mostBatches, batchesWaiting, patience, 'Too many batches come at this moment.');

  constructor(private readonly uploads: Uploads) {}

  /** What a page has to know to upload. */
  static readonly sizes = {
    segment_size: usualSlice,
    small_size: smallFile,
    batch_bytes: batchBytes,
    batch_files: batchFiles,
    uploads_at_once: 3,
  } as const;

  /** POST api/uploads */
  async begin({ request, response }: WebRequest): Promise<void> {
    const object = parseJsonObject(await wholeBody(request, longestRequest));
    const begun = await this.uploads.begin({
      ...offerUnder(object, Number.MAX_SAFE_INTEGER),
      page: optionalTextUnder(object, 'page') ?? '',
      blake3: ownValue(object, 'blake3') === undefined ? undefined : digestUnder(object),
    });
    switch (begun.begin) {
      case 'open': {
        const { upload } = begun;
        answerJson(response, 200, { id: upload.id, segment_size: upload.sliceSize, held: upload.held() });
        break;
      }
      case 'stored':
        answerJson(response, 200, { receipt: receiptOf(begun.done) });
        break;
      case 'digest needed':
        answerJson(response, 409, {
          code: 'exists',
          message: 'A file of that name and size is there already.',
          hint: 'Say its BLAKE3, which tells whether it is the same.',
          digest_needed: true,
        });
        break;
      case 'busy':
        answerJson(response, 409, { code: 'busy', message: 'Another page is uploading a file of that name.' });
        break;
    }
  }

  /** PUT api/uploads/ID/N */
  async slice({ request, response }: WebRequest, id: string, slice: number): Promise<void> {
    const upload = this.find(id);
    if (!upload) return answerUnknown(response);
    const length = upload.lengthOf(slice);
    if (lengthOf(request) !== length)
      throw new TransferError('bad-header', `The slice ${String(slice)} has ${String(length)} bytes.`, { hint: '' });
    await this.slices.take(async () => {
      const body = new RequestBody(request);
      try {
        await upload.take(slice, body);
      } finally {
        body.release();
      }
    });
    answer(response, 204);
  }

  /** POST api/uploads/ID/close */
  async close({ request, response }: WebRequest, id: string): Promise<void> {
    const upload = this.find(id);
    if (!upload) return answerUnknown(response);
    const digest = digestUnder(parseJsonObject(await wholeBody(request, longestRequest)));
    if (!upload.isWhole && upload.isOpen) {
      const message = 'Slices of this file lack.';
      return answerJson(response, 409, { code: 'incomplete', message, held: upload.held() });
    }
    // What is held of a large file may be read back for minutes.
    const end = await unhurried(request, () => upload.close(digest));
    if (end instanceof TransferError) answerFailure(response, end);
    else answerJson(response, 200, receiptOf(end));
  }

  /** DELETE api/uploads/ID */
  async end({ response, query }: WebRequest, id: string): Promise<void> {
    const upload = this.find(id);
    if (!upload) return answerUnknown(response);
    if (query.get('discard') === '1') upload.discard();
    else await upload.suspend();
    answer(response, 204);
  }

  /** POST api/batch */
  async batch({ request, response }: WebRequest): Promise<void> {
    const results = await this.batches.take(async () => {
      const body = await wholeBody(request, 4 + longestBatchList + batchBytes, batchWithin);
      const { files, content } = parseBatch(body);
      return this.uploads.store(files, content);
    });
    answerJson(response, 200, {
      results: results.map((end) =>
        end instanceof TransferError
          ? { name: end.fileName, status: statusOf(end.code), ...refusalOf(end) }
          : receiptOf(end),
      ),
    });
  }

  private find(id: string): Upload | undefined {
    return this.uploads.find(id);
  }
}

function answerUnknown(response: ServerResponse): void {
  answerJson(response, 404, {
    code: 'no_upload',
    message: 'There is no such upload here, or not any more.',
    hint: 'Begin it again.',
  });
}

/** A file that is stored, in the words of a receipt. */
function receiptOf({ file_name, file_size, digests, verified, path, seconds, verified_at }: FileDone): object {
  return { name: file_name, size: file_size, digests, verified, path, seconds, verified_at };
}

/** `uint32le n`, n bytes of JSON, then the contents one after another. Throws `bad-header`. */
function parseBatch(body: Buffer): { readonly files: SmallUpload[]; readonly content: Uint8Array } {
  const length = body.length < 4 ? 0 : body.readUInt32LE(0);
  if (length > longestBatchList || 4 + length > body.length || length === 0)
    throw new TransferError('bad-header', 'The list of a batch is not as long as it says.', { hint: '' });
  const list = parseList(body.subarray(4, 4 + length));
  if (list.length > batchFiles) throw new TransferError('bad-header', 'A batch has too many files.', { hint: '' });
  const files = list.map((element) => {
    if (typeof element !== 'object' || element === null || Array.isArray(element))
      throw wrong('list', 'objects', element);
    const file = element as JsonObject;
    return { ...offerUnder(file, smallFile), blake3: digestUnder(file) };
  });
  const content = body.subarray(4 + length);
  if (files.reduce((sum, { size }) => sum + size, 0) !== content.length)
    throw new TransferError('bad-header', 'The files of a batch are not as long as it says.', { hint: '' });
  return { files, content };
}

function offerUnder(object: JsonObject, most: number): UploadOffer {
  const mtime = ownValue(object, 'mtime');
  if (typeof mtime !== 'number' || !Number.isFinite(mtime) || Math.abs(mtime) > 8.64e15)
    throw wrong('mtime', 'milliseconds since 1970', mtime);
  const ns = BigInt(Math.trunc(mtime)) * 1_000_000n;
  return {
    name: textUnder(object, 'name'),
    size: sizeUnder(object, 'size', most),
    // What 64 bits hold.
    mtime: BigInt.asIntN(64, ns) === ns ? ns : 0n,
  };
}

function digestUnder(object: JsonObject): string {
  const digest = ownValue(object, 'blake3');
  if (!isDigest(digest, 'blake3')) throw wrong('blake3', 'lower-case hexadecimal digits', digest);
  return digest;
}
