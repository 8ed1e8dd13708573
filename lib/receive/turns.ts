import { TransferError } from '../errors';
import { fits } from './fair-shares';

interface WaitingTurn {
  readonly whose: string | undefined;
  begin(): void;
  giveUp(reason: TransferError): void;
}

/**
 * Gives out a limited number of turns at a time, the next ones in the order in which they were asked for. A key never
 * gets all of them: the more it holds, the more must be left.
 */
export class Turns {
  private taken = 0;
  /** Turns by key. */
  private readonly held = new Map<string, number>();
  private readonly line: WaitingTurn[] = [];

  /** `most` have it at once, `mostWaiting` stand in line, each for `patience` ms. */
  constructor(
    private readonly most: number,
    private readonly mostWaiting: number,
    private readonly patience: number,
    /** The message of the error where no turn comes. */
    private readonly why: string,
  ) {}

  /**
   * Does `work` when its turn comes. Rejects like it, and with `timeout` where that takes too long or too many are in
   * line.
   */
  async take<T>(work: () => Promise<T>, whose?: string): Promise<T> {
    if (this.mayBegin(whose)) this.count(whose, 1);
    else await this.wait(whose);
    try {
      return await work();
    } finally {
      this.count(whose, -1);
      const at = this.line.findIndex((waiting) => this.mayBegin(waiting.whose));
      const [next] = at < 0 ? [] : this.line.splice(at, 1);
      if (next) this.count(next.whose, 1);
      next?.begin();
    }
  }

  /** Sends away everybody in line. */
  close(reason: TransferError): void {
    for (const waiting of this.line.splice(0)) waiting.giveUp(reason);
  }

  private mayBegin(whose: string | undefined): boolean {
    return fits(this.taken, this.most, whose === undefined ? 0 : (this.held.get(whose) ?? 0));
  }

  private count(whose: string | undefined, change: 1 | -1): void {
    this.taken += change;
    if (whose === undefined) return;
    const left = (this.held.get(whose) ?? 0) + change;
    if (left > 0) this.held.set(whose, left);
    else this.held.delete(whose);
  }

  private wait(whose: string | undefined): Promise<void> {
    const ahead = whose === undefined ? 0 : this.line.filter((waiting) => waiting.whose === whose).length;
    if (!fits(this.line.length, this.mostWaiting, ahead)) return Promise.reject(this.tooMany());
    return new Promise((resolve, reject) => {
      const waiting: WaitingTurn = {
        whose,
        begin: () => {
          clearTimeout(timer);
          resolve();
        },
        giveUp: (reason) => {
          clearTimeout(timer);
          reject(reason);
        },
      };
      const timer = setTimeout(() => {
        this.line.splice(this.line.indexOf(waiting), 1);
        reject(this.tooMany());
      }, this.patience);
      this.line.push(waiting);
    });
  }

  private tooMany(): TransferError {
    return new TransferError('timeout', this.why);
  }
}
