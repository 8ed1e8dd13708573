import { readFileSync } from 'node:fs';

const interval = 20;

/**
 * Follows the peak resident memory of a process that may end at any time. @returns what tells the peak so far, in MiB.
 */
export function watchPeak(pid: number): () => number {
  let peak = 0;
  const look = (): void => {
    try {
      const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      peak = Math.max(peak, Number(kib ?? 0) / 1024);
    } catch {
      clearInterval(timer); // it has ended: what was seen last, at most one interval ago, stands
    }
  };
  const timer = setInterval(look, interval);
  look();
  timer.unref();
  return () => {
    look();
    return peak;
  };
}
