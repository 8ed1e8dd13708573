// How long this process has been at reading back what it stored: large files from the flush of their last byte on,
// batches as a whole.
let spent = 0; // ms

/** Counts the time until `reading` settles. */
export async function timeReadBack<T>(reading: Promise<T>): Promise<T> {
  const began = performance.now();
  try {
    return await reading;
  } finally {
    noteReadBack(performance.now() - began);
  }
}

/** Counts `ms` that a thread has told of. */
export function noteReadBack(ms: number): void {
  spent += ms;
}

/** In seconds. */
export function readBackTime(): number {
  return spent / 1000;
}
