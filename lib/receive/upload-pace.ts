import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** Ms without a piece after which a session needs no processor. */
const movingFor = 250;
/** Pieces of uploads for each piece or bundle of a session, and the most that can be saved up. */
const share = 1 / 4;
const mostCredit = 4;
/** Most ms that an upload waits for its next piece, whatever sessions do: 10 MiB/s for all of them. */
const longestWait = 100;
const askAgain = 10;
/** Interval in ms at which the processors are measured, and the idle share up to which they are the bottleneck. */
const lookEvery = 200;
const idleShare = 0.1;

/** For how long all processors have worked, and idled, in ms. */
interface Worked {
  readonly all: number;
  readonly idle: number;
}

/**
 * Sessions come first where the processor is what everybody waits for: a browser that uploads takes several times as
 * much of it for each byte, often of this very machine. Then uploads have a piece for each four of sessions, and ten a
 * second at least. Where it is not, or no session moves, nobody waits.
 */
export class UploadPace {
  private movedAt = -Infinity;
  private grantedAt = -Infinity;
  private credit = 0;
  private looked = { at: -Infinity, worked: { all: 0, idle: 0 }, saturated: false };

  /** `work` tells how much all processors have worked since they were started. */
  constructor(private readonly work: () => Worked = allProcessors) {}

  /** A session has brought a piece of a file, or a bundle. */
  sessionMoved(): void {
    this.movedAt = performance.now();
    this.credit = Math.min(mostCredit, this.credit + share);
  }

  /** Resolves when the next piece of an upload may come. */
  async next(): Promise<void> {
    for (;;) {
      const now = performance.now();
      const waits = now - this.movedAt < movingFor && this.isSaturated(now);
      if (!waits || this.credit >= 1 || now - this.grantedAt >= longestWait) {
        this.credit = Math.max(0, this.credit - 1);
        this.grantedAt = now;
        return;
      }
      await sleep(askAgain);
    }
  }

  private isSaturated(now: number): boolean {
    const { at, worked, saturated } = this.looked;
    if (now - at < lookEvery) return saturated;
    const next = this.work();
    const idle = (next.idle - worked.idle) / Math.max(1, next.all - worked.all);
    // The first measurement covers the time since the start of the system, and says nothing of now.
    this.looked = { at: now, worked: next, saturated: at > -Infinity && idle < idleShare };
    return this.looked.saturated;
  }
}

function allProcessors(): Worked {
  let [all, idle] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    all += times.user + times.nice + times.sys + times.irq + times.idle;
  }
  return { all, idle };
}
