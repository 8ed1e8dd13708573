import type { Snapshot } from '../manifest/catalog';
import type { EntriesDone, Pass, PassHere } from './verify-pass';
import type { VerifyState, VerifyStates } from './verify-state';

export interface KeptOf {
  readonly states: VerifyStates;
  readonly snapshot: Snapshot;
  /** SHA-256 of its manifest. */
  readonly manifest: string;
  /** What was kept by earlier runs, of whichever manifest. */
  readonly saved: VerifyState | undefined;
  readonly pass: Pass;
}

const saveEvery = 1_000; // ms

/** Keeps how far one run is in one snapshot. */
export class KeptState {
  private state: VerifyState;
  private saving: Promise<void> = Promise.resolve();
  private lastSaved = performance.now();
  /** What an earlier run of this pass has found good. */
  readonly resumed: PassHere['done'];

  constructor(private readonly of: KeptOf) {
    const { saved, manifest, pass } = of;
    this.state = saved?.manifest === manifest ? saved : { manifest };
    const before = this.state[kindOf(pass)];
    const goesOn =
      before !== undefined && before.began >= pass.began && before.share === pass.share && before.from === pass.from;
    this.resumed = goesOn ? before.done : [];
  }

  /** Whatever was verified once is so no more. */
  damaged(): void {
    const { verified_at: _, ...others } = this.state;
    this.state = others;
  }

  /** Entries up to `done` are verified; written every `saveEvery` ms at most. */
  note(done: EntriesDone): void {
    if (performance.now() - this.lastSaved < saveEvery) return;
    this.lastSaved = performance.now();
    this.saving = this.saving.then(() => this.save(done, false));
  }

  /** Entries up to `done` are verified, and this run stops here. */
  async stop(done: EntriesDone): Promise<void> {
    await this.saving;
    await this.save(done, false);
  }

  /** Everything was looked at, and nothing is damaged if `whole`; that the run is at its end says `complete`. */
  async end(done: EntriesDone, whole: boolean): Promise<void> {
    const { pass } = this.of;
    const verifiedBefore = (this.state.verified_at ?? '') >= pass.began;
    if (whole && kindOf(pass) === 'full' && !verifiedBefore)
      this.state = { ...this.state, verified_at: new Date().toISOString() };
    await this.stop(done);
  }

  /** All snapshots were looked at: the next run begins anew. */
  async complete(): Promise<void> {
    const kind = kindOf(this.of.pass);
    const here = this.state[kind];
    if (here) this.state = { ...this.state, [kind]: { ...here, complete: true } };
    await this.of.states.write(this.of.snapshot, this.state);
  }

  private save(done: EntriesDone, complete: boolean): Promise<void> {
    const { states, snapshot, pass } = this.of;
    this.state = { ...this.state, [kindOf(pass)]: { ...pass, complete, done: done.ranges } };
    return states.write(snapshot, this.state);
  }
}

/** Passes over everything and those over a share are kept apart: neither breaks off the other. */
export function kindOf({ share }: Pick<Pass, 'share'>): 'full' | 'sample' {
  return share < 1 ? 'sample' : 'full';
}
