import { randomFillSync } from 'node:crypto';

const fewest = 1_024;
/** Share of the slots that may be taken. */
const fullest = 0.8;

/**
 * Numbers by names, for so many names that the names themselves would take too much memory: only 64 bits of a hash of
 * each are kept, 20 to 40 bytes a name in all. Two names are taken for one with a probability of 1 in 2^64; which ones,
 * nobody can tell beforehand. Numbers are 0 to 2^53 - 2.
 */
export class NameTable {
  private readonly seed = randomFillSync(new Int32Array(2));
  /** The halves of the hashes. */
  private ones = new Int32Array(fewest);
  private others = new Int32Array(fewest);
  /** The numbers, each increased by one; 0 where the slot is free. */
  private numbers = new Float64Array(fewest);
  private count = 0;
  private one = 0;
  private other = 0;

  get size(): number {
    return this.count;
  }

  get(name: string): number | undefined {
    const number = this.numbers[this.slotOf(name)] ?? 0;
    return number === 0 ? undefined : number - 1;
  }

  /** Whether the name has a number. */
  has(name: string): boolean {
    return this.numbers[this.slotOf(name)] !== 0;
  }

  set(name: string, number: number): void {
    const slot = this.slotOf(name);
    const isNew = this.numbers[slot] === 0;
    this.put(slot, this.one, this.other, number + 1);
    if (isNew && ++this.count > fullest * this.numbers.length) this.grow();
  }

  delete(name: string): void {
    let free = this.slotOf(name);
    if (this.numbers[free] === 0) return;
    this.count--;
    // Entries after it that were displaced from their own slots move up, so that no gap comes before them.
    const mask = this.numbers.length - 1;
    for (let at = (free + 1) & mask; this.numbers[at] !== 0; at = (at + 1) & mask) {
      const own = (this.ones[at] ?? 0) & mask;
      if (((at - own) & mask) < ((at - free) & mask)) continue;
      this.put(free, this.ones[at] ?? 0, this.others[at] ?? 0, this.numbers[at] ?? 0);
      free = at;
    }
    this.numbers[free] = 0;
  }

  /** All numbers, the smallest first. */
  sorted(): Float64Array {
    return this.numbers
      .filter((number) => number !== 0)
      .map((number) => number - 1)
      .sort();
  }

  /** Gives every name another number. */
  replace(another: (number: number) => number): void {
    for (const [at, number] of this.numbers.entries()) if (number !== 0) this.numbers[at] = another(number - 1) + 1;
  }

  private grow(): void {
    const { ones, others, numbers } = this;
    const length = numbers.length * 2;
    this.ones = new Int32Array(length);
    this.others = new Int32Array(length);
    this.numbers = new Float64Array(length);
    for (let at = 0; at < numbers.length; at++) {
      const number = numbers[at] ?? 0;
      if (number === 0) continue;
      let slot = (ones[at] ?? 0) & (length - 1);
      while (this.numbers[slot] !== 0) slot = (slot + 1) & (length - 1);
      this.put(slot, ones[at] ?? 0, others[at] ?? 0, number);
    }
  }

  private put(slot: number, one: number, other: number, number: number): void {
    this.ones[slot] = one;
    this.others[slot] = other;
    this.numbers[slot] = number;
  }

  /** Where the name stands, or would; its hash is left in `one` and `other`. */
  private slotOf(name: string): number {
    this.hash(name);
    const { one, other, ones, others, numbers } = this;
    const mask = numbers.length - 1;
    let slot = one & mask;
    while (numbers[slot] !== 0 && (ones[slot] !== one || others[slot] !== other)) slot = (slot + 1) & mask;
    return slot;
  }

  private hash(name: string): void {
    let one = this.seed[0] ?? 0;
    let other = this.seed[1] ?? 0;
    for (let at = 0; at < name.length; at++) {
      const unit = name.charCodeAt(at);
      one = Math.imul(one ^ unit, 0x9e3779b1);
      one ^= one >>> 15;
      other = Math.imul(other ^ unit, 0x85ebca77);
      other ^= other >>> 13;
    }
    this.one = mixed(one ^ other);
    this.other = mixed(Math.imul(other, 0xc2b2ae3d) ^ one);
  }
}

function mixed(half: number): number {
  const once = Math.imul(half ^ (half >>> 16), 0x7feb352d);
  const twice = Math.imul(once ^ (once >>> 15), 0x846ca68b);
  return twice ^ (twice >>> 16);
}
