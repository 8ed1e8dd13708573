import { workerData } from 'node:worker_threads';
import { createDigest, type Digest, type DigestAlgorithm } from '../digest/digest';
import { serveEach } from '../threads/order-worker';
import { pieceSize } from '../wire/segment';
import { isZero } from '../wire/zeros';
import { Changed, FileReading, type FileToRead, type SegmentStep } from './file-reading';

export interface SegmentSetup {
  readonly memory: SharedArrayBuffer;
  /** One number: the readings up to it are over. */
  readonly over: SharedArrayBuffer;
}

/** `at` is a place for one piece in the shared memory. There is one file or stream at a time. */
export type SegmentOrder =
  /** Readings are counted up. */
  | { readonly order: 'open'; readonly file: FileToRead; readonly reading: number }
  /** Goes on until there are bytes to send, or for a while. */
  | { readonly order: 'read'; readonly at: number }
  | { readonly order: 'close' }
  | { readonly order: 'begin stream'; readonly algorithm: DigestAlgorithm }
  /** The next `length` bytes of the stream are there. */
  | { readonly order: 'hash'; readonly at: number; readonly length: number }
  | { readonly order: 'end stream' };

/** What an order came to; bytes at most once, in the memory that came with it. */
export type SegmentAnswer = readonly SegmentStep[] | 'changed' | 'not a file';

const setup = workerData as SegmentSetup;
const over = new Int32Array(setup.over);

/** Bytes that another thread reads and puts into the memory. */
class StreamReading {
  private size = 0;

  constructor(
    private readonly whole: Digest,
    private readonly algorithm: DigestAlgorithm,
  ) {}

  next(bytes: Uint8Array): readonly SegmentStep[] {
    const { length } = bytes;
    const offset = this.size;
    this.whole.update(bytes);
    this.size += length;
    return [isZero(bytes) ? { kind: 'zero', offset, size: length } : { kind: 'bytes', offset, length }];
  }

  end(): readonly SegmentStep[] {
    return [{ kind: 'end', size: this.size, digests: { [this.algorithm]: this.whole.digest() } }];
  }
}

let file: FileReading | undefined;
let current = 0;
const isOver = (): boolean => Atomics.load(over, 0) >= current;
let stream: StreamReading | undefined;

/** After its end or a failure nothing is left of the file, and what was ordered in the meantime comes to nothing. */
async function carryOut(order: SegmentOrder): Promise<SegmentAnswer> {
  switch (order.order) {
    case 'open':
      current = order.reading;
      file = await FileReading.open(order.file);
      return file ? [] : 'not a file';
    case 'read': {
      const steps = (await file?.next(new Uint8Array(setup.memory, order.at, pieceSize), isOver)) ?? [];
      if (steps.at(-1)?.kind === 'end') closeFile();
      return steps;
    }
    case 'close':
      closeFile();
      return [];
    case 'begin stream':
      stream = new StreamReading(await createDigest(order.algorithm), order.algorithm);
      return [];
    case 'hash':
      return stream?.next(new Uint8Array(setup.memory, order.at, order.length)) ?? [];
    case 'end stream':
      return stream?.end() ?? [];
  }
}

function closeFile(): void {
  file?.close();
  file = undefined;
}

serveEach<SegmentOrder, SegmentAnswer>(async (order) => {
  try {
    return await carryOut(order);
  } catch (error) {
    closeFile();
    if (error instanceof Changed) return 'changed';
    throw error;
  }
});
