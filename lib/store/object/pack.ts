// Small files together in one object: one PUT and one GET for hundreds of them, where each by itself would cost both.
import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import { ignored } from '../../trace';
import { FreshBytes, refuseIfCondemned } from './condemned';
import { newContentKey } from './contents';
import type { ObjectGround } from './ground';
import { usualPartSize } from './part-memory';
import { objectError } from './requests';

/** One pack: files are added until it is full, then it is sent and read back. Files are numbers here, from 0 on. */
export class Pack {
  readonly key: string;
  /** How many of its files have a name, or may have one. */
  used = 0;
  /** In bytes. */
  length = 0;
  private readonly memory: Uint8Array;
  /** Where each file ends, in bytes from the start of the pack, and the digest that it is to read back with. */
  private readonly ends: number[] = [];
  private readonly digests: (string | undefined)[] = [];
  private readonly fresh = new FreshBytes();
  private storing: Promise<ReadonlySet<number>> | undefined;
  private looking: Promise<void> | undefined;

  constructor(
    private readonly ground: ObjectGround,
    private readonly algorithm: DigestAlgorithm,
  ) {
    this.key = newContentKey(ground.contents);
    this.memory = ground.parts.take(usualPartSize);
  }

  /**
   * Takes a copy of a file. False where there is no room for it. `digest` is that of its sender; absent for bytes that
   * were digested in this process: those are compared with what is read back.
   */
  add(bytes: Uint8Array, digest?: string): boolean {
    if (this.length + bytes.length > this.memory.length) return false;
    this.memory.set(bytes, this.length);
    this.length += bytes.length;
    this.ends.push(this.length);
    this.digests.push(digest);
    return true;
  }

  /** How many files it has. */
  get files(): number {
    return this.ends.length;
  }

  /** Where a file begins, in bytes from the start of the pack. */
  startOf(file: number): number {
    return file === 0 ? 0 : (this.ends[file - 1] ?? 0);
  }

  /** Gives its memory back, where nothing of it is to be sent. */
  drop(): void {
    if (!this.storing) this.ground.parts.giveBack(this.memory);
  }

  /** Sends it, once. Resolves with those files that do not read back as they should. */
  store(): Promise<ReadonlySet<number>> {
    this.storing ??= this.send();
    return this.storing;
  }

  /** To be called just before the first of its files gets its name; see `refuseIfCondemned`. */
  mayBeNamed(): Promise<void> {
    this.looking ??= refuseIfCondemned(this.ground.bucket, this.key, this.fresh);
    return this.looking;
  }

  /** Removes it, where none of its files has a name. */
  async removeIfUnused(): Promise<void> {
    await this.store().catch(ignored('whoever waited for it is told'));
    if (this.used > 0) return;
    await this.ground.bucket.delete(this.key).catch(ignored('what is left is collected later'));
  }

  private async send(): Promise<ReadonlySet<number>> {
    const { bucket, parts, trusts } = this.ground;
    const { length, memory } = this;
    parts.leave(length);
    try {
      // What is read back needs no checksum on its way.
      if (length > 0) await bucket.put(this.key, memory.subarray(0, length), 'always', trusts);
      const differing = length > 0 && !trusts ? await this.readBack() : new Set<number>();
      await this.addDamaged(differing);
      return differing;
    } catch (error) {
      throw objectError(error, 'Small files could not be stored');
    } finally {
      parts.arrived(length);
      parts.giveBack(memory);
    }
  }

  /** Into the same memory, once it is compared: the files that are not what was sent. */
  private async readBack(): Promise<Set<number>> {
    const differing = new Set<number>();
    let at = 0;
    await this.ground.bucket.read(this.key, 0, this.length, (bytes) => {
      const sent = this.memory.subarray(at, at + bytes.length);
      if (Buffer.compare(bytes, sent) !== 0) this.addDiffering(differing, bytes, at);
      sent.set(bytes);
      at += bytes.length;
    });
    return differing;
  }

  /** Adds the files of which some of these bytes, which lie at `from`, are not what was sent. */
  private addDiffering(differing: Set<number>, bytes: Buffer, from: number): void {
    for (const [file, end] of this.ends.entries()) {
      const [first, last] = [Math.max(this.startOf(file), from), Math.min(end, from + bytes.length)];
      if (first >= last) continue;
      const read = bytes.subarray(first - from, last - from);
      if (Buffer.compare(read, this.memory.subarray(first, last)) !== 0) differing.add(file);
    }
  }

  /** Adds those that have not the digest of their sender. */
  private async addDamaged(damaged: Set<number>): Promise<void> {
    const digestOf = await createDigestOf(this.algorithm);
    for (const [file, digest] of this.digests.entries())
      if (digest !== undefined && digestOf(this.memory.subarray(this.startOf(file), this.ends[file])) !== digest)
        damaged.add(file);
  }
}

/** What is said of a file that does not read back as it was sent. */
export function notAsSent(name: string): TransferError {
  return new TransferError('mismatch', `${printable(name)} does not read back from the object store as it was sent.`);
}
