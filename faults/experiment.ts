// What an experiment of the rig is: an attempt to break promises, which must itself be able to fail.
import type { Sabotage } from './build';
import type { Random } from './random';

/**
 * `short` is for every change (all experiments together under five minutes), `long` for `npm run faults`, `proof` just
 * enough for a broken build to be found out.
 */
export type Dose = 'short' | 'long' | 'proof';

/** One of so many equal parts of a long dose: `--part 2/8`. Those that try point after point take it. */
export interface Part {
  /** From 1 on. */
  readonly number: number;
  readonly of: number;
}

/** The points that belong to a part, spread over all of them. */
export function inPart<Point>(all: readonly Point[], { number, of }: Part): Point[] {
  return all.filter((_, at) => at % of === number - 1);
}

export interface Surroundings {
  /** The directory that holds the build's lib and cli: the real one, or one that was broken on purpose. */
  readonly build: string;
  readonly dose: Dose;
  readonly part: Part;
  /** Only what has this word in its name, of the long dose of those that deliver things in many ways: `backup`. */
  readonly only?: string | undefined;
  readonly random: Random;
  /** An empty directory of this experiment's own, removed afterwards. */
  readonly directory: string;
  /** Tells whoever waits how far it is. */
  readonly say: (text: string) => void;
}

export interface Outcome {
  /** How many attempts were made. */
  readonly tries: number;
  /** A sentence for each time that a promise did not hold, with all it takes to see it again. */
  readonly broken: readonly string[];
  /** What was measured besides, by name and with its unit in the name: resident_mib, receipt_p99_ms. */
  readonly figures?: Readonly<Record<string, number>>;
}

export interface Experiment {
  /** As `--experiment` wants it: kill-receiver, power-cut. */
  readonly name: string;
  /** The promise that it tries to break, as one sentence that can be wrong. */
  readonly promise: string;
  /** What this machine lacks for it, as a sentence; undefined where nothing is missing. */
  readonly missing?: () => string | undefined;
  /** It measures time or memory of the machine: no other experiment runs beside it. */
  readonly alone?: true;
  /** It takes minutes in any dose: the short one, which every change has, leaves it out unless it is named. */
  readonly longOnly?: true;
  /** Resolves with what was found. @throws Error only if the rig itself fails, never for a broken promise. */
  run(surroundings: Surroundings): Promise<Outcome>;
  /** The builds broken on purpose in which it has to find at least one broken promise. */
  readonly sabotages: readonly Sabotage[];
}
