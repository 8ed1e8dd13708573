/**
 * Round trip in ms from which one connection cannot fill a fast link: its window is smaller than what is underway. Less
 * is also measured on the same machine, while threads are started.
 */
const longRoundTrip = 15;
const manyAtOnce = 8;
/** Most connections that measuring leads to. */
const mostFoundByMeasuring = 16;
/**
 * Most connections of a session that a sender may be asked for, and that a receiver takes beside the first: each may
 * hold a piece of a file in memory.
 */
export const mostSessionConnections = 64;
/** What twice as many connections have to bring to be kept. */
const worthwhile = 1.1;

/**
 * Finds how many connections a transfer needs: begins with one, or with eight where the round trip is long, and doubles
 * them as long as that brings a tenth more. Pure: told what was measured, it says how many there should be.
 */
export class ConnectionCount {
  private best: { readonly count: number; readonly rate: number } | undefined;
  private settled = false;
  count: number;

  /** `roundTrip` in ms. Where it is short, there are at most `most`. */
  constructor(
    roundTrip: number,
    private readonly most = mostFoundByMeasuring,
  ) {
    if (roundTrip >= longRoundTrip) this.most = mostFoundByMeasuring;
    this.count = roundTrip >= longRoundTrip ? manyAtOnce : 1;
  }

  /** Whether nothing is to be found out any more. */
  get found(): boolean {
    return this.settled;
  }

  /** What `count` connections brought, in any unit of rate. Returns how many to use from now on. */
  measured(rate: number): number {
    if (this.settled) return this.count;
    if (this.best && rate < this.best.rate * worthwhile) {
      this.count = this.best.count;
      this.settled = true;
    } else {
      this.best = { count: this.count, rate };
      if (this.count >= this.most) this.settled = true;
      else this.count *= 2;
    }
    return this.count;
  }
}
