/** One going over everything, or over a share of it; it may take several runs. */
export interface Pass {
  /** When it began, ISO 8601. */
  readonly began: string;
  /** Which share of all files it reads: more than 0, and 1 for all. */
  readonly share: number;
  /** Where in the circle of all digests it starts: from 0, below 1. */
  readonly from: number;
}

/** How far a pass is in one snapshot. */
export interface PassHere extends Pass {
  /** Everything was looked at. */
  readonly complete: boolean;
  /**
   * The numbers of the manifest's entries that need no reading any more, the first and the last of each run of them.
   */
  readonly done: readonly (readonly [number, number])[];
}

/** Age in ms up to which an interrupted pass is continued: what an older one has read says little. */
const goesOnFor = 30 * 86_400_000;
const positions = 2 ** 48;

/**
 * The pass that this run is about: the newest that was interrupted and has the same share, else a new one. A share of
 * less than all starts where the newest pass of a share ended: digests are as good as random, so it is a random choice,
 * and the one that was read longest ago; shares that follow one another leave nothing out. `known` are the passes of
 * that kind in the snapshots concerned.
 */
export function choosePass(
  known: readonly PassHere[],
  share: number,
  now = new Date(),
  random = Math.random,
): { readonly pass: Pass; readonly continues: boolean } {
  const oldest = new Date(now.getTime() - goesOnFor).toISOString();
  const interrupted = newest(known.filter((pass) => !pass.complete && pass.share === share && pass.began >= oldest));
  if (interrupted) return { pass: { began: interrupted.began, share, from: interrupted.from }, continues: true };
  if (share >= 1) return { pass: { began: now.toISOString(), share, from: 0 }, continues: false };
  const last = newest(known);
  const from = last === undefined ? random() : last.complete ? (last.from + last.share) % 1 : last.from;
  return { pass: { began: now.toISOString(), share, from }, continues: false };
}

function newest(passes: readonly PassHere[]): PassHere | undefined {
  return passes.reduce<PassHere | undefined>(
    (best, pass) => (best && best.began >= pass.began ? best : pass),
    undefined,
  );
}

/**
 * Whether a pass reads the files with this digest. The same ones in every snapshot, so that what is shared is read
 * once.
 */
export function includes({ from, share }: Pass, digest: string): boolean {
  if (share >= 1) return true;
  const position = parseInt(digest.slice(0, 12), 16) / positions;
  return (position - from + 1) % 1 < share;
}

/** Which entries of one snapshot need no reading any more. */
export class EntriesDone {
  private readonly bits: Uint8Array;

  constructor(count: number, ranges: PassHere['done'] = []) {
    this.bits = new Uint8Array(count);
    for (const [first, last] of ranges) this.bits.fill(1, first, last + 1);
  }

  has(entry: number): boolean {
    return this.bits[entry] === 1;
  }

  add(entry: number): void {
    this.bits[entry] = 1;
  }

  remove(entry: number): void {
    this.bits[entry] = 0;
  }

  /** As `PassHere.done`. */
  get ranges(): [number, number][] {
    const ranges: [number, number][] = [];
    for (let first = this.bits.indexOf(1); first !== -1;) {
      const end = this.bits.indexOf(0, first);
      ranges.push([first, (end === -1 ? this.bits.length : end) - 1]);
      first = end === -1 ? -1 : this.bits.indexOf(1, end);
    }
    return ranges;
  }
}
