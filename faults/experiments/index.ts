import type { Experiment } from '../experiment';
import { bitFlip } from './bit-flip';
import { bitRot } from './bit-rot';
import { plainCrowd, sessionCrowd } from './crowd';
import { failingCalls } from './failing-calls';
import { idleCrowd } from './idle';
import { killed } from './killed';
import { powerCut } from './power-cut';
import { soak } from './soak';
import { writeBack } from './write-back';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [killed, powerCut, writeBack, bitFlip, bitRot, failingCalls, plainCrowd, sessionCrowd, idleCrowd, soak];
