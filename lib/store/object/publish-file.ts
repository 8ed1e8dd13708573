// The record of a file, and whether another one has the same content.
import { TransferError } from '../../errors';
import type { Digests } from '../../progress';
import { allowedMetadata } from '../local/apply-metadata';
import type { OfferedFile, StoreUse } from '../session-store';
import type { Lost } from '../store';
import { digestContent } from './contents';
import type { ObjectGround } from './ground';
import { type ContentLocation, type FileRecord, type NameRecord, newRecordId } from './records';
import { stagedId } from './staged-names';

/** A record keeps all of an entry's metadata, where whoever runs the receiver lets it have any. */
export function metadataOf(
  { metadata }: Pick<OfferedFile, 'metadata'>,
  { metadata: use }: Pick<StoreUse, 'metadata'>,
): Pick<FileRecord, 'metadata'> {
  return use === undefined || metadata === undefined ? {} : { metadata };
}

/** What of an entry's metadata its record does not have. */
export function metadataLost(
  { metadata }: Pick<OfferedFile, 'metadata'>,
  { metadata: use }: Pick<StoreUse, 'metadata'>,
): readonly Lost[] {
  return use === undefined ? allowedMetadata(metadata, use).lost : [];
}

/** The record of a file that is stored now. */
export function fileRecord(
  file: OfferedFile & { readonly size: number },
  use: StoreUse,
  digests: Digests,
  content: ContentLocation | undefined,
  { verified, contents }: Pick<ObjectGround, 'verified' | 'contents'>,
): FileRecord {
  const { size, mode, mtime, ctime } = file;
  return {
    type: 'file',
    id: contents === 'snapshots' ? stagedId : newRecordId(),
    size,
    digests,
    content,
    mode,
    mtime,
    ctime,
    ...metadataOf(file, use),
    peer: use.peer,
    verified,
    verifiedAt: new Date().toISOString(),
  };
}

/** Whether what is at a name is a file of this content. It is read back for that, unless the store is trusted. */
export async function sameContent(
  existing: NameRecord,
  { size, digests }: { readonly size: number; readonly digests: Digests },
  { algorithm }: Pick<StoreUse, 'algorithm'>,
  { bucket, trusts }: Pick<ObjectGround, 'bucket' | 'trusts'>,
): Promise<boolean> {
  if (existing.type !== 'file' || existing.size !== size) return false;
  const existingDigest = existing.digests[algorithm];
  if (existingDigest !== undefined && (trusts || existingDigest !== digests[algorithm]))
    return existingDigest === digests[algorithm];
  try {
    return (await digestContent(bucket, existing, algorithm)) === digests[algorithm];
  } catch (error) {
    if (error instanceof TransferError && error.code === 'mismatch') return false;
    throw error;
  }
}

/** Whether a record that could not be published certainly has no name. The answer to a PUT may be lost. */
export function neverPublished(error: unknown): boolean {
  return error instanceof TransferError && (error.code === 'exists' || error.code === 'name');
}
