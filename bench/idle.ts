import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const look = 200;
const patience = 5000;
const quiet = 0.25;

/**
 * Waits until all processes together, this one too, take less than a quarter of one processor, 5 s at most. @returns
 * whether they do.
 */
export async function idle(): Promise<boolean> {
  for (let waited = 0; waited < patience; waited += look) {
    const before = busy();
    await sleep(look);
    if (busy() - before < quiet * look) return true;
  }
  return false;
}

/** What the processors have worked so far, all together, in ms. */
function busy(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
}
