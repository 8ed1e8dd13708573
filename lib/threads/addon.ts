import { setTimeout as pause } from 'node:timers/promises';
import { getEnvironmentData, isMainThread, setEnvironmentData, type Worker } from 'node:worker_threads';

// A thread that is ended while an addon is being loaded in it, or makes objects there, takes the whole process with it:
// what the addon throws then cannot be thrown any more, which Node takes for fatal. So a gate stands between the two:
// whoever comes first keeps the other waiting.
const open = 0;
const loading = 1;
const shut = 2;
const gateKey = 'sendall: the gate between loading an addon and ending the thread';
/** Nobody waits longer for an addon when the process ends, in ms. */
const patience = 1_000;

const gates = new Map<Worker, Int32Array>();

/**
 * Loads an addon, or lets it make objects, in whatever thread: it is not ended meanwhile. If it is being ended already,
 * this never returns. Throws what `load` throws.
 */
export function withAddon<Made>(load: () => Made): Made {
  const gate = isMainThread ? undefined : getEnvironmentData(gateKey);
  if (!(gate instanceof Int32Array)) return load();
  if (Atomics.compareExchange(gate, 0, open, loading) === shut) Atomics.wait(gate, 0, shut);
  try {
    return load();
  } finally {
    Atomics.store(gate, 0, open);
    Atomics.notify(gate, 0);
  }
}

/** Starts a thread in which addons are loaded by `withAddon`. */
export function startThread(start: () => Worker): Worker {
  const gate = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  if (gates.size === 0) process.on('exit', shutAll);
  setEnvironmentData(gateKey, gate);
  try {
    const worker = start();
    gates.set(worker, gate);
    worker.once('exit', () => {
      gates.delete(worker);
      if (gates.size === 0) process.off('exit', shutAll);
    });
    return worker;
  } finally {
    setEnvironmentData(gateKey);
  }
}

/** Ends a thread of `startThread`, as soon as no addon is being loaded in it. */
export async function endThread(worker: Worker): Promise<void> {
  const gate = gates.get(worker);
  while (gate && isLoading(gate)) await pause(1);
  await worker.terminate();
}

/** Shuts a gate, unless it cannot be shut at this moment. */
function isLoading(gate: Int32Array): boolean {
  return Atomics.compareExchange(gate, 0, open, shut) === loading;
}

/** When the process ends, Node ends all threads at once. */
function shutAll(): void {
  const until = performance.now() + patience;
  for (const gate of gates.values())
    while (isLoading(gate) && performance.now() < until) Atomics.wait(gate, 0, loading, patience);
}
