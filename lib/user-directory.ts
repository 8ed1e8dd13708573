import { homedir } from 'node:os';
import { trace } from './trace';

/**
 * The directory of this user, below which settings and caches are. Without HOME and an entry in passwd(5), as in many
 * containers, there is none: then a path at which nothing is, so that whoever only reads finds nothing.
 */
export function userDirectory(): string {
  try {
    return homedir();
  } catch (error) {
    trace('this user has no directory: %o', error);
    return '/nonexistent';
  }
}
