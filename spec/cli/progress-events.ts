// What the views of progress are told in their specs: one file of a mebibyte, from its start to the sum.
import type { TransferEvent } from '../../lib/index';

export const size = 1024 ** 2;
export const started: TransferEvent = { event: 'started', file_name: 'a', file_size: size };
export const at = (done: number): TransferEvent => ({
  event: 'progress',
  file_name: 'a',
  phase: 'send',
  done,
  total: size,
});
export const done = {
  file_name: 'a',
  file_size: size,
  digests: {},
  verified: 'device',
  bytes_on_wire: size,
  seconds: 1,
} as const;
export const ended: TransferEvent = { event: 'sent', ...done };
export const summary: TransferEvent = {
  event: 'summary',
  files: 1,
  bytes: size,
  bytes_on_wire: size,
  seconds: 1,
  bottleneck: null,
};
