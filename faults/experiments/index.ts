import type { Experiment } from '../experiment';
import { fuzz } from './fuzz';
import { network } from './network';
import { swap } from './swap';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [
  fuzz,
  network,
  swap,
];
