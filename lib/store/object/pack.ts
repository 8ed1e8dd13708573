// Small files together in one object: one PUT and one GET for hundreds of them, where each by itself would cost both.
import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { TransferError } from '../../errors';
import { printable } from '../../name';
import { ignored } from '../../trace';
import type { SmallFile } from '../session-store';
import { FreshBytes, refuseIfCondemned } from './condemned';
import { newContentKey } from './contents';
import type { ObjectGround } from './ground';
import { usualPartSize } from './part-memory';
import { objectError } from './requests';

/** A small file and where in its pack it is. */
export interface PackedFile {
  readonly small: SmallFile;
  readonly size: number;
  /** In bytes, from the start of the pack. */
  readonly offset: number;
}

/** One pack: files are added until it is full, then it is sent and read back. */
export class Pack {
  readonly key: string;
  readonly files: PackedFile[] = [];
  /** How many of its files have a name, or may have one. */
  used = 0;
  /** In bytes. */
  length = 0;
  private readonly memory: Uint8Array;
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

  /** Takes a file. False where there is no room for it. */
  add(small: SmallFile, bytes: Uint8Array): boolean {
    if (this.length + bytes.length > this.memory.length) return false;
    this.memory.set(bytes, this.length);
    this.files.push({ small, size: bytes.length, offset: this.length });
    this.length += bytes.length;
    return true;
  }

  /** Gives its memory back, where nothing of it is to be sent. */
  drop(): void {
    if (!this.storing) this.ground.parts.giveBack(this.memory);
  }

  /** Sends it, once. Resolves with the numbers of those files that do not read back as they should. */
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
      if (length > 0) await bucket.put(this.key, memory.subarray(0, length));
      if (length > 0 && !trusts) await this.readBack();
      return await this.damaged();
    } catch (error) {
      throw objectError(error, 'Small files could not be stored');
    } finally {
      parts.arrived(length);
      parts.giveBack(memory);
    }
  }

  /** Into the same memory: what was sent is not needed any more. */
  private async readBack(): Promise<void> {
    let at = 0;
    this.memory.fill(0, 0, this.length);
    await this.ground.bucket.read(this.key, 0, this.length, (bytes) => {
      this.memory.set(bytes, at);
      at += bytes.length;
    });
  }

  private async damaged(): Promise<ReadonlySet<number>> {
    const digestOf = await createDigestOf(this.algorithm);
    return new Set(
      this.files.flatMap(({ small, size, offset }) =>
        digestOf(this.memory.subarray(offset, offset + size)) === small.digest ? [] : [small.entry.file],
      ),
    );
  }
}

/** What is said of a file that does not read back as it was sent. */
export function mismatchOf({ entry: { name } }: SmallFile): TransferError {
  return new TransferError('mismatch', `${printable(name)} does not read back from the object store as it was sent.`);
}
