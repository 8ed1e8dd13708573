import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { createDigest, createDigestOf, type Digest, type DigestAlgorithm } from '../digest';
import { serveEach } from '../lane';
import type { Digests } from '../progress';
import { pieceSize } from '../protocol/segment';
import { type SystemCalls, systemCalls } from '../system-calls';

export interface SegmentSetup {
  readonly memory: SharedArrayBuffer;
  /** One number: the readings up to it are over. */
  readonly over: SharedArrayBuffer;
}

export interface FileToRead {
  /** Counts up from one file to the next. */
  readonly reading: number;
  readonly path: string;
  readonly size: number;
  readonly mtime: bigint;
  readonly ctime: bigint;
  readonly sparse: boolean;
  readonly algorithm: DigestAlgorithm;
  readonly held: ReadonlyMap<number, string> | undefined;
  readonly segmentSize: number;
}

/** `at` is a place for one piece in the shared memory. There is one file or stream at a time. */
export type SegmentOrder =
  | { readonly order: 'open'; readonly file: FileToRead }
  /** Goes on until there are bytes to send, or for a while. */
  | { readonly order: 'read'; readonly at: number }
  | { readonly order: 'close' }
  | { readonly order: 'begin stream'; readonly algorithm: DigestAlgorithm }
  /** The next `length` bytes of the stream are there. */
  | { readonly order: 'hash'; readonly at: number; readonly length: number }
  | { readonly order: 'end stream' };

export type Told =
  | { readonly kind: 'bytes'; readonly offset: number; readonly length: number }
  | { readonly kind: 'zero'; readonly offset: number; size: number }
  | { readonly kind: 'keep'; readonly first: number; count: number }
  | { readonly kind: 'end'; readonly size: number; readonly digests: Digests };

/** What an order came to; bytes at most once, in the memory that came with it. */
export type SegmentAnswer = readonly Told[] | 'changed' | 'not a file';

/** So many bytes of zeros or of what the receiver holds are told at the latest, so that everybody sees that it goes on. */
const tellEvery = 64 * 1024 * 1024;

const setup = workerData as SegmentSetup;
const over = new Int32Array(setup.over);
const zeros = new Uint8Array(pieceSize);
// A named pipe without a writer is not waited for.
const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

class Changed extends Error {}

/** Looks at a few bytes first: they show of almost every piece that it is not zero. */
function isZero(bytes: Uint8Array): boolean {
  const { length } = bytes;
  return bytes[0] === 0 && bytes[length >> 1] === 0 && bytes[length - 1] === 0 && Buffer.compare(bytes, zeros.subarray(0, length)) === 0;
}

/** A file on its way from its first byte to its last. */
class FileReading {
  private at = 0;
  /** Up to here the bytes were hashed with their segment, and are read once more to be sent. */
  private hashed = 0;
  /** Before it there are no bytes but those of a hole. */
  private data = 0;
  private told: Told[] = [];
  private readonly calls: SystemCalls | undefined = systemCalls();

  private constructor(
    private readonly file: FileToRead,
    private readonly fd: number,
    private readonly whole: Digest,
    private readonly digestOf: (bytes: Uint8Array) => string,
  ) {}

  /** Undefined for what is not a regular file. Throws `Changed`, and the operating system's errors. */
  static async open(file: FileToRead): Promise<FileReading | undefined> {
    const [whole, digestOf] = await Promise.all([createDigest(file.algorithm), createDigestOf(file.algorithm)]);
    const fd = openSync(file.path, flags);
    try {
      const now = fstatSync(fd, { bigint: true });
      if (!now.isFile()) {
        closeSync(fd);
        return undefined;
      }
      checkUnchanged(file, now);
      const reading = new FileReading(file, fd, whole, digestOf);
      reading.calls?.willReadOnce(fd);
      return reading;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** What comes next. Bytes are in `memory`; whether the file has changed is looked at before its last piece is told. */
  async next(memory: Uint8Array): Promise<readonly Told[]> {
    const { file } = this;
    const { reading, size, algorithm } = file;
    this.told = [];
    const until = this.at + tellEvery;
    let filled = false;
    while (!filled && this.at < Math.min(size, until)) {
      if (Atomics.load(over, 0) >= reading) return [];
      filled = await this.piece(memory);
    }
    if (this.at < size) return this.told;
    checkUnchanged(file, fstatSync(this.fd, { bigint: true }));
    return [...this.told, { kind: 'end', size, digests: { [algorithm]: this.whole.digest() } }];
  }

  close(): void {
    closeSync(this.fd);
  }

  /** One more piece, or a longer segment that is kept; whether `memory` has bytes to send now. */
  private async piece(memory: Uint8Array): Promise<boolean> {
    const { at, file } = this;
    const { size, segmentSize } = file;
    const held = at < this.hashed ? undefined : file.held?.get(at / segmentSize);
    if (held !== undefined && segmentSize > pieceSize) {
      this.hashed = Math.min(at + segmentSize, size);
      if ((await this.hashSegment(memory)) === held) return this.keep(this.hashed - at);
    }
    const length = Math.min(pieceSize, size - at);
    const bytes = this.read(memory, at, length);
    if (at >= this.hashed) this.whole.update(bytes);
    if (held !== undefined && segmentSize === pieceSize && this.digestOf(bytes) === held) return this.keep(length);
    this.at += length;
    if (!isZero(bytes)) {
      this.told.push({ kind: 'bytes', offset: at, length });
      return true;
    }
    const last = this.told.at(-1);
    if (last?.kind === 'zero') last.size += length;
    else this.told.push({ kind: 'zero', offset: at, size: length });
    return false;
  }

  /** The digest of the segment that begins here; it counts for the whole as well. */
  private async hashSegment(memory: Uint8Array): Promise<string> {
    const segment = await createDigest(this.file.algorithm);
    for (let { at } = this; at < this.hashed; at += pieceSize) {
      const bytes = this.read(memory, at, Math.min(pieceSize, this.hashed - at));
      segment.update(bytes);
      this.whole.update(bytes);
    }
    return segment.digest();
  }

  private keep(length: number): false {
    const last = this.told.at(-1);
    if (last?.kind === 'keep') last.count++;
    else this.told.push({ kind: 'keep', first: this.at / this.file.segmentSize, count: 1 });
    this.at += length;
    return false;
  }

  /** The bytes there: what a hole reads as, or in `memory`. */
  private read(memory: Uint8Array, offset: number, length: number): Uint8Array {
    if (this.isHole(offset, length)) return zeros.subarray(0, length);
    for (let done = 0; done < length; ) {
      const count = readSync(this.fd, memory, done, length - done, offset + done);
      if (count === 0) throw new Changed();
      done += count;
    }
    return memory.subarray(0, length);
  }

  private isHole(offset: number, length: number): boolean {
    if (!this.file.sparse || !this.calls) return false;
    if (offset >= this.data) this.data = this.calls.nextData(this.fd, offset) ?? this.file.size;
    return offset + length <= this.data;
  }
}

function checkUnchanged({ size, mtime, ctime }: FileToRead, now: BigIntStats): void {
  if (now.size !== BigInt(size) || now.mtimeNs !== mtime || now.ctimeNs !== ctime) throw new Changed();
}

/** Bytes that another thread reads and puts into the memory. */
class StreamReading {
  private size = 0;

  constructor(
    private readonly whole: Digest,
    private readonly algorithm: DigestAlgorithm,
  ) {}

  next(bytes: Uint8Array): readonly Told[] {
    const { length } = bytes;
    const offset = this.size;
    this.whole.update(bytes);
    this.size += length;
    return [isZero(bytes) ? { kind: 'zero', offset, size: length } : { kind: 'bytes', offset, length }];
  }

  end(): readonly Told[] {
    return [{ kind: 'end', size: this.size, digests: { [this.algorithm]: this.whole.digest() } }];
  }
}

let file: FileReading | undefined;
let stream: StreamReading | undefined;

/** After its end or a failure nothing is left of the file, and what was ordered in the meantime comes to nothing. */
async function carryOut(order: SegmentOrder): Promise<SegmentAnswer> {
  switch (order.order) {
    case 'open':
      file = await FileReading.open(order.file);
      return file ? [] : 'not a file';
    case 'read': {
      const told = (await file?.next(new Uint8Array(setup.memory, order.at, pieceSize))) ?? [];
      if (told.at(-1)?.kind === 'end') closeFile();
      return told;
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
