import { asTransferError, TransferError } from '../errors';
import { ignored } from '../trace';
import { type Committed, discarded } from './store';

/** `staged` until all of it is verified; `ended` once it was committed or discarded. */
type StagedState = 'staged' | 'verified' | 'ended';

/** In which order a `StagedFile` goes on, wherever its bytes are. */
export class StagedSteps {
  private state: StagedState = 'staged';
  private failure: TransferError | undefined;
  private committing: Promise<Committed> | undefined;

  /** `over` is told once, when it has ended, and whether its bytes were kept. */
  constructor(private readonly over: (kept: boolean) => void) {}

  /** Throws what it failed with, or `interrupted` because it has ended. */
  throwIfEnded(): void {
    if (this.failure) throw this.failure;
    if (this.state === 'ended') throw discarded();
  }

  /** What does not match is over: nobody sends any of it again. Rejects with what `compare` rejects with. */
  async verify(compare: () => Promise<void>): Promise<void> {
    try {
      await compare();
    } catch (error) {
      this.failure = asTransferError(error, 'disk', 'The file could not be read back');
      throw this.failure;
    }
    this.state = 'verified';
  }

  /** Rejects with what `store` rejects with; either way it has ended. */
  async commit(store: () => Promise<Committed>): Promise<Committed> {
    this.throwIfEnded();
    if (this.state !== 'verified')
      throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    let kept = false;
    this.committing = store();
    try {
      const committed = await this.committing;
      kept = committed.outcome !== 'identical';
      return committed;
    } finally {
      this.end(kept);
    }
  }

  /** A commit under way comes to its end first: broken off, nobody could tell what became of it. */
  async discard(remove: () => Promise<void>): Promise<void> {
    await this.committing?.catch(ignored('commit tells'));
    await remove();
    this.end(false);
  }

  private end(kept: boolean): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.over(kept);
  }
}
