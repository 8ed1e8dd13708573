import { readFileSync } from 'node:fs';

/**
 * How many descriptors this process may have open. Node takes all that it may have when it starts; where the system
 * does not tell how many that is, there are enough.
 */
export function mostDescriptors(): number {
  try {
    return Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Infinity);
  } catch {
    // No /proc here.
    return Infinity;
  }
}
