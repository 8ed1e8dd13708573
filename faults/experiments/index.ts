import type { Experiment } from '../experiment';
import { bitFlip } from './bit-flip';
import { bitRot } from './bit-rot';
import { failingCalls } from './failing-calls';
import { killed } from './killed';
import { powerCut } from './power-cut';
import { writeBack } from './write-back';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [killed, powerCut, writeBack, bitFlip, bitRot, failingCalls];
