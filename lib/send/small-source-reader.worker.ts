import { workerData } from 'node:worker_threads';
import { createDigestOf } from '../digest/digest';
import { fileCalls } from '../threads/file-calls';
import { serveEach } from '../threads/order-worker';
import { Walker } from '../threads/walker';
import { readFrames, type SmallFrames, type SmallOrder } from './small-frames';

export interface FrameSetup {
  readonly memory: SharedArrayBuffer;
}

/** Reads into `length` bytes of the memory, from `at` on. */
export interface FrameOrder extends SmallOrder {
  readonly at: number;
  readonly length: number;
}

const { memory } = workerData as FrameSetup;
const walker = new Walker(fileCalls);
const calls = fileCalls();
const ready = createDigestOf('md5');

serveEach<FrameOrder, SmallFrames>(async (order) => {
  const digestOf = await ready;
  try {
    return readFrames(order, new Uint8Array(memory, order.at, order.length), { walker, calls, digestOf });
  } finally {
    // Nothing is kept open between two orders: a directory may be removed, or its disk be taken away.
    walker.close();
  }
});
