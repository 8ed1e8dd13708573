import type { Experiment } from '../experiment';
import { failingCalls } from './failing-calls';
import { killed } from './killed';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [
  killed,
  failingCalls,
];
