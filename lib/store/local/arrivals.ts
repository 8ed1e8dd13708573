import { Coverage, pieceSize } from '../../wire/segment';

/** Bytes of a file, side by side. */
export interface ByteRun {
  readonly offset: number;
  readonly length: number;
}

/**
 * Which pieces of a file are here, and which are on their way to the disk; of a file that comes in order, or whose size
 * nobody knows, how many bytes.
 */
export class Arrivals {
  private begun: Coverage | undefined;
  private here: Coverage | undefined;
  /** Bytes so far, where pieces are not told apart. */
  private streamed = 0;
  /** Where the runs end that are written and have a gap before them, by where they begin. */
  private readonly behindGap = new Map<number, number>();
  private withoutGap = 0;
  private sealed = false;

  /** `size` in bytes; undefined while nobody knows. `inOrder`: see `StoreUse`. */
  constructor(
    private readonly size: number | undefined,
    private readonly inOrder = false,
  ) {
    this.forget();
  }

  /**
   * What of this run is neither here nor on its way; from now on it is. Nothing while it is sealed. Throws `bad-header`
   * for what are no whole pieces.
   */
  begin(offset: number, length: number): ByteRun[] {
    if (this.sealed) return [];
    const { begun } = this;
    if (begun === undefined) return [{ offset, length }];
    const runs: { readonly offset: number; length: number }[] = [];
    for (let at = offset; at < offset + length; at += pieceSize) {
      if (begun.has(at / pieceSize)) continue;
      const size = Math.min(pieceSize, offset + length - at);
      const last = runs.at(-1);
      if (last && last.offset + last.length === at) last.length += size;
      else runs.push({ offset: at, length: size });
    }
    for (const run of runs) begun.add(run.offset, run.length);
    return runs;
  }

  /** A run that was begun is written. Returns the segments that are whole by it. */
  arrived({ offset, length }: ByteRun): readonly number[] {
    if (this.here) return this.here.add(offset, length) > 0 ? this.here.segmentsIn(offset, length) : [];
    this.streamed += length;
    this.behindGap.set(offset, offset + length);
    for (let end; (end = this.behindGap.get(this.withoutGap)) !== undefined;) {
      this.behindGap.delete(this.withoutGap);
      this.withoutGap = end;
    }
    return [];
  }

  /** The segments of which every piece is here. */
  get segments(): number[] {
    return this.here?.segments() ?? [];
  }

  /**
   * Bytes from the start of the file on that are here without a gap; 0 where nobody knows how much there is to come.
   */
  get prefix(): number {
    return this.here?.prefix ?? (this.size === undefined ? 0 : this.withoutGap);
  }

  /** How many bytes are here of a file whose pieces are not told apart. */
  get bytes(): number {
    return this.streamed;
  }

  /** Whether all of the file is here. */
  get whole(): boolean {
    return this.here?.whole ?? this.streamed === this.size;
  }

  /** Takes nothing more until `forget`. */
  seal(): void {
    this.sealed = true;
  }

  /** Nothing is here any more. */
  forget(): void {
    this.sealed = false;
    this.streamed = 0;
    this.behindGap.clear();
    this.withoutGap = 0;
    const apart = this.size !== undefined && !this.inOrder;
    this.begun = apart ? new Coverage(this.size) : undefined;
    this.here = apart ? new Coverage(this.size) : undefined;
  }
}
