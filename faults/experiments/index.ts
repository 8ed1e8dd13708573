import type { Experiment } from '../experiment';
import { frames } from './frames';
import { fuzz } from './fuzz';
import { identity } from './identity';
import { network } from './network';
import { packets } from './packets';
import { swap } from './swap';

/** In the order in which they run. */
export const experiments: readonly Experiment[] = [
  frames,
  fuzz,
  identity,
  network,
  packets,
  swap,
];
