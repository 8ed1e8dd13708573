import path from 'node:path';
import { AlignedMemory, type Lease } from '../../threads/aligned-memory';
import { errnoOf, type TransferError } from '../../errors';
import { Lane } from '../../threads/lane';
import type { Directory } from './directory';
import { cannotLink, renameIfFree } from './final-name';
import type { SmallFileAnswer, SmallFileOrder } from './small-file.worker';
import { checkDigests, discarded, diskError, incomplete, type StagedBytes } from './staged-bytes';
import { algorithmsOf, type NewFile } from '../store';
import { ignored } from '../../trace';

/** Files up to this size are written, read back and hashed in one go, by a lane. */
export const smallFile = 64 * 1024;
const mostInMemory = 128;
const mostLanes = 3;

/** The lanes of one store, started when first needed, and the memory that they share with us. */
export class SmallFileLanes {
  readonly memory = new AlignedMemory(smallFile, mostInMemory, true);
  private readonly lanes: Lane<SmallFileOrder, SmallFileAnswer>[] = [];

  /** The lane with the least to do; a file stays in its lane. */
  choose(): Lane<SmallFileOrder, SmallFileAnswer> {
    const idlest = this.lanes.reduce<Lane<SmallFileOrder, SmallFileAnswer> | undefined>(
      (best, lane) => (best && best.load <= lane.load ? best : lane),
      undefined,
    );
    if (idlest && (idlest.load === 0 || this.lanes.length >= mostLanes)) return idlest;
    const lane = new Lane<SmallFileOrder, SmallFileAnswer>(
      path.join(__dirname, 'small-file.worker'),
      this.memory.buffer,
    );
    this.lanes.push(lane);
    return lane;
  }

  async close(): Promise<void> {
    await Promise.all(this.lanes.map((lane) => lane.close()));
  }
}

export interface SmallPlace {
  readonly path: string;
  readonly direct: boolean;
  /** The permissions of the final file. */
  readonly mode: number;
  readonly lanes: SmallFileLanes;
}

/** The bytes of a file that is gathered in memory first, and then gets to the disk and back in one order. */
export class SmallBytes implements StagedBytes {
  private received = 0;
  /** What has arrived, while the sender is too slow for its memory to be kept waiting. */
  private carry: Uint8Array = new Uint8Array(0);
  private whole: Lease | undefined;
  /** The lane that has staged it, while it has its staged name. */
  private staged: Lane<SmallFileOrder, SmallFileAnswer> | undefined;
  private staging: Promise<void> | undefined;
  private failure: TransferError | undefined;
  private ended = false;

  constructor(
    private readonly file: NewFile,
    private readonly place: SmallPlace,
  ) {}

  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    const { memory } = this.place.lanes;
    const lease = await memory.lease();
    try {
      this.throwIfEnded();
      lease.bytes.set(this.carry);
      const count = await fill(lease.bytes.subarray(this.received, this.file.size), () => memory.contended);
      this.received += count;
      if (this.received === this.file.size && !this.ended) this.whole = lease;
      else this.carry = lease.bytes.slice(0, this.received);
      return count;
    } finally {
      if (this.whole !== lease) lease.release();
    }
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    this.throwIfEnded();
    if (this.received !== this.file.size) throw incomplete(this.file, this.received);
    try {
      this.staging = this.stage();
      await this.staging;
    } catch (error) {
      this.failure ??= diskError(error, this.file);
      throw this.failure;
    }
    onProgress?.(this.file.size);
  }

  async appear(directory: Directory, base: string): Promise<boolean> {
    try {
      await this.stagedOrThrow().ask({ order: 'appear', path: this.place.path, target: directory.at(base) });
      this.staged = undefined;
      return true;
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false;
      if (cannotLink(error)) return renameIfFree(this.place.path, directory, base);
      throw error;
    }
  }

  async replace(directory: Directory, base: string): Promise<void> {
    await this.stagedOrThrow().ask({ order: 'replace', path: this.place.path, target: directory.at(base) });
    this.staged = undefined;
  }

  async discard(): Promise<void> {
    this.ended = true;
    await this.staging?.catch(ignored('verify tells'));
    this.releaseMemory();
    const { staged } = this;
    this.staged = undefined;
    await staged?.ask({ order: 'discard', path: this.place.path });
  }

  private async stage(): Promise<void> {
    const { file, place } = this;
    // An empty file has no bytes that could have been given memory.
    this.whole ??= await place.lanes.memory.lease();
    const lane = place.lanes.choose();
    try {
      const digests = await lane.ask({
        order: 'stage',
        path: place.path,
        offset: this.whole.bytes.byteOffset,
        size: file.size,
        direct: place.direct,
        mode: place.mode,
        algorithms: algorithmsOf(file.digests),
      });
      this.staged = lane;
      checkDigests(file, digests);
    } finally {
      this.releaseMemory();
    }
  }

  private stagedOrThrow(): Lane<SmallFileOrder, SmallFileAnswer> {
    this.throwIfEnded();
    if (!this.staged) throw incomplete(this.file, this.received);
    return this.staged;
  }

  private throwIfEnded(): void {
    if (this.failure) throw this.failure;
    if (this.ended) throw discarded();
  }

  private releaseMemory(): void {
    this.whole?.release();
    this.whole = undefined;
  }
}
