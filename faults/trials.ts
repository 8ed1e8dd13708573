import { mkdirSync, realpathSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Delivery, Sources } from './deliveries';
import { changingKinds, faultyCalls, wordsOf } from './faulty-calls';
import type { Surroundings } from './experiment';
import { type Ground, type Mishap, Trial, type TrialOutcome } from './trial';

/** How a delivery goes when nothing goes wrong. */
export interface Undisturbed extends TrialOutcome {
  readonly delivery: Delivery;
}

/** What came of a trial, and the words that tell which one it was. */
export interface Tried {
  readonly mishap: Mishap;
  readonly outcome: TrialOutcome;
  readonly words: string;
}

/** Trials on one build, some at a time since each of them mostly waits. */
export class Trials {
  private number = 0;

  private constructor(
    private readonly ground: Ground,
    private readonly directory: string,
    private readonly seed: number,
  ) {}

  /** Makes what is to be sent. @throws Error if the build cannot even make a backup. */
  static async on({ build, random, directory }: Surroundings): Promise<Trials> {
    const place = realpathSync(directory);
    for (const each of ['content', 'trials']) mkdirSync(join(place, each));
    const faulty = await faultyCalls(place);
    return new Trials(
      { build, sources: await Sources.make(join(place, 'content'), build, random), faulty },
      join(place, 'trials'),
      random.seed,
    );
  }

  /** Each delivery once, undisturbed: what is called there, how long it takes and what it leaves. */
  async undisturbed(deliveries: readonly Delivery[]): Promise<Undisturbed[]> {
    return each(deliveries, async (delivery) => {
      const outcome = await this.trial({ delivery, victim: 'receiver', kinds: changingKinds, at: 0 }, undefined);
      const broken = [
        ...outcome.broken,
        ...(outcome.code === 0 ? [] : [`The sender ended with ${String(outcome.code)}.`]),
      ];
      return { ...outcome, delivery, broken: broken.map((sentence) => `${delivery.name}, undisturbed: ${sentence}`) };
    });
  }

  /** Each mishap in a trial of its own. */
  async all(
    mishaps: readonly Mishap[],
    undisturbed: readonly Undisturbed[],
    tried: (tried: Tried) => void,
  ): Promise<void> {
    await each(mishaps, async (mishap) => {
      const left = undisturbed.find(({ delivery }) => delivery === mishap.delivery)?.left;
      const outcome = await this.trial(mishap, left);
      tried({ mishap, outcome, words: this.describe(mishap, outcome) });
    });
  }

  private trial(mishap: Mishap, left: readonly string[] | undefined): Promise<TrialOutcome> {
    return new Trial(this.ground, mishap, join(this.directory, String(this.number++)), left).run();
  }

  /** All it takes to see it again. */
  private describe({ delivery, victim, kinds, at, error, torn, killedAfter }: Mishap, { calls }: TrialOutcome): string {
    const of = `${delivery.name}, ${victim}`;
    if (killedAfter !== undefined) return `${of} killed after ${Math.round(killedAfter)} ms (seed ${this.seed})`;
    const struck = calls[victim].find((call) => call.struck);
    const what = error ?? (torn === true ? 'killed in the middle of' : 'killed before');
    const which = struck ? wordsOf(struck, this.directory) : 'none, there were fewer';
    return `${of}: ${what} number ${at} of ${kinds.length === 1 ? `the calls ${kinds.join()}` : 'the calls'}: ${which} (seed ${this.seed})`;
  }
}

/** Works on some items at a time. */
async function each<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as Item);
  };
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, worker));
  return results;
}
