// Brings what is damaged in an object store from the files that it was made of: the same bytes into the same object, so
// that every snapshot that has them is whole again.
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { createDigest } from '../../digest/digest';
import { TransferError } from '../../errors';
import type { Damage, Digests, Listener } from '../../progress';
import { type Bucket, partSizeFor, type UploadedPart } from '../../store/object/bucket';
import { digestContent } from '../../store/object/contents';
import { objectError } from '../../store/object/requests';
import type { ContentPlace } from '../../store/object/records';
import { ignored, trace } from '../../trace';
import { openLocated } from '../../threads/walker';
import { damagedEntries, type DamagedEntry } from '../repair/damaged-entries';
import { locateSources } from '../repair/source-places';
import type { ObjectCatalog } from './object-catalog';
import { type ObjectVerifyOptions, verifyObjects } from './object-verify';

export interface ObjectRepairOptions extends ObjectVerifyOptions {
  /** The files and directories of this machine that were backed up. */
  readonly sources: readonly string[];
}

/** What became of damage. */
export interface RepairedObjects {
  readonly damages: readonly Damage[];
  /** Those of them that are none any more. */
  readonly repaired: readonly Damage[];
  /** What was put, in bytes. */
  readonly bytes: number;
}

/** Bytes that are to be where a manifest says they are. */
interface LostContent {
  readonly content: ContentPlace;
  readonly size: number;
  readonly algorithm: keyof Digests;
  readonly digest: string;
  readonly damaged: DamagedEntry[];
}

/** Larger objects have one file each. */
const largestPack = 64 * 1024 * 1024;

/**
 * Verifies, and brings what is damaged. Told are `damaged`, then `repaired`. Rejects with `usage` where content is
 * damaged and there is no source, and as `verifyObjects` does, but for damage.
 */
export async function repairObjects(catalog: ObjectCatalog, options: ObjectRepairOptions): Promise<RepairedObjects> {
  const { on = () => undefined, sources, signal } = options;
  const damages: Damage[] = [];
  const note: Listener = (event) => {
    if (event.event === 'damaged') damages.push(event);
    on(event);
  };
  await verifyObjects(catalog, { ...options, on: note }).catch((error: unknown) => {
    if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
  });
  const lost = lostContents(await damagedEntries(catalog, damages));
  if (lost.length > 0 && sources.length === 0)
    throw new TransferError('usage', 'Nothing says where on this machine the files are whose content is damaged.', {
      hint: 'Name what was backed up with --source PATH.',
    });
  const repaired: Damage[] = [];
  let bytes = 0;
  for (const [key, contents] of byObject(lost)) {
    if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
    const [first] = contents;
    const put =
      first && contents.length === 1 && first.size > partSizeFor(first.size)
        ? await putWhole(catalog.bucket, key, first, sources)
        : await putPatched(catalog.bucket, key, contents, sources);
    bytes += put;
    for (const content of put > 0 ? contents : []) {
      if (!(await reads(catalog.bucket, content))) continue;
      for (const { snapshot, path } of content.damaged) {
        on({ event: 'repaired', snapshot, path });
        repaired.push(...damages.filter((each) => each.snapshot === snapshot && each.path === path));
      }
    }
  }
  return { damages, repaired, bytes };
}

/** Each content once, however many names and snapshots have it. */
function lostContents(entries: readonly DamagedEntry[]): LostContent[] {
  const found = new Map<string, LostContent>();
  for (const damaged of entries) {
    const { entry, algorithm } = damaged;
    const digest = entry.digests[algorithm];
    if (entry.content === undefined || digest === undefined) continue;
    const { content, size } = entry;
    const key = [content.key, content.offset, size, digest].join(' ');
    const known = found.get(key) ?? { content, size, algorithm, digest, damaged: [] };
    known.damaged.push(damaged);
    found.set(key, known);
  }
  return [...found.values()];
}

function byObject(lost: readonly LostContent[]): ReadonlyMap<string, LostContent[]> {
  const objects = new Map<string, LostContent[]>();
  for (const each of lost) objects.set(each.content.key, [...(objects.get(each.content.key) ?? []), each]);
  return objects;
}

/** The files of a pack, among those that are whole. Resolves with how many bytes were put: 0 where no source has any. */
async function putPatched(
  bucket: Bucket,
  key: string,
  contents: readonly LostContent[],
  sources: readonly string[],
): Promise<number> {
  const had = (await bucket.sizeOf(key)) ?? 0;
  const length = Math.max(had, ...contents.map(({ content, size }) => content.offset + size));
  if (length > largestPack) return 0;
  const memory = Buffer.alloc(length);
  await readWhole(bucket, key, memory, had);
  const again = Buffer.alloc(length);
  await readWhole(bucket, key, again, had);
  // What is whole in it goes back as it is: nothing is to be read wrong on the way.
  if (!memory.equals(again)) throw new TransferError('disk', 'The object store reads differently each time.');
  let found = 0;
  for (const content of contents) {
    const bytes = memory.subarray(content.content.offset, content.content.offset + content.size);
    const before = Buffer.from(bytes);
    const isFound = await fromSource(content, sources, (file) =>
      isDigestOf(content, file, (part, at) => void bytes.set(part, at)),
    );
    if (isFound) found++;
    else bytes.set(before);
  }
  if (found === 0) return 0;
  await bucket.put(key, memory);
  return length;
}

/** An object that is one file. Nothing is there before all of it is known to be what it should be. */
async function putWhole(
  bucket: Bucket,
  key: string,
  content: LostContent,
  sources: readonly string[],
): Promise<number> {
  const done = await fromSource(content, sources, async (file) => {
    const upload = await bucket.beginUpload(key);
    try {
      const parts: UploadedPart[] = [];
      const isSame = await isDigestOf(
        content,
        file,
        async (part) => void parts.push(await bucket.putPart(key, upload, parts.length + 1, part)),
      );
      if (!isSame) await bucket.abortUpload(key, upload);
      else await bucket.completeUpload(key, upload, parts, content.size);
      return isSame;
    } catch (error) {
      await bucket.abortUpload(key, upload).catch(ignored('the lifecycle rule of the bucket removes it'));
      throw error;
    }
  });
  return done ? content.size : 0;
}

/** Has the files that may have that content used, until one of them has it. Resolves with whether one had. */
async function fromSource(
  { damaged, size }: LostContent,
  sources: readonly string[],
  use: (file: FileHandle) => Promise<boolean>,
): Promise<boolean> {
  for (const { entry } of damaged)
    for (const located of locateSources(entry.name, sources)) {
      let file: FileHandle;
      try {
        file = await openLocated(located, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
      } catch (error) {
        trace('%s is not in a source: %o', entry.name, error);
        continue;
      }
      try {
        const stats = await file.stat();
        if (stats.isFile() && stats.size === size && (await use(file))) return true;
      } finally {
        await file.close();
      }
    }
  return false;
}

/** Reads all of a file, part by part, and whether it is the content. */
async function isDigestOf(
  { size, algorithm, digest }: LostContent,
  file: FileHandle,
  take: (part: Uint8Array, at: number) => void | Promise<void>,
): Promise<boolean> {
  const length = partSizeFor(size);
  const whole = await createDigest(algorithm);
  for (let at = 0; at < size;) {
    const memory = Buffer.alloc(Math.min(length, size - at));
    let filled = 0;
    while (filled < memory.length) {
      const { bytesRead } = await file.read(memory, filled, memory.length - filled, at + filled);
      if (bytesRead === 0) return false;
      filled += bytesRead;
    }
    whole.update(memory);
    await take(memory, at);
    at += memory.length;
  }
  return whole.digest() === digest;
}

/** As far as it is there. */
async function readWhole(bucket: Bucket, key: string, memory: Buffer, size: number): Promise<void> {
  if (size > 0) await bucket.readInto(key, 0, memory.subarray(0, size));
}

async function reads(bucket: Bucket, { content, size, algorithm, digest }: LostContent): Promise<boolean> {
  try {
    return (await digestContent(bucket, { size, content }, algorithm)) === digest;
  } catch (error) {
    const failure = objectError(error, 'What was repaired cannot be read back');
    if (failure.code !== 'mismatch') throw failure;
    return false;
  }
}
