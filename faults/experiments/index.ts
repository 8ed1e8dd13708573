import type { Experiment } from '../experiment';
import { plainCrowd, sessionCrowd } from './crowd';
import { idleCrowd } from './idle';
import { soak } from './soak';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [plainCrowd, sessionCrowd, idleCrowd, soak];
