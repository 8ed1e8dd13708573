// The bytes of an object store: objects at `data/RANDOM`, written once and never changed.
import { randomBytes } from 'node:crypto';
import { createDigest, type DigestAlgorithm } from '../../digest/digest';
import type { Bucket } from './bucket';
import type { FileRecord } from './records';

/** The bytes of a file record. */
export type StoredContent = Pick<FileRecord, 'size' | 'content'>;

const progressEvery = 8 * 1024 * 1024;

/** Where bytes are that names have, and where those are that snapshots have: each kind is collected by itself. */
export const contentPrefixes = { names: 'data/', snapshots: 'packs/' } as const;

export type ContentOwner = keyof typeof contentPrefixes;

/** A key for bytes, which nobody else has. */
export function newContentKey(owner: ContentOwner): string {
  return `${contentPrefixes[owner]}${randomBytes(16).toString('hex')}`;
}

/**
 * What stored bytes read as, fetched over another connection than they were written on. `onProgress` gets how many were
 * read. Rejects with `mismatch` where the store does not have all of them.
 */
export async function digestContent(
  bucket: Bucket,
  { size, content }: StoredContent,
  algorithm: DigestAlgorithm,
  onProgress?: (done: number) => void,
): Promise<string> {
  const digest = await createDigest(algorithm);
  let done = 0;
  let reported = 0;
  if (content !== undefined && size > 0)
    await bucket.read(content.key, content.offset, size, (bytes) => {
      digest.update(bytes);
      done += bytes.length;
      if (done - reported < progressEvery) return;
      reported = done;
      onProgress?.(done);
    });
  onProgress?.(size);
  return digest.digest();
}
