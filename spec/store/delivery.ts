import { createHash } from 'node:crypto';
import type { ErrorCode, TransferError } from '../../lib/errors';
import { parseEntryName } from '../../lib/name';
import type { Committed, IfExists } from '../../lib/store/store';
import type { StagedFile } from '../../lib/store/staged-file';
import type { AnnouncedFile, AnyRule } from './any-rule';

/** `size` bytes that differ for each `seed` and do not repeat with the size of a disk's sector. */
export function content(size: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let at = 0, word = seed; at < size; at++) {
    word = (Math.imul(word, 1103515245) + 12345) >>> 0;
    bytes[at] = word >>> 16;
  }
  return bytes;
}

export function md5Of(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex');
}

/** What a sender would announce for `bytes`. */
export function announce(name: string, bytes: Uint8Array, ifExists: IfExists = 'refuse'): AnnouncedFile {
  return {
    name: parseEntryName(name, { allowHidden: true }),
    size: bytes.length,
    digest: md5Of(bytes),
    ifExists,
  };
}

/** Writes `bytes` in pieces of these sizes, again and again; 0 is a `fill` that had nothing. */
export async function writeAll(
  staged: StagedFile,
  bytes: Uint8Array,
  pieces: readonly number[] = [Infinity],
): Promise<void> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const most = pieces[turn % pieces.length] ?? Infinity;
    at += await staged.write((memory) => {
      const piece = bytes.subarray(at, at + Math.min(most, memory.length));
      memory.set(piece);
      return Promise.resolve(piece.length);
    });
  }
}

/** All the steps of one file; what does not succeed is discarded. */
export async function deliver(
  store: AnyRule,
  name: string,
  bytes: Uint8Array,
  ifExists: IfExists = 'refuse',
): Promise<Committed> {
  const staged = await store.stage(announce(name, bytes, ifExists));
  try {
    await writeAll(staged, bytes);
    await staged.verify();
    return await staged.commit();
  } finally {
    await staged.discard();
  }
}

/** A file of which every byte is written and verified, and nothing committed. */
export async function verified(
  store: AnyRule,
  name: string,
  bytes: Uint8Array,
  ifExists: IfExists = 'refuse',
): Promise<StagedFile> {
  const staged = await store.stage(announce(name, bytes, ifExists));
  await writeAll(staged, bytes);
  await staged.verify();
  return staged;
}

/** The code that `attempt` fails with; throws if it succeeds. */
export async function codeOf(attempt: Promise<unknown>): Promise<ErrorCode> {
  return (await failureOf(attempt)).code;
}

/** What `attempt` fails with; throws if it succeeds, or fails with anything else than a TransferError. */
export async function failureOf(attempt: Promise<unknown>): Promise<TransferError> {
  const failure = await attempt.then(
    () => new Error('it succeeded'),
    (error: unknown) => error as TransferError,
  );
  if (failure.name !== 'TransferError') throw failure;
  return failure as TransferError;
}
