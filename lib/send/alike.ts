import type { DigestAlgorithm } from '../digest/digest';
import { contentSizesOf } from '../wire/content-segments';
import type { BasisSegment } from '../wire/basis';
import { ContentDigests } from '../digest/content-digests';

/** Bytes of a file that is read, side by side, and where they stand at the receiver. */
interface CopyRun {
  readonly offset: number;
  readonly from: number;
  end: number;
}

/** Finds in a file that is read in order what the receiver has in its basis. */
export class Alike {
  /** In order; those before what is asked for are forgotten. */
  private readonly runs: CopyRun[] = [];
  /** By digest: the first place where it stands. */
  private readonly first = new Map<string, number>();
  /** Every place with its digest. */
  private readonly pieces: ReadonlySet<string>;
  /** The bytes up to here belong to segments whose digests are known. */
  known = 0;

  private constructor(
    basis: readonly BasisSegment[],
    private readonly content: ContentDigests,
  ) {
    for (const { offset, digest } of basis) if (!this.first.has(digest)) this.first.set(digest, offset);
    this.pieces = new Set(basis.map(({ offset, digest }) => pieceKey(offset, digest)));
  }

  /** `size` is that of the file that is read. */
  static async of(basis: readonly BasisSegment[], size: number, algorithm: DigestAlgorithm): Promise<Alike> {
    return new Alike(basis, await ContentDigests.create(algorithm, contentSizesOf(size)));
  }

  /** Takes the next bytes of the file; with `last` they are its end. */
  async push(bytes: Uint8Array, last: boolean): Promise<void> {
    for (const { offset, size, digest } of await this.content.push(bytes, last)) {
      this.known = offset + size;
      const before = this.runs.at(-1);
      const next = before?.end === offset ? before.from + before.end - before.offset : undefined;
      const from = next !== undefined && this.pieces.has(pieceKey(next, digest)) ? next : this.find(offset, digest);
      if (from === undefined) continue;
      if (before && from === next) before.end = this.known;
      else this.runs.push({ offset, from, end: this.known });
    }
  }

  /**
   * The offset of these bytes in the basis, if they lie there in one run. Offsets that are asked for ascend, and are
   * known.
   */
  at(offset: number, length: number): number | undefined {
    while (this.runs[0] && this.runs[0].end <= offset) this.runs.shift();
    const [run] = this.runs;
    return run && run.offset <= offset && run.end >= offset + length ? run.from + offset - run.offset : undefined;
  }

  /** Where bytes with this digest stand that are at `offset` here: at best in the same place. */
  find(offset: number, digest: string): number | undefined {
    return this.pieces.has(pieceKey(offset, digest)) ? offset : this.first.get(digest);
  }
}

function pieceKey(offset: number, digest: string): string {
  return `${String(offset)} ${digest}`;
}
