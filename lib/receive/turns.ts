import { TransferError } from '../errors';

interface Waiting {
  begin(): void;
  giveUp(reason: TransferError): void;
}

/** Lets so many at once have their turn, and the next ones in the order in which they came. */
export class Turns {
  private taken = 0;
  private readonly line: Waiting[] = [];

  /** `most` have it at once, `mostWaiting` stand in line, each for `patience` ms. */
  constructor(
    private readonly most: number,
    private readonly mostWaiting: number,
    private readonly patience: number,
    /** What those are told who wait in vain. */
    private readonly why: string,
  ) {}

  /** Does `work` when its turn comes. Rejects like it, and with `timeout` where that takes too long or too many are in line. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.taken >= this.most) await this.wait();
    else this.taken++;
    try {
      return await work();
    } finally {
      const next = this.line.shift();
      if (next) next.begin();
      else this.taken--;
    }
  }

  /** Sends away everybody in line. */
  close(reason: TransferError): void {
    for (const waiting of this.line.splice(0)) waiting.giveUp(reason);
  }

  private wait(): Promise<void> {
    if (this.line.length >= this.mostWaiting) return Promise.reject(this.tooMany());
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
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
