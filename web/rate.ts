// Bytes a second, over the last seconds.

const span = 5000;

export class Rate {
  #samples: (readonly [at: number, bytes: number])[] = [];

  /** Takes down how many bytes have gone by at `now`, in ms. Fewer than before is a beginning. */
  take(now: number, bytes: number): void {
    const last = this.#samples.at(-1);
    if (last && bytes < last[1]) this.#samples = [];
    this.#samples.push([now, bytes]);
    while (this.#samples.length > 2 && now - (this.#samples[1]?.[0] ?? now) > span) this.#samples.shift();
  }

  /** null until there is something to go by. */
  get perSecond(): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last[0] - first[0] < 700) return null;
    return ((last[1] - first[1]) / (last[0] - first[0])) * 1000;
  }

  /** Seconds until `left` more bytes have gone by; null where nobody can tell. */
  secondsFor(left: number): number | null {
    const { perSecond } = this;
    return perSecond === null || perSecond < 1 ? null : left / perSecond;
  }
}
