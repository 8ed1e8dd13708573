import type { Experiment } from '../experiment';
import { network } from './network';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [
  network,
];
