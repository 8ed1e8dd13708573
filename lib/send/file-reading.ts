import { type BigIntStats, closeSync, fstatSync } from 'node:fs';
import { createDigest, createDigestOf, type Digest, type DigestAlgorithm } from '../digest/digest';
import type { Digests } from '../progress';
import { pieceSize } from '../wire/segment';
import type { BasisSegment } from '../wire/basis';
import { isZero, zeros } from '../wire/zeros';
import { type SystemCalls, systemCalls } from '../threads/system-calls';
import { fillSync } from '../threads/fill';
import { type Located, readFlags, walking } from '../threads/walker';
import { edgesOf, isUntouched } from '../scan/edges';
import { isInode } from '../scan/found';
import { Alike } from './alike';
import { carriedTime } from '../threads/carried-time';

export interface FileToRead extends Located {
  readonly size: number;
  readonly mtime: bigint;
  readonly ctime: bigint;
  readonly sparse: boolean;
  /**
   * Where someone vouches for its digest, another ctime alone is no change: it gets one also with each hard link that
   * is made to it.
   */
  readonly vouched?: object;
  /** See `SourceToRead`. */
  readonly inode?: bigint;
  readonly edges?: bigint;
  readonly algorithm: DigestAlgorithm;
  readonly held: ReadonlyMap<number, string> | undefined;
  readonly basis: readonly BasisSegment[] | undefined;
  readonly segmentSize: number;
}

export type SegmentStep =
  | { readonly kind: 'bytes'; readonly offset: number; readonly length: number }
  | { readonly kind: 'zero'; readonly offset: number; size: number }
  | { readonly kind: 'keep'; readonly first: number; count: number }
  | { readonly kind: 'copy'; readonly offset: number; size: number; readonly from: number }
  | { readonly kind: 'end'; readonly size: number; readonly digests: Digests; readonly grew?: true };

/** Most bytes of zeros, or of what the receiver has, in one message: the receiver and people see that it goes on. */
const tellEvery = 64 * 1024 * 1024;

/** The file is not what it was when it was offered, and was not only appended to. */
export class Changed extends Error {}

/**
 * Reads a large file once from start to end: hashes it as a whole, and compares it with what the receiver has of it. Of
 * a file that grows, the size that was offered is read.
 */
export class FileReading {
  private at = 0;
  /** The offset up to which it was read; bytes before it that are to be sent are read again. */
  private ahead = 0;
  /** The last hole found: no data from `from` to `end`, in bytes. */
  private hole = { from: 0, end: 0 };
  private steps: SegmentStep[] = [];
  private readonly calls: SystemCalls | undefined = systemCalls();

  private constructor(
    private readonly file: FileToRead,
    private readonly fd: number,
    private readonly whole: Digest,
    private readonly alike: Alike | undefined,
    private readonly digestOf: (bytes: Uint8Array) => string,
    private readonly opened: BigIntStats,
    private readonly edges: bigint,
  ) {}

  /** Undefined for what is not a regular file. Throws `Changed`, and the operating system's errors. */
  static async open(file: FileToRead): Promise<FileReading | undefined> {
    const { algorithm, basis, size } = file;
    const alike = basis && basis.length > 0 ? await Alike.of(basis, size, algorithm) : undefined;
    const [whole, digestOf] = await Promise.all([createDigest(algorithm), createDigestOf(algorithm)]);
    const fd = walking((walker) => walker.open(file, readFlags));
    try {
      // From before its edges are read: whatever was written since is found at the end.
      const opened = fstatSync(fd, { bigint: true });
      if (!opened.isFile()) {
        closeSync(fd);
        return undefined;
      }
      const edges = edgesOf(fd, size);
      if (edges === undefined) throw new Changed();
      // What they were when it was offered tells whether it was only appended to since; without that, only that nobody
      // has written to it. Looked at after they are read: they are those of what was offered, or it is not as offered.
      const isOffered = isAsOffered(file, fstatSync(fd, { bigint: true }));
      if (!isOffered && size > 0 && edges !== file.edges) throw new Changed();
      const reading = new FileReading(file, fd, whole, alike, digestOf, opened, edges);
      reading.calls?.willReadOnce(fd);
      return reading;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * What comes next; nothing once nobody waits for it. Bytes are in `memory`; whether the file has changed is looked at
   * before its last piece is told.
   */
  async next(memory: Uint8Array, isOver: () => boolean): Promise<readonly SegmentStep[]> {
    const { file } = this;
    const { size, algorithm } = file;
    this.steps = [];
    const until = this.at + tellEvery;
    let filled = false;
    while (!filled && this.at < Math.min(size, until)) {
      if (isOver()) return [];
      filled = await this.piece(memory);
    }
    if (this.at < size) return this.steps;
    const digest = this.whole.digest();
    const now = fstatSync(this.fd, { bigint: true });
    const grew = !isAsOffered(file, now);
    if (grew && !isUntouched(this.opened, now)) {
      if ((await this.readAgain(isOver)) !== digest || edgesOf(this.fd, size) !== this.edges) throw new Changed();
    }
    return [...this.steps, { kind: 'end', size, digests: { [algorithm]: digest }, ...(grew && { grew }) }];
  }

  /**
   * The digest of the offered size, read a second time, of a file that has grown: it tells whether anything but its end
   * has changed. Undefined once the reading is over.
   */
  private async readAgain(isOver: () => boolean): Promise<string | undefined> {
    const { size, algorithm } = this.file;
    const memory = new Uint8Array(pieceSize); // the last piece is told, and not sent yet
    const again = await createDigest(algorithm);
    for (let at = 0; at < size; at += pieceSize) {
      if (isOver()) return undefined;
      again.update(this.readBytes(memory, at, Math.min(pieceSize, size - at)));
    }
    return again.digest();
  }

  close(): void {
    closeSync(this.fd);
  }

  /** One more piece, or a longer segment that is kept; whether `memory` has bytes to send now. */
  private async piece(memory: Uint8Array): Promise<boolean> {
    const { at, file } = this;
    const { size, segmentSize } = file;
    const length = Math.min(pieceSize, size - at);
    const held = file.held?.get(at / segmentSize);
    if (held !== undefined && segmentSize > pieceSize && (await this.hashSegment(memory)) === held)
      return this.keep(Math.min(segmentSize, size - at));
    const from = held === undefined ? await this.moved(memory, length) : undefined;
    if (from !== undefined) return this.copy(length, from);
    const bytes = await this.take(memory, at, length);
    const digest = (held !== undefined && segmentSize === pieceSize) || this.alike ? this.digestOf(bytes) : undefined;
    if (digest !== undefined && digest === held) return this.keep(length);
    const same = digest === undefined ? undefined : this.alike?.find(at, digest);
    if (same !== undefined) return this.copy(length, same);
    this.at += length;
    if (!isZero(bytes)) {
      this.steps.push({ kind: 'bytes', offset: at, length });
      return true;
    }
    const last = this.steps.at(-1);
    if (last?.kind === 'zero') last.size += length;
    else this.steps.push({ kind: 'zero', offset: at, size: length });
    return false;
  }

  /**
   * Where the next `length` bytes stand at the receiver, by their content-defined segments; it takes reading on to
   * where those end.
   */
  private async moved(memory: Uint8Array, length: number): Promise<number | undefined> {
    const { at, alike, file } = this;
    if (!alike) return undefined;
    while (alike.known < at + length) await this.take(memory, this.ahead, Math.min(pieceSize, file.size - this.ahead));
    return alike.at(at, length);
  }

  /** The digest of the segment that begins here. */
  private async hashSegment(memory: Uint8Array): Promise<string> {
    const { size, segmentSize, algorithm } = this.file;
    const segment = await createDigest(algorithm);
    const end = Math.min(this.at + segmentSize, size);
    for (let { at } = this; at < end; at += pieceSize)
      segment.update(await this.take(memory, at, Math.min(pieceSize, end - at)));
    return segment.digest();
  }

  private keep(length: number): false {
    const last = this.steps.at(-1);
    if (last?.kind === 'keep') last.count++;
    else this.steps.push({ kind: 'keep', first: this.at / this.file.segmentSize, count: 1 });
    this.at += length;
    return false;
  }

  private copy(length: number, from: number): false {
    const last = this.steps.at(-1);
    if (last?.kind === 'copy' && last.from + last.size === from) last.size += length;
    else this.steps.push({ kind: 'copy', offset: this.at, size: length, from });
    this.at += length;
    return false;
  }

  /** Reads a piece; the first time it counts for the whole. */
  private async take(memory: Uint8Array, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.read(memory, offset, length);
    if (offset < this.ahead) return bytes;
    this.whole.update(bytes);
    this.ahead += length;
    await this.alike?.push(bytes, this.ahead === this.file.size);
    return bytes;
  }

  /** The bytes there: what a hole reads as, or in `memory`. */
  private read(memory: Uint8Array, offset: number, length: number): Uint8Array {
    return this.isHole(offset, length) ? zeros.subarray(0, length) : this.readBytes(memory, offset, length);
  }

  private readBytes(memory: Uint8Array, offset: number, length: number): Uint8Array {
    const bytes = memory.subarray(0, length);
    if (!fillSync(this.fd, bytes, offset)) throw new Changed();
    return bytes;
  }

  private isHole(offset: number, length: number): boolean {
    if (!this.file.sparse || !this.calls) return false;
    if (offset < this.hole.from || offset >= this.hole.end)
      this.hole = { from: offset, end: this.calls.nextData(this.fd, offset) ?? this.file.size };
    return offset + length <= this.hole.end;
  }
}

/**
 * False for the same file if it is longer by now, unless someone vouches for it. Throws `Changed` for any other change,
 * and for a longer file that has taken its name.
 */
function isAsOffered({ size, mtime, ctime, vouched, inode }: FileToRead, now: BigIntStats): boolean {
  if (now.size === BigInt(size) && carriedTime(now.mtimeNs) === mtime && (now.ctimeNs === ctime || vouched))
    return true;
  if (vouched || now.size <= BigInt(size) || !isInode(inode, now.ino)) throw new Changed();
  return false;
}
