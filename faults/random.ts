/**
 * Numbers that look random and are the same for the same seed, so that what was found can be seen again (mulberry32, by
 * Tommy Ettinger).
 */
export class Random {
  private state: number;

  constructor(readonly seed: number) {
    this.state = seed >>> 0;
  }

  /** At least 0, less than 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `least` to `most`, both possible. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /** @throws Error if there is nothing to choose from. */
  oneOf<Item>(items: readonly Item[]): Item {
    const index = this.between(0, items.length - 1);
    if (index >= items.length) throw new Error('There is nothing to choose from.');
    return items[index] as Item;
  }

  /** So many of them, or all if there are fewer, in an order that is left to chance. */
  some<Item>(items: readonly Item[], count: number): Item[] {
    const drawn = items.map((item) => ({ item, by: this.next() })).sort((one, other) => one.by - other.by);
    return drawn.slice(0, count).map(({ item }) => item);
  }

  bytes(length: number): Buffer {
    const made = Buffer.alloc(length);
    for (let at = 0; at < length; at++) made[at] = this.between(0, 255);
    return made;
  }
}
