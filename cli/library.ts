type Library = typeof import('../lib/internal');

/**
 * The library, loaded when a command first needs it: to print the version or a help, or to complain about the command
 * line, nothing of it is needed, and loading it takes longer than all of that.
 */
export function library(): Library {
  return require('../lib/internal') as Library;
}
