// How much of a log peers may fill: so many lines of a kind in a minute, and so many characters; the rest is counted.

/** Window in ms. */
const window = 60_000;

/** What peers, and strangers without a key, cause. Those of one kind leave the others their room. */
export type LineKind = 'stored' | 'refused' | 'strangers' | 'broken' | 'hook' | 'text' | 'lost' | 'shrunk';

/** Of one kind in one window. */
interface Room {
  readonly lines: number;
  readonly characters: number;
}

const room: Readonly<Record<LineKind, Room>> = {
  stored: { lines: 300, characters: 300_000 },
  refused: { lines: 60, characters: 100_000 },
  strangers: { lines: 60, characters: 100_000 },
  broken: { lines: 60, characters: 100_000 },
  hook: { lines: 60, characters: 100_000 },
  text: { lines: 60, characters: 100_000 },
  lost: { lines: 60, characters: 100_000 },
  shrunk: { lines: 60, characters: 100_000 },
};

/** Lines of a kind that had no room. */
export interface LinesLeftOut {
  readonly kind: LineKind;
  readonly count: number;
}

/** Decides which lines are written. Knows no clock: times are handed in, in ms. */
export class LineBudget {
  private endsAt = -Infinity;
  private readonly taken = new Map<LineKind, Room>();
  private readonly leftOut = new Map<LineKind, number>();

  /** Takes a line into account, and says whether it has room. The first of a window has, however long it is. */
  takes(kind: LineKind, characters: number): boolean {
    const before = this.taken.get(kind) ?? { lines: 0, characters: 0 };
    const after = { lines: before.lines + 1, characters: before.characters + characters };
    if (before.lines > 0 && (after.lines > room[kind].lines || after.characters > room[kind].characters)) {
      this.leftOut.set(kind, (this.leftOut.get(kind) ?? 0) + 1);
      return false;
    }
    this.taken.set(kind, after);
    return true;
  }

  /** Ms until what had no room is to be told of; undefined where everything had. */
  tellsIn(now: number): number | undefined {
    return this.leftOut.size === 0 ? undefined : Math.max(0, this.endsAt - now);
  }

  /** Where the window is over, begins the next one, and says what had no room. */
  renew(now: number): LinesLeftOut[] {
    if (now < this.endsAt) return [];
    this.endsAt = now + window;
    this.taken.clear();
    return this.takeLeftOut();
  }

  /** What had no room until now. */
  takeLeftOut(): LinesLeftOut[] {
    const leftOut = [...this.leftOut].map(([kind, count]) => ({ kind, count }));
    this.leftOut.clear();
    return leftOut;
  }
}
