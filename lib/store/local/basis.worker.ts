import { fstatSync } from 'node:fs';
import { fillSync } from '../../threads/fill';
import { createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { serveEach } from '../../threads/order-worker';
import { contentSizesOf } from '../../wire/content-segments';
import { mostSegments, pieceSize } from '../../wire/segment';
import { mostBasisSegments, type BasisSegment } from '../../wire/basis';
import { ContentDigests } from '../../digest/content-digests';

/** A file to be read from its start. The descriptor stays open until the answer. */
export interface BasisOrder {
  readonly fd: number;
  /** Of the file that may be like it, at the sender: it says how long segments are. */
  readonly size: number;
  readonly algorithm: DigestAlgorithm;
}

const memory = new Uint8Array(pieceSize);

/**
 * Its content-defined segments from its beginning on without a gap, which find what was moved; and its pieces, which
 * find what stayed where it was more exactly. As many as may be told.
 */
async function segmentsOf({ fd, size: offered, algorithm }: BasisOrder): Promise<BasisSegment[]> {
  const { size } = fstatSync(fd);
  const content = await ContentDigests.create(algorithm, contentSizesOf(offered));
  const digestOf = await createDigestOf(algorithm);
  const found: BasisSegment[] = [];
  for (let offset = 0; offset < size && found.length < mostBasisSegments; offset += pieceSize) {
    const bytes = memory.subarray(0, Math.min(pieceSize, size - offset));
    if (!fillSync(fd, bytes, offset)) throw new Error(`the file ends before byte ${String(offset + bytes.length)}`);
    if (offset / pieceSize < mostSegments) found.push({ offset, size: bytes.length, digest: digestOf(bytes) });
    found.push(...(await content.push(bytes, offset + bytes.length === size)));
  }
  return found.slice(0, mostBasisSegments);
}

serveEach<BasisOrder, readonly BasisSegment[]>(segmentsOf);
