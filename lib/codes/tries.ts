/** The tries of a code that somebody has typed, whichever way each goes. PROTOCOL.md 28.7. */
import { TransferError } from '../errors';
import { mostTries } from './open-code';

const never = new Promise<never>(() => undefined);

/**
 * How often a code may still be tried, by all ways together, one after another: whoever mistypes it, and is met in two
 * ways, has made one of the three tries that the other side allows. PROTOCOL.md 28.7.
 */
export class Tries {
  private left = mostTries;
  private running: Promise<unknown> | undefined;
  private readonly noMore = new AbortController();
  /** Somebody has another code. */
  private wrong = false;

  /** Aborts when no further try begins. */
  get over(): AbortSignal {
    return this.noMore.signal;
  }

  /** No further try begins. */
  end(): void {
    this.noMore.abort();
  }

  /**
   * Runs the next try once no other is running, or is `late`. At the relay there is none where a neighbor has another
   * code, and no further one anywhere once somebody there has. Rejects as `attempt` does, and with `interrupted` where
   * none is left.
   */
  async run<T>(at: 'address' | 'relay', attempt: () => Promise<T>, late: Promise<'late'> = never): Promise<T> {
    while (this.running && (await Promise.race([this.running, late])) !== 'late');
    if (this.over.aborted || (at === 'relay' && this.wrong))
      throw new TransferError('interrupted', 'The code is not tried any more.');
    if (--this.left === 0) this.end();
    const trying = attempt();
    const running = trying.then(
      () => undefined,
      (error: unknown) => {
        if (!(error instanceof TransferError) || error.code !== 'not-authorized') return;
        this.wrong = true;
        if (at === 'relay') this.end();
      },
    );
    this.running = running;
    void running.then(() => {
      if (this.running === running) this.running = undefined;
    });
    return trying;
  }
}
