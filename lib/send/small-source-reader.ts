import path from 'node:path';
import { createDigestOf } from '../digest/digest';
import type { TransferError } from '../errors';
import type { EntryName } from '../name';
import { AlignedMemory, type Lease } from '../threads/aligned-memory';
import { fileCalls } from '../threads/file-calls';
import { OrderWorker } from '../threads/order-worker';
import { walking } from '../threads/walker';
import { bundleError } from './bundle-reader';
import type { SourceFile } from './open-source';
import { orderOf, readFrames, type SmallFrames } from './small-frames';
import type { FrameOrder } from './small-source-reader.worker';

/** Bytes of frames that are read in one go, and the most that go out in one write. */
const readTogether = 512 * 1024;
const sentTogether = 128 * 1024;
/** Pieces of memory: each is being read into, or waits for a connection. */
const slots = 6;
/** A thread is not started for a handful of files. */
const fewFiles = 8;

/** A small file with its frame, ready to be sent. */
export interface RunFile {
  readonly name: EntryName;
  readonly size: number;
  readonly md5: string;
  /** By performance.now(). */
  readonly began: number;
  /** Where in the memory of its run its frame begins and ends. */
  readonly begin: number;
  readonly end: number;
  /** It is longer by now than its content. */
  readonly grew: boolean;
}

/** Small files whose frames follow one another. */
export interface PlainRun {
  readonly files: readonly RunFile[];
  /** Where the frames are, among others; shared memory. */
  readonly bytes: Uint8Array;
  /** Gives up the memory. Exactly once. */
  release(): void;
}

/** What became of files that were to be small: sent together, too large for that, or failed. */
export type SmallOutcome = PlainRun | TransferError | { readonly large: SourceFile };

/** Reads small source files for a sender on the plain wire, many at a time; the thread is started when first needed. */
export class SmallSourceReader {
  private readonly memory = new AlignedMemory(readTogether, slots, true);
  private worker: OrderWorker<FrameOrder, SmallFrames> | undefined;
  private read = 0;

  /**
   * What became of these, in their order; each run is released once it was sent, or is not needed. Where memory is
   * short this waits for runs of earlier calls. Rejects with `unexpected` if the thread has died.
   */
  async readAll(files: readonly SourceFile[]): Promise<readonly SmallOutcome[]> {
    const outcomes: SmallOutcome[] = [];
    for (let from = 0; from < files.length;) {
      const began = performance.now();
      const left = files.slice(from);
      const lease = await this.memory.lease();
      const frames = await this.frames(left, lease).catch((error: unknown) => {
        lease.release();
        throw error;
      });
      outcomes.push(...outcomesOf(left, frames, lease, began));
      from += frames.count;
    }
    return outcomes;
  }

  async close(): Promise<void> {
    await this.worker?.close();
  }

  private async frames(files: readonly SourceFile[], lease: Lease): Promise<SmallFrames> {
    const order = orderOf(files);
    this.read += files.length;
    if (this.read <= fewFiles) {
      const digestOf = await createDigestOf('md5');
      return walking((walker) => readFrames(order, lease.bytes, { walker, calls: fileCalls(), digestOf }));
    }
    this.worker ??= new OrderWorker(path.join(__dirname, 'small-source-reader.worker'), { memory: this.memory.buffer });
    const { byteOffset, length } = lease.bytes;
    return this.worker.ask({ ...order, at: byteOffset, length });
  }
}

/** Cuts what was read into runs, between which stand those that are something else. */
function outcomesOf(
  files: readonly SourceFile[],
  { count, ends, sizes, md5s, flaws, grew }: SmallFrames,
  lease: Lease,
  began: number,
): SmallOutcome[] {
  const outcomes: SmallOutcome[] = [];
  let runs = 1;
  const release = (): void => void (--runs === 0 && lease.release());
  let run: RunFile[] = [];
  let begin = 0;
  const cut = (): void => {
    const end = run.at(-1)?.end;
    if (end !== undefined) {
      runs++;
      outcomes.push({ files: run, bytes: lease.bytes, release });
      begin = end;
    }
    run = [];
  };
  for (let row = 0; row < count; row++) {
    const file = files[row];
    const flaw = flaws.get(row);
    const end = ends[row] ?? 0;
    if (!file) continue;
    if (flaw !== undefined || end - begin > sentTogether) cut();
    if (flaw === undefined) {
      const from = run.length === 0 ? begin : (ends[row - 1] ?? 0);
      const md5 = md5s.slice(row * 32, (row + 1) * 32);
      run.push({ name: file.name, size: sizes[row] ?? 0, md5, began, begin: from, end, grew: grew.includes(row) });
    } else outcomes.push(flaw === 'large' ? { large: file } : bundleError(file.name, flaw));
  }
  cut();
  release();
  return outcomes;
}
