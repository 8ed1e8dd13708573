import type { Experiment } from '../experiment';
import { bitFlip } from './bit-flip';
import { bitRot } from './bit-rot';
import { plainCrowd, sessionCrowd, smallCrowd } from './crowd';
import { failingCalls } from './failing-calls';
import { frames } from './frames';
import { fuzz } from './fuzz';
import { identity } from './identity';
import { idleCrowd } from './idle';
import { killed } from './killed';
import { network } from './network';
import { packets } from './packets';
import { powerCut } from './power-cut';
import { manyReceivers } from './receivers';
import { rights } from './rights';
import { soak } from './soak';
import { swap } from './swap';
import { turns } from './turns';
import { web } from './web';
import { writeBack } from './write-back';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [
  killed,
  powerCut,
  writeBack,
  bitFlip,
  bitRot,
  failingCalls,
  network,
  packets,
  manyReceivers,
  frames,
  fuzz,
  web,
  swap,
  identity,
  rights,
  turns,
  plainCrowd,
  sessionCrowd,
  smallCrowd,
  idleCrowd,
  soak,
];
