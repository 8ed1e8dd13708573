import type { Experiment } from '../experiment';
import { network } from './network';
import { swap } from './swap';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [
  network,
  swap,
];
