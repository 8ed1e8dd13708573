import type { DigestName } from '../../wire/fields';
import type { DeviceReader, FileToVerify } from './device-reader';
import type { ReadingAhead } from './reading-ahead';
import { together } from './together';

export interface ContentReading {
  readonly reader: DeviceReader;
  /** What was begun before. */
  readonly ahead: ReadingAhead;
  readonly algorithm: DigestName;
  readonly signal: AbortSignal;
  /** Told now and then of the bytes read of a large file. */
  readonly onProgress: (name: string, done: number) => void;
  /**
   * Told of each file, once: its digest, what reading it failed with, or undefined where it is not the same file any
   * more.
   */
  readonly wasRead: (file: FileToVerify, digest: string | Error | undefined) => Promise<void>;
}

const largeAtOnce = 4;
/** Most small files, and bytes, of one batch; and batches at once, as many as keep all workers busy. */
const mostTogether = 512;
const mostBytesTogether = 4 * 1024 * 1024;
const batchesAtOnce = 6;

/** Reads all of the files, each once. Rejects when the signal says so, once nothing is under way any more. */
export async function readContents(files: readonly FileToVerify[], reading: ContentReading): Promise<void> {
  const { reader, ahead, algorithm, signal, onProgress, wasRead } = reading;
  const readLarge = async (file: FileToVerify): Promise<void> => {
    signal.throwIfAborted();
    const begun = await ahead.digest(file.inode);
    const reading = { signal, onProgress: (done: number) => onProgress(file.name, done) };
    const digest = await (begun === undefined ? reader.digest(file, algorithm, reading) : Promise.resolve(begun)).catch(
      (error: unknown) => {
        signal.throwIfAborted();
        return error instanceof Error ? error : new Error(String(error));
      },
    );
    await wasRead(file, digest);
  };
  const readSmall = async (batch: readonly FileToVerify[]): Promise<void> => {
    signal.throwIfAborted();
    const digests = await reader.digests(batch, algorithm);
    for (const [at, file] of batch.entries()) await wasRead(file, digests[at]);
  };
  const large = files.filter((file) => reader.isLarge(file));
  const small = files.filter((file) => !reader.isLarge(file));
  const ends = await Promise.allSettled([
    together(large, largeAtOnce, readLarge),
    together(batchesOf(small), batchesAtOnce, readSmall),
  ]);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/** Files that follow one another, to be read together. */
function* batchesOf(files: readonly FileToVerify[]): Generator<FileToVerify[]> {
  let batch: FileToVerify[] = [];
  let bytes = 0;
  for (const file of files) {
    if (batch.length === mostTogether || (batch.length > 0 && bytes + file.size > mostBytesTogether)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(file);
    bytes += file.size;
  }
  if (batch.length > 0) yield batch;
}
