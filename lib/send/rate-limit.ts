import { setTimeout as sleep } from 'node:timers/promises';

/** Lets `bytesPerSecond` pass on average, shared by all connections, in bursts of a tenth of a second at most. */
export class RateLimit {
  private allowance: number;
  private asOf = performance.now();

  constructor(private readonly bytesPerSecond: number) {
    this.allowance = this.burst;
  }

  /** Whether everything may go at once. */
  get unlimited(): boolean {
    return this.bytesPerSecond === Infinity;
  }

  /** Waits until `count` bytes may go. Larger counts than a burst are let go on credit, and waited for afterwards. */
  async pass(count: number, signal?: AbortSignal): Promise<void> {
    if (this.unlimited) return;
    const now = performance.now();
    this.allowance = Math.min(this.burst, this.allowance + ((now - this.asOf) / 1000) * this.bytesPerSecond);
    this.asOf = now;
    this.allowance -= count;
    if (this.allowance < 0)
      await sleep((-this.allowance / this.bytesPerSecond) * 1000, undefined, signal ? { signal } : {});
  }

  private get burst(): number {
    return this.bytesPerSecond / 10;
  }
}
