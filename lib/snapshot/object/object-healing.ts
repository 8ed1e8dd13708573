// Puts bytes back into objects that should have them and do not: the same bytes into the same object, so that every
// snapshot that has them is whole again.
import { createDigest } from '../../digest/digest';
import { TransferError } from '../../errors';
import type { Digests } from '../../progress';
import { type Bucket, partSizeFor, type UploadedPart } from '../../store/object/bucket';
import { digestContent } from '../../store/object/contents';
import { objectError } from '../../store/object/requests';
import type { ContentLocation } from '../../store/object/records';
import { ignored } from '../../trace';

/** Bytes that are to be where a manifest says they are. */
export interface LostContent {
  readonly content: ContentLocation;
  readonly size: number;
  readonly algorithm: keyof Digests;
  readonly digest: string;
}

/** Fills `memory` with the bytes from `at` on of what may be that content. False where there are fewer. */
export type ContentReader = (memory: Buffer, at: number) => Promise<boolean>;

export interface HealingOptions<Lost extends LostContent> {
  /** What may be a content, each to be used before the next one is asked for. */
  readonly sources: (lost: Lost) => AsyncIterable<ContentReader>;
  /** Whether the store carries out a PUT only if nobody has put another version: then no other repair is undone. */
  readonly conditional: boolean;
}

/** Larger objects have one file each. */
const largestPack = 64 * 1024 * 1024;
/** Most attempts: each fails where another repair of the same object was faster. */
const mostAttempts = 10;

/** The contents of each object. */
export function byObject<Lost extends LostContent>(lost: readonly Lost[]): ReadonlyMap<string, Lost[]> {
  const objects = new Map<string, Lost[]>();
  for (const each of lost) {
    const known = objects.get(each.content.key);
    if (known) known.push(each);
    else objects.set(each.content.key, [each]);
  }
  return objects;
}

/**
 * Puts what is lost of the object at `key`, as far as a source has it; what is whole in it stays. Resolves with how
 * many bytes were put: 0 where no source has any. Rejects with `disk`.
 */
export async function healObject<Lost extends LostContent>(
  bucket: Bucket,
  key: string,
  contents: readonly Lost[],
  options: HealingOptions<Lost>,
): Promise<number> {
  const [first] = contents;
  if (first && contents.length === 1 && first.size > partSizeFor(first.size))
    return putWhole(bucket, key, first, options);
  for (let attempt = 0; attempt < mostAttempts; attempt++) {
    const put = await putPatched(bucket, key, contents, options);
    if (put !== undefined) return put;
  }
  throw new TransferError('disk', 'Others change the same object again and again.');
}

/** Whether a content reads back as it should. */
export async function readsRight(bucket: Bucket, { content, size, algorithm, digest }: LostContent): Promise<boolean> {
  try {
    return (await digestContent(bucket, { size, content }, algorithm)) === digest;
  } catch (error) {
    const failure = objectError(error, 'What was repaired cannot be read back');
    if (failure.code !== 'mismatch') throw failure;
    return false;
  }
}

/** The files of a pack, among those that are whole. Undefined where somebody has put another version meanwhile. */
async function putPatched<Lost extends LostContent>(
  bucket: Bucket,
  key: string,
  contents: readonly Lost[],
  { sources, conditional }: HealingOptions<Lost>,
): Promise<number | undefined> {
  const stored = await bucket.look(key);
  const had = stored?.size ?? 0;
  const length = Math.max(had, ...contents.map(({ content, size }) => content.offset + size));
  if (length > largestPack) return 0;
  const memory = Buffer.alloc(length);
  await readWhole(bucket, key, memory, had);
  const again = Buffer.alloc(length);
  await readWhole(bucket, key, again, had);
  // What is whole in it goes back as it is: nothing is to be read wrong on the way.
  if (!memory.equals(again)) throw new TransferError('disk', 'The object store reads differently each time.');
  let found = 0;
  for (const lost of contents) {
    const bytes = memory.subarray(lost.content.offset, lost.content.offset + lost.size);
    const before = Buffer.from(bytes);
    const isFound = await useSource(sources(lost), (read) =>
      isDigestOf(lost, read, (part, at) => void bytes.set(part, at)),
    );
    if (isFound) found++;
    else bytes.set(before);
  }
  if (found === 0) return 0;
  const condition = !conditional ? 'always' : stored ? { etag: stored.etag } : 'free';
  return (await bucket.put(key, memory, condition)) === undefined ? undefined : length;
}

/** An object that is one file. Nothing is there before all of it is known to be what it should be. */
async function putWhole<Lost extends LostContent>(
  bucket: Bucket,
  key: string,
  lost: Lost,
  { sources }: HealingOptions<Lost>,
): Promise<number> {
  const done = await useSource(sources(lost), async (read) => {
    const upload = await bucket.beginUpload(key);
    try {
      const parts: UploadedPart[] = [];
      const isSame = await isDigestOf(
        lost,
        read,
        async (part) => void parts.push(await bucket.putPart(key, upload, parts.length + 1, part)),
      );
      if (!isSame) await bucket.abortUpload(key, upload);
      else await bucket.completeUpload(key, upload, parts, lost.size);
      return isSame;
    } catch (error) {
      await bucket.abortUpload(key, upload).catch(ignored('the lifecycle rule of the bucket removes it'));
      throw error;
    }
  });
  return done ? lost.size : 0;
}

/** Uses one source after another until one does. Resolves with whether one did. */
async function useSource(
  sources: AsyncIterable<ContentReader>,
  use: (read: ContentReader) => Promise<boolean>,
): Promise<boolean> {
  for await (const read of sources) if (await use(read)) return true;
  return false;
}

/** Reads all of it, part by part, and whether it is the content. */
async function isDigestOf(
  { size, algorithm, digest }: LostContent,
  read: ContentReader,
  take: (part: Uint8Array, at: number) => void | Promise<void>,
): Promise<boolean> {
  const length = partSizeFor(size);
  const whole = await createDigest(algorithm);
  for (let at = 0; at < size; at += length) {
    const memory = Buffer.alloc(Math.min(length, size - at));
    if (!(await read(memory, at))) return false;
    whole.update(memory);
    await take(memory, at);
  }
  return whole.digest() === digest;
}

/** As far as it is there. */
async function readWhole(bucket: Bucket, key: string, memory: Buffer, size: number): Promise<void> {
  if (size > 0) await bucket.readInto(key, 0, memory.subarray(0, size));
}
