// A manifest on its way into an object store: written as it is made, read back whole before anything refers to it.
import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { TransferError } from '../../errors';
import { bytesOfName } from '../../name-bytes';
import type { Bucket, UploadedPart } from '../../store/object/bucket';
import { decodeManifest, ManifestEncoder, outlineDecoder } from '../manifest/manifest';
import type { Finished } from '../manifest/write-lists';

export const manifestsPrefix = 'manifests/';
/** Bytes of one part; a manifest that is no longer is one object at once. */
const partSize = 8 * 1024 * 1024;
/** Characters of lines that are gathered before they are written. */
const gathered = 256 * 1024;

/** A manifest that is in the store. */
export interface WrittenManifest {
  /** Its key. */
  readonly content: string;
  /** The SHA-256 that its last line says. */
  readonly manifest: string;
  /** In bytes. */
  readonly size: number;
}

/**
 * Writes a manifest to a key of its own, and reads it back unless the store is trusted. Rejects with `mismatch` where
 * it does not read back.
 */
export async function writeManifest(bucket: Bucket, finished: Finished, trusts: boolean): Promise<WrittenManifest> {
  const content = `${manifestsPrefix}${randomBytes(16).toString('hex')}`;
  const encoder = new ManifestEncoder();
  const upload = new PartedObject(bucket, content);
  try {
    let text = encoder.head(finished.head);
    for (const entry of finished.entries) {
      text += encoder.entry(entry);
      if (text.length < gathered) continue;
      await upload.add(bytesOfName(text));
      text = '';
      await turn();
    }
    await upload.add(bytesOfName(text + encoder.end(finished.totals)));
    const size = await upload.end();
    if (!trusts) {
      const { sum } = await decodeManifest(bytesAt(bucket, content, size), outlineDecoder());
      if (sum !== encoder.sum)
        throw new TransferError('mismatch', 'The manifest does not read back from the object store as it was sent.');
    }
    return { content, manifest: encoder.sum, size };
  } catch (error) {
    await upload.remove();
    throw error;
  }
}

async function* bytesAt(bucket: Bucket, key: string, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; at += partSize) {
    const pieces: Buffer[] = [];
    await bucket.read(key, at, Math.min(partSize, size - at), (bytes) => pieces.push(bytes));
    yield* pieces;
  }
}

/** An object that is written from its first byte to its last. */
class PartedObject {
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private size = 0;
  private upload: string | undefined;
  private readonly parts: UploadedPart[] = [];

  constructor(
    private readonly bucket: Bucket,
    private readonly key: string,
  ) {}

  async add(bytes: Uint8Array): Promise<void> {
    this.waiting.push(bytes);
    this.waitingBytes += bytes.length;
    this.size += bytes.length;
    if (this.waitingBytes >= partSize) await this.ship();
  }

  /** Resolves with how many bytes it has. */
  async end(): Promise<number> {
    if (this.upload === undefined) {
      await this.bucket.put(this.key, Buffer.concat(this.waiting));
      return this.size;
    }
    if (this.waitingBytes > 0) await this.ship();
    await this.bucket.completeUpload(this.key, this.upload, this.parts, this.size);
    return this.size;
  }

  async remove(): Promise<void> {
    if (this.upload !== undefined) await this.bucket.abortUpload(this.key, this.upload);
    await this.bucket.delete(this.key);
  }

  private async ship(): Promise<void> {
    const bytes = Buffer.concat(this.waiting);
    this.waiting = [];
    this.waitingBytes = 0;
    this.upload ??= await this.bucket.beginUpload(this.key);
    this.parts.push(await this.bucket.putPart(this.key, this.upload, this.parts.length + 1, bytes));
  }
}
