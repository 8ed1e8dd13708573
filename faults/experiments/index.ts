import type { Experiment } from '../experiment';
import { powerCut } from './power-cut';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [powerCut];
