import { createDigest, type Digest, type DigestAlgorithm } from './digest';
import { ContentCutter, type ContentSizes } from '../wire/content-segments';
import type { BasisSegment } from '../wire/basis';

/** The content-defined segments of a file that is read in order, and their digests. */
export class ContentDigests {
  private readonly cutter: ContentCutter;
  private offset = 0;
  private size = 0;

  private constructor(
    private readonly algorithm: DigestAlgorithm,
    sizes: ContentSizes,
    private digest: Digest,
  ) {
    this.cutter = new ContentCutter(sizes);
  }

  static async create(algorithm: DigestAlgorithm, sizes: ContentSizes): Promise<ContentDigests> {
    return new ContentDigests(algorithm, sizes, await createDigest(algorithm));
  }

  /**
   * Takes the next bytes of the file; returns the segments that end in them. With `last` the file ends, and its last
   * segment too.
   */
  async push(bytes: Uint8Array, last: boolean): Promise<BasisSegment[]> {
    const segments: BasisSegment[] = [];
    const cuts = this.cutter.push(bytes);
    if (last && cuts.at(-1) !== bytes.length) cuts.push(bytes.length);
    let from = 0;
    for (const cut of cuts) {
      this.take(bytes.subarray(from, cut));
      from = cut;
      segments.push({ offset: this.offset, size: this.size, digest: this.digest.digest() });
      this.offset += this.size;
      this.size = 0;
      this.digest = await createDigest(this.algorithm);
    }
    this.take(bytes.subarray(from));
    return segments;
  }

  private take(bytes: Uint8Array): void {
    this.digest.update(bytes);
    this.size += bytes.length;
  }
}
